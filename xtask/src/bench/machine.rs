//! What it was measured on.

use std::{fs, path::Path, process::Command, time::Duration};

use anyhow::Result;
use serde::Serialize;

use crate::ui::Step;

const LIMIT: Duration = Duration::from_secs(20);

/// The machine, the server and the load.
#[derive(Debug, Serialize)]
pub struct Machine {
    pub cores: usize,
    pub processor: String,
    pub kernel: String,
    pub server: String,
    pub request: &'static str,
    pub clients: usize,
    pub rounds: usize,
    pub seconds_per_measurement: f64,
    /// Others who want the cores, before we began: the load average of the last minute.
    pub load_average: String,
}

impl Machine {
    /// As it is now.
    pub fn look(
        bao: &Path,
        request: &'static str,
        clients: usize,
        rounds: usize,
        seconds: f64,
    ) -> Result<Self> {
        let mut version = Command::new(bao);
        let server =
            Step::new("bench", "OpenBao").output("its version", version.arg("version"), LIMIT)?;
        let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let processors = file("/proc/cpuinfo");
        let model = processors
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            processor: model.map_or("unknown", |(_, model)| model).to_owned(),
            kernel: file("/proc/sys/kernel/osrelease").trim().to_owned(),
            server: short_version(&server).to_owned(),
            request,
            clients,
            rounds,
            seconds_per_measurement: seconds,
            load_average: file("/proc/loadavg")
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned(),
        })
    }

    /// In words.
    pub fn text(&self) -> String {
        format!(
            "{} cores ({}), Linux {}, {}, load average {} before.\n\
             {} keep-alive connections, one GET {} after the other; a file and a healthy socket device.\n\
             {} rounds; in each, every variant is measured for {} s between two measurements of the untraced server of {} s.\n\
             Ratios are to those two; shown are the median of all rounds and, in brackets, where the middle half lies.",
            self.cores,
            self.processor,
            self.kernel,
            self.server,
            self.load_average,
            self.clients,
            self.request,
            self.rounds,
            self.seconds_per_measurement,
            self.seconds_per_measurement,
        )
    }
}

/// `OpenBao v2.7.2 (9e0a0d3...), committed ...`, without what is in brackets and after.
fn short_version(text: &str) -> &str {
    text.split(" (").next().unwrap_or(text).trim()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_short() {
        let text = "OpenBao v2.7.2 (9e0a0d3c3504), committed 2026-10-26T20:32:27Z\n";
        assert_eq!(short_version(text), "OpenBao v2.7.2");
        assert_eq!(short_version("Vault v1.15.0\n"), "Vault v1.15.0");
    }
}
