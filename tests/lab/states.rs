//! What a log server's socket can do to the server, each done for real. The live tests look at what the agent says
//! of it, and the replay cases are recorded of it: one place for both.

mod devices;
mod tcp;
mod unrelated;

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, bail, ensure};

pub use self::{devices::*, tcp::*, unrelated::*};
use crate::client::Measured;
use crate::network::Family;
use crate::scenario::{BIG_REQUEST, Lab};
use crate::setup::Devices;

/// A `write_timeout` that saves time: a hang of 2 s instead of 8 s.
pub const SHORT_TIMEOUT: Duration = Duration::from_millis(500);
/// The same where a request that takes so long is how a hang is known: longer than a busy machine makes others take.
const LONG_TIMEOUT: Duration = Duration::from_millis(1500);
/// Requests until something must have happened.
const PATIENCE: usize = 200;

/// One state of the socket, or a reason for the same delay that is none.
#[derive(Debug, Clone, Copy)]
pub struct State {
    /// Its replay case.
    pub name: &'static str,
    /// Over which protocol the case is recorded.
    pub family: Family,
    /// What the server audits to.
    pub devices: Devices,
    /// The device's own time-out.
    pub write_timeout: Duration,
    /// How long its storage takes for each access.
    pub storage_latency: Duration,
    /// Before anybody looks.
    pub prepare: Step,
    /// What happens.
    pub happen: Step,
}

/// Returns the requests sent, in order.
pub type Step = fn(&mut Lab) -> Result<Vec<Measured>>;

const NOTHING: State = State {
    name: "",
    family: Family::V4,
    devices: Devices::Tcp(1),
    write_timeout: SHORT_TIMEOUT,
    storage_latency: Duration::ZERO,
    prepare: |_| Ok(Vec::new()),
    happen: |_| Ok(Vec::new()),
};

impl State {
    /// All that there is a replay case of.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        ALL.iter()
    }

    /// The same over this protocol.
    #[must_use]
    pub fn over(self, family: Family) -> Self {
        Self { family, ..self }
    }

    /// Starts the lab for it, and prepares it.
    pub fn lab(&self, bao: &Path) -> Result<Lab> {
        let timeout = format!("{}ms", self.write_timeout.as_millis());
        let mut lab = Lab::builder(bao)
            .family(self.family)
            .devices(self.devices)
            .option("write_timeout", &timeout)
            .server(|server| server.storage_latency(self.storage_latency))
            .start()?;
        (self.prepare)(&mut lab)?;
        Ok(lab)
    }
}

static ALL: [State; 37] = [
    NO_LISTENER,
    FIREWALL_RESET,
    FIREWALL_ICMP_PORT,
    FIREWALL_ICMP_HOST,
    FIREWALL_ICMP_IPV6,
    SYN_UNANSWERED,
    FULL_ACCEPT_QUEUE,
    NO_ACK,
    DROP_ON_VAULT_HOST,
    DROP_OF_REPLIES,
    DROP_BEYOND,
    SYN_ANSWERED_LATE,
    SLOW_PATH,
    HUGE_ENTRIES,
    ZERO_WINDOW,
    SLOW_READER,
    RESET_IN_MID_STREAM,
    HOST_GONE,
    LINK_DOWN_HERE,
    BLACKHOLE_ROUTE,
    NO_ROUTE,
    FILLING_WARNING,
    RARE_WRITES,
    LOST_ENTRIES,
    UNIX_PEER_FULL,
    UDP_DEAD_PORT,
    UDP_TOO_LARGE,
    TWO_DEVICES,
    NO_WORKING_DEVICE,
    NAME_THAT_DOES_NOT_RESOLVE,
    CONVOY,
    HEALTHY_LOAD,
    SLOW_WORK,
    SLOW_STORAGE,
    SLOW_PLUGIN,
    SLOW_CLIENT_READING,
    SLOW_CLIENT_SENDING,
];

/// So many requests, each on a connection of its own.
fn ask(lab: &Lab, times: usize) -> Result<Vec<Measured>> {
    (0..times).map(|_| lab.client.get(BIG_REQUEST)).collect()
}

/// Until a request takes so long: the last of those returned.
fn until(lab: &Lab, long: Duration) -> Result<Vec<Measured>> {
    let mut requests = Vec::new();
    while requests.len() < PATIENCE {
        let request = lab.client.get(BIG_REQUEST)?;
        let took = request.duration;
        requests.push(request);
        if took >= long {
            return Ok(requests);
        }
    }
    bail!("{PATIENCE} requests, and none took {long:?}")
}

/// Until requests that take so long each have taken so long in all: one may do for another reason.
fn until_in_all(lab: &Lab, each: Duration, all: Duration) -> Result<Vec<Measured>> {
    let (mut requests, mut waited) = (Vec::new(), Duration::ZERO);
    while requests.len() < PATIENCE && waited < all {
        let request = lab.client.get(BIG_REQUEST)?;
        waited += Some(request.duration)
            .filter(|took| *took >= each)
            .unwrap_or_default();
        requests.push(request);
    }
    ensure!(
        waited >= all,
        "{PATIENCE} requests, and those of {each:?} took {waited:?}"
    );
    Ok(requests)
}

/// Until the buffer is full, and once more.
fn fill_and_more(lab: &Lab) -> Result<Vec<Measured>> {
    Ok([lab.fill()?, ask(lab, 1)?].concat())
}
