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
        let _ = listening.send(Ok(()));
        match listener {
            Listener::Datagrams(socket) => read(shared, Stream::Udp(socket), 0).await,
            listener => accept(shared, &listener).await,
        }
        Ok(())
    })
    // The runtime ends here, and with it every connection still open.
}

async fn accept(shared: &Arc<Shared>, listener: &Listener) {
    let mut changed = shared.changed.subscribe();
    loop {
        changed.mark_unchanged();
        let (mode, era) = {
            let state = shared.lock();
            (state.mode, state.era)
        };
        if mode == Mode::Stop {
            return;
        }
        tokio::select! {
            _ = changed.changed() => {}
            Ok(stream) = listener.accept(), if !matches!(mode, Mode::Pause | Mode::Drain) => {
                let shared = shared.clone();
                tokio::spawn(async move { read(&shared, stream, era).await });
            }
        }
    }
}

async fn read(shared: &Shared, stream: Stream, era: u32) {
    let mut changed = shared.changed.subscribe();
    let era = stream.is_connection().then_some(era);
    let index = shared.lock().open(era);
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
