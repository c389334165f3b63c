//! The server's API on a Unix socket: a client has no address, and its connections are known by their sockets alone.

use std::{path::Path, thread};

use anyhow::{Context, Result};
use lab::{
    Lab,
    client::get_over_unix,
    client_times::duration,
    scenario::BIG_REQUEST,
    server::{TOKEN, bao_from_environment},
    truth::{self, SEEN},
};

use crate::outage::attach;

/// Gives all their truths.
fn ask_at_once(socket: &Path, clients: usize) -> Result<Vec<truth::Client>> {
    thread::scope(|scope| {
        let ask = || get_over_unix(socket, TOKEN, BIG_REQUEST);
        let started: Vec<_> = (0..clients).map(|_| scope.spawn(ask)).collect();
        let joined = started.into_iter().map(thread::ScopedJoinHandle::join);
        joined
            .map(|one| one.unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    })
}

fn lab_with_listener(socket: &Path) -> Result<Lab> {
    let listener = format!(
        "listener \"unix\" {{\n  address = {:?}\n}}\n",
        socket.display()
    );
    Lab::builder(&bao_from_environment()?)
        .option("write_timeout", "200ms")
        .server(|server| server.config(&listener))
        .start()
}

/// The field's case: each request seemed to have begun with the trace.
#[test]
fn three_clients_of_a_unix_listener_wait_no_longer_than_they_did() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("api.sock");
    let lab = lab_with_listener(&socket)?;
    let tracer = attach(&lab, &[])?;
    let healthy = get_over_unix(&socket, TOKEN, BIG_REQUEST)?;
    let (fault, first) = lab.cut_off()?;
    let blocked = ask_at_once(&socket, 3)?;
    fault.lift()?;
    let trace = tracer.stop()?;
    let slack = SEEN + healthy.took;
    let mut clients = vec![healthy, (&first).into()];
    clients.extend(blocked);
    truth::all_agree(&clients, &trace.hangs(), slack).with_context(|| trace.text.clone())?;
    for client in &clients {
        for hang in client.hangs(&trace.hangs()) {
            let told = duration(&hang["request"]);
            assert!(told <= client.took + SEEN, "{client:?}: {hang}");
        }
    }
    Ok(())
}

/// The negative twin.
#[test]
fn clients_of_a_unix_listener_with_a_healthy_device_are_not_blocked() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let socket = directory.path().join("api.sock");
    let lab = lab_with_listener(&socket)?;
    let tracer = attach(&lab, &[])?;
    let clients = ask_at_once(&socket, 8)?;
    truth::no_false_alarm(&clients, &tracer.stop()?)
}
