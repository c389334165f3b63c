//! The tasks of a log server.

use std::{
    sync::{Arc, mpsc},
    time::Duration,
};

use anyhow::{Context, Result};
use tokio::runtime;

use super::{
    Options,
    listener::{Listener, Stream},
    state::{Mode, Next, Shared},
};

/// A throttled server reads this often.
const TICK: Duration = Duration::from_millis(50);

pub(super) fn run(
    options: &Options,
    shared: &Arc<Shared>,
    listening: &mpsc::Sender<Result<()>>,
) -> Result<()> {
    let runtime = runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let opened = Listener::open(&options.endpoint, options.backlog, options.receive_buffer);
        let listener = opened.with_context(|| format!("cannot listen on {}", options.endpoint))?;
        if !matches!(listener, Listener::Datagrams(_)) {
            shared.lock().accepted_in = Some(0);
        }
        let _ = listening.send(Ok(()));
        match listener {
            Listener::Datagrams(socket) => {
                let index = shared.lock().open(None);
                read(shared, Stream::Udp(socket), index).await;
            }
            listener => accept(shared, &listener).await,
        }
        Ok(())
    })
    // The runtime ends here, and with it every connection still open.
}

async fn accept(shared: &Arc<Shared>, listener: &Listener) {
    let mut changed = shared.changed.subscribe();
    let mut accepted_in = 0;
    loop {
        changed.mark_unchanged();
        let (mode, era) = {
            let state = shared.lock();
            (state.mode, state.era)
        };
        if mode == Mode::Stop {
            return;
        }
        let accepts = !matches!(mode, Mode::Pause | Mode::Drain);
        if era != accepted_in {
            // Whoever connected before is of the era before.
            while accepts && let Some(stream) = waiting(listener).await {
                serve(shared, stream, accepted_in);
            }
            accepted_in = era;
            shared.lock().accepted_in = Some(era);
        }
        tokio::select! {
            _ = changed.changed() => {}
            Ok(stream) = listener.accept(), if accepts => serve(shared, stream, era),
        }
    }
}

/// A connection that waits to be accepted.
async fn waiting(listener: &Listener) -> Option<Stream> {
    tokio::select! {
        biased;
        stream = listener.accept() => stream.ok(),
        // The runtime looks for connections before it takes this time to have passed.
        () = tokio::time::sleep(Duration::from_millis(1)) => None,
    }
}

fn serve(shared: &Arc<Shared>, stream: Stream, era: u32) {
    let shared = shared.clone();
    let era = stream.is_connection().then_some(era);
    let index = shared.lock().open(era);
    tokio::spawn(async move { read(&shared, stream, index).await });
}

async fn read(shared: &Shared, stream: Stream, index: usize) {
    let mut changed = shared.changed.subscribe();
    loop {
        changed.mark_unchanged();
        let next = shared.lock().read(index, &stream); // the lock is not held over what follows
        match next {
            Next::Continue => tokio::task::yield_now().await,
            Next::Wait => {
                tokio::select! { _ = changed.changed() => {}, _ = stream.readable() => {} }
            }
            Next::Rest => {
                tokio::select! { _ = changed.changed() => {}, () = tokio::time::sleep(TICK) => {} }
            }
            Next::End => break,
        }
    }
    drop(stream);
    shared.lock().connections[index].ended = true;
}
