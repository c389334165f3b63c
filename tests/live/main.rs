//! The agent beside a real server, on the real kernel. `cargo xtask test` runs it, as root, one test at a time.

mod account;
mod bad_input;
mod btf;
mod container;
mod convoy;
mod devices;
mod ends;
mod eventlogger;
mod expect;
mod hang;
mod healthy;
mod late;
mod losses;
mod output;
mod queue;
mod secrets;
mod stalled;
mod states;
mod story;
mod trace_file;
