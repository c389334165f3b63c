//! What `cargo xtask vm` and the `init` of its guests say to each other: a plan on the way in, and lines on
//! a serial port on the way out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Where the guest finds its [`Plan`].
pub const PLAN: &str = "/vm/plan.json";
/// The guest's second serial port, which the kernel does not write to. On arm64 the first is `ttyAMA0`.
pub const REPORTS: &str = if cfg!(target_arch = "aarch64") {
    "/dev/ttyS0"
} else {
    "/dev/ttyS1"
};
/// What a report's line begins with, to tell it from what the tests print.
pub const MARK: &str = "#vm ";

/// What `init` does.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Kernel modules, as paths in the guest, in the order in which they are to be loaded.
    pub modules: Vec<String>,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Its whole environment.
    pub environment: BTreeMap<String, String>,
}

/// What `init` and the tests tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum Report {
    /// The guest is up.
    Booted {
        /// `uname -r`.
        release: String,
        /// Since the kernel started.
        uptime_ms: u64,
    },
    /// A module that could not be loaded.
    ModuleFailed {
        /// Its file.
        path: String,
        /// Why.
        error: String,
    },
    /// The agent was attached by one way of probing, and this is what came of it.
    Attached {
        /// `auto`, or what `--probes` was given.
        way: String,
        /// Its probes.
        probes: Vec<Probe>,
    },
    /// This way of probing was refused.
    Refused {
        /// As above.
        way: String,
        /// In the agent's words.
        error: String,
    },
    /// The command has ended. Last of all.
    Ended {
        /// Its exit status, if it has one.
        status: Option<i32>,
        /// How long it ran.
        took_ms: u64,
    },
    /// `init` could not do its work. Last of all.
    Broken {
        /// Why.
        error: String,
    },
}

/// One probe that was attached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// How it was attached: `raw_tracepoint`, `fexit`, ...
    pub kind: String,
    /// The kernel's name of it.
    pub hook: String,
    /// Whether what it shows was seen, with the right arguments; absent where it was given nothing to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fired: Option<bool>,
}

impl Report {
    /// As one line, without its end.
    pub fn to_line(&self) -> String {
        let json = serde_json::to_string(self).expect("plain data");
        format!("{MARK}{json}")
    }

    /// The report in this line, if it is one.
    pub fn of_line(line: &str) -> Option<Self> {
        serde_json::from_str(line.trim_end().strip_prefix(MARK)?).ok()
    }
}
