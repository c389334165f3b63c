//! The lab: a real `OpenBao` with audit devices in private network namespaces, log servers that behave or
//! misbehave on command, faults of the network, and a client that measures.
//!
//! Everything made here is removed when its value is dropped, also when a test panics; what a killed process left
//! behind is swept by the next one. Needs root and Linux; contacts nothing outside its own namespaces.

#![cfg(target_os = "linux")]

pub mod audit;
pub mod client;
pub mod client_times;
pub mod cluster;
pub mod eventlogger;
pub mod fault;
pub mod guest;
pub mod http_log;
pub mod leftovers;
pub mod log_server;
pub mod name_server;
pub mod netns;
pub mod network;
pub mod private_run;
pub mod process;
pub mod prometheus;
pub mod replay;
pub mod rest;
pub mod scenario;
pub mod schema;
pub mod server;
pub mod setup;
pub mod sockets;
pub mod states;
pub mod tracer;
pub mod truth;
pub mod wait;

pub use audit::{AuditDevice, Endpoint};
pub use client::{Client, Connection, Measured};
#[cfg(feature = "tls")]
pub use client::{Multiplexed, SecureClient};
pub use cluster::Cluster;
pub use eventlogger::Eventlogger;
pub use fault::Fault;
pub use http_log::HttpLog;
pub use log_server::LogServer;
pub use name_server::NameServer;
pub use netns::Namespace;
pub use network::{Family, LogHost, Network};
pub use process::Process;
pub use scenario::Lab;
pub use server::Server;
pub use setup::{Builder, Devices};
pub use states::State;
pub use tracer::{Trace, Tracer};
