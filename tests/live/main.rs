//! The agent beside a real server, on the real kernel. `cargo xtask test` runs it, as root, one test at a time.

mod bad_input;
mod convoy;
mod devices;
mod doctor;
mod ends;
mod expect;
mod hang;
mod healthy;
mod kernel;
mod late;
mod losses;
mod output;
mod secrets;
mod states;
mod story;
mod trace_file;
