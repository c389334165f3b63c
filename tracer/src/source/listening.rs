//! TCP ports on which the server listens, and who connects there (`tracer-ebpf/src/sockets.rs`).

use anyhow::Result;
use aya::{
    Ebpf,
    maps::{HashMap, MapData},
};
use tracer_ebpf::capture::Peers;

use super::capture::maps::take;

/// The programs' table of them.
pub(crate) struct ListeningPorts(HashMap<MapData, u16, u8>);

impl ListeningPorts {
    /// Takes the map out of the loaded object.
    pub(crate) fn new(object: &mut Ebpf) -> Result<Self> {
        Ok(Self(HashMap::try_from(take(object, "LISTENING")?)?))
    }

    /// Ports on which the server has begun to listen since they were last decided.
    pub(crate) fn undecided(&self) -> Vec<u16> {
        let ports = self.0.iter().flatten();
        let undecided = ports.filter(|(_, peers)| Peers::from_wire(*peers) == Peers::Undecided);
        undecided.map(|(port, _)| port).collect()
    }

    /// Connections on this port are these peers' from now on.
    pub(crate) fn decide(&mut self, port: u16, peers: Peers) -> Result<()> {
        Ok(self.0.insert(port, peers as u8, 0)?)
    }
}
