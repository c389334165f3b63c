//! Any request to the metrics' port, for `crate::fuzz`.

use tokio::{
    io::{self, AsyncReadExt, AsyncWriteExt},
    runtime,
};

use super::{Metrics, server};

/// More than any answer has, bytes.
const BUFFER: usize = 1 << 20;

/// Sends it, and returns the answer.
pub(crate) fn answer(request: &[u8]) -> Vec<u8> {
    let runtime = runtime::Builder::new_current_thread().enable_time().build();
    runtime.expect("a runtime").block_on(async {
        let (ours, its) = io::duplex(BUFFER);
        let (mut read, mut write) = io::split(ours);
        let server = server::answer(its, Metrics::new().exposition());

        write.write_all(request).await.expect("written");
        write.shutdown().await.expect("closed");
        server.await;
        let mut answer = Vec::new();
        read.read_to_end(&mut answer).await.expect("read");
        answer
    })
}
