//! What most tests begin with: a lab, and in it the seed's reproduction under the eyes of the agent.

use std::{os::unix::fs::PermissionsExt, time::Duration};

pub(crate) use lab::states::SHORT_TIMEOUT;

use anyhow::{Context, Result, anyhow, ensure};
use lab::{
    Family, Lab, Measured, Trace, Tracer, scenario::BIG_REQUEST, server::bao_from_environment,
    sockets, tracer::agent_from_environment,
};

/// The server's own.
pub(crate) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(2);

/// A lab whose socket device gives up after [`SHORT_TIMEOUT`].
pub(crate) fn lab() -> Result<Lab> {
    lab_with(Family::V4, SHORT_TIMEOUT)
}

pub(crate) fn lab_with(family: Family, timeout: Duration) -> Result<Lab> {
    let timeout = format!("{}ms", timeout.as_millis());
    Lab::start_with(
        &bao_from_environment()?,
        family,
        &[("write_timeout", &timeout)],
    )
}

pub(crate) fn attach(lab: &Lab, arguments: &[&str]) -> Result<Tracer> {
    Tracer::attach(&agent_from_environment()?, lab.server.pid(), arguments)
}

/// A device that died with its buffer not yet full, its last hang, and its recovery.
pub(crate) struct Outage {
    pub(crate) lab: LabFacts,
    /// The request that met the full buffer.
    pub(crate) full: Measured,
    /// The next one, which met a device without a connection.
    pub(crate) next: Measured,
    /// How many requests there were in all.
    pub(crate) requests: usize,
    pub(crate) trace: Trace,
    /// Permissions of the trace file while it was written.
    pub(crate) mode: u32,
}

/// What is left of a lab that is gone.
#[derive(Clone)]
pub(crate) struct LabFacts {
    pub(crate) address: String,
    pub(crate) family: Family,
    pub(crate) timeout: Duration,
    /// The longest request that nothing blocked: what a request takes beside its hang, on this machine.
    pub(crate) healthy: Duration,
}

/// Lives through it with the agent attached.
pub(crate) fn run_outage(family: Family, timeout: Duration, arguments: &[&str]) -> Result<Outage> {
    run_outage_seen_by(family, timeout, [arguments]).map(|[outage]| outage)
}

/// The same with several agents attached at once: each gives its own trace of the one outage.
pub(crate) fn run_outage_seen_by<const N: usize>(
    family: Family,
    timeout: Duration,
    agents: [&[&str]; N],
) -> Result<[Outage; N]> {
    let lab = lab_with(family, timeout)?;
    let tracers = agents.map(|arguments| attach(&lab, arguments));
    run_outage_in(&lab, collect(tracers)?, family, timeout)
}

/// The same in a lab that has a history.
pub(crate) fn run_outage_in<const N: usize>(
    lab: &Lab,
    tracers: [Tracer; N],
    family: Family,
    timeout: Duration,
) -> Result<[Outage; N]> {
    let before = lab.client.get(BIG_REQUEST)?;
    let fault = lab.drop_output()?;
    let mut filling = lab.fill()?;
    let next = lab.client.get(BIG_REQUEST)?;
    fault.lift()?;
    let after = lab.client.get(BIG_REQUEST)?;
    ensure!(!after.hung(), "the server hangs with the fault lifted");
    sockets::wait_for_last_answer(lab.server.pid(), lab.client.port())?;
    let requests = filling.len() + 3;
    let full = filling.pop().context("no request hung")?;
    let healthy = filling.iter().chain([&before, &after]);
    let healthy = healthy.map(|request| request.duration).max();
    let facts = LabFacts {
        address: lab.log_address().to_string(),
        family,
        timeout,
        healthy: healthy.unwrap_or_default(),
    };
    collect(tracers.map(|tracer| {
        Ok(Outage {
            requests,
            full: full.clone(),
            next: next.clone(),
            mode: tracer.trace_file().metadata()?.permissions().mode() & 0o7777,
            trace: tracer.stop()?,
            lab: facts.clone(),
        })
    }))
}

fn collect<T, const N: usize>(results: [Result<T>; N]) -> Result<[T; N]> {
    let all = results.into_iter().collect::<Result<Vec<_>>>()?;
    all.try_into().map_err(|_| anyhow!("not as many as before"))
}
