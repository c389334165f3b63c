//! The agent beside a real server, on the real kernel. `cargo xtask test` runs it, as root, one test at a time.

mod bad_input;
mod btf;
mod bystanders;
mod cluster;
mod command_line;
mod container;
mod convoy;
mod devices;
mod disabled;
mod ends;
mod eventlogger;
mod expect;
mod hang;
mod healthy;
mod late;
mod life;
mod losses;
mod output;
mod queue;
mod restart;
mod secrets;
mod stalled;
mod states;
mod story;
mod trace_file;
