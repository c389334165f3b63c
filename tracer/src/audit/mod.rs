//! Audit entries, from a socket or a file. Only the fields of [`tracer_model::EntryHead`] are kept: others may be
//! tokens and secrets, with `log_raw` in clear.

pub mod entry;
pub(crate) mod file;
pub(crate) mod file_state;
pub mod server_log;
