//! Diagnostics that the programs print (`aya-log`). A trace works without.

use aya::Ebpf;
use aya_log::EbpfLogger;
use log::debug;
use tokio::io::unix::AsyncFd;

use super::readable::readable;

/// Forwards them to [`log`].
pub(crate) struct KernelLog(Option<AsyncFd<EbpfLogger<&'static dyn log::Log>>>);

impl KernelLog {
    pub(crate) fn new(object: &mut Ebpf) -> Self {
        match EbpfLogger::init(object) {
            Ok(logger) => Self(readable(logger).ok()),
            Err(error) => {
                debug!("no diagnostics from the eBPF programs: {error}");
                Self(None)
            }
        }
    }

    /// Waits for some and forwards them.
    pub(crate) async fn flush(&mut self) {
        let Some(log) = &mut self.0 else {
            return std::future::pending().await;
        };
        if let Ok(mut guard) = log.readable_mut().await {
            guard.get_inner_mut().flush();
            guard.clear_ready();
        }
    }
}
