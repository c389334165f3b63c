//! Audit entries: what may be known of them, whether they come from a socket or from a file. What
//! else stands in an entry (with `log_raw` tokens and secrets in clear) leaves neither place.

pub mod entry;
pub mod file;
