//! Trackers: each follows one kind of thing through the events, and none knows another; all ask [`identities`] whose a socket is.

pub(crate) mod ack_stall;
pub(crate) mod client_connection;
pub(crate) mod connection;
pub(crate) mod dues;
pub(crate) mod forward_wait;
pub(crate) mod identities;
pub(crate) mod packet_marks;
pub(crate) mod sampled_wait;
pub(crate) mod socket_events;
pub(crate) mod socket_states;
pub(crate) mod socket_waits;
pub(crate) mod sockets;
pub(crate) mod stall_periods;
pub(crate) mod throughput;
pub(crate) mod unacked;
