//! Attached to a server that has been running for a while.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use anyhow::Result;
use lab::{Client, Family, Lab, Tracer, scenario::BIG_REQUEST};

use crate::{
    expect,
    story::{self, SHORT_TIMEOUT, attach, lab},
};

#[test]
fn a_connection_older_than_the_trace_is_known_all_the_same() -> Result<()> {
    let lab = lab()?;
    let tracer = attach_under_load(&lab)?;
    let story = story::tell_in(&lab, tracer, Family::V4, SHORT_TIMEOUT)?;
    let hangs = story.trace.hangs();
    assert_eq!(hangs.len(), 2, "{}", story.trace.text);
    expect::is_of(hangs[0], &story.full, &story.lab);
    expect::is_of(hangs[1], &story.next, &story.lab);
    Ok(())
}

fn attach_under_load(lab: &Lab) -> Result<Tracer> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let load = scope.spawn(|| ask_until(&lab.client, &over));
        let tracer = attach(lab, &[]);
        over.store(true, Ordering::Relaxed);
        load.join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))?;
        tracer
    })
}

fn ask_until(client: &Client, over: &AtomicBool) -> Result<()> {
    let mut connection = client.connect()?;
    while !over.load(Ordering::Relaxed) {
        connection.get(BIG_REQUEST)?;
    }
    Ok(())
}

/// Nothing has been or will be written to it: the operator says what it is, or the code that waits does.
#[test]
fn a_device_dead_before_the_trace_began_is_found_in_the_code_that_waits_for_it() -> Result<()> {
    let lab = lab()?;
    let fault = lab.drop_output()?;
    lab.fill()?;
    let address = lab.log_address().to_string();
    let told = attach(&lab, &["--audit", &address])?;
    let untold = attach(&lab, &[])?;
    let request = lab.client.get(BIG_REQUEST)?;
    for tracer in [&told, &untold] {
        tracer.wait_for("the hang", Duration::from_secs(5), |record| {
            record["type"] == "hang"
        })?;
    }
    fault.lift()?;
    for trace in [told.stop()?, untold.stop()?] {
        assert_eq!(trace.hangs().len(), 1, "{}", trace.text);
        expect::is_tied_to(trace.hangs()[0], &request, Family::V4);
    }
    Ok(())
}
