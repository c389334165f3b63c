//! The targets, each a test of its own.

use super::{Limits, Target, run::run};

mod audit;
mod host;
mod network;
mod program;
mod traces;

const MB: usize = 1 << 20;

/// A test of this name for each.
macro_rules! targets {
    ($($(#[$doc:meta])* $name:ident: $target:expr;)*) => {
        $($(#[$doc])* #[test] fn $name() {
            run(&Target { name: stringify!($name), ..$target });
        })*
    };
}

targets! {
    audit_entry: audit::ENTRY;
    audit_file: audit::FILE;
    server_log: audit::SERVER_LOG;
    wire_record: audit::WIRE_RECORD;
    executable: program::EXECUTABLE;
    debugging_information: program::SECTIONS;
    pclntab: program::PCLNTAB;
    server_memory: program::MEMORY;
    kernel_types: host::KERNEL_TYPES;
    proc_files: host::PROC_FILES;
    metrics_request: network::METRICS_REQUEST;
    collector_answer: network::COLLECTOR_ANSWER;
    recording: traces::RECORDING;
    trace: traces::TRACE;
}
