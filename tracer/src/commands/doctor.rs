//! `vault-tracer doctor`: can this host be traced, with which probes, and what would help. The probes are attached as
//! for a trace and detached at once: some obstacles show only then.

mod checks;
mod report;
mod server;
mod text;

use anyhow::{Context, Error, Result, bail};
use nix::sys::utsname;
use tracer_ebpf::layout::{ABSENT, GoLayout};

use self::{report::DoctorReport, server::Found};
use super::print_report;
use crate::{
    cli::DoctorArgs,
    probe::{
        attach::{self, Facts},
        host::{Host, check_ring_buffer},
        layout::KernelTypes,
        plan::{Plan, Preference, plan},
        privilege,
    },
};

pub(super) fn run(args: &DoctorArgs) -> Result<()> {
    let examined = examine(args)?;
    print_report(&examined.report, args.format)?;
    match examined.obstacle {
        Some(obstacle) => Err(obstacle),
        None => Ok(()),
    }
}

/// The report, and the first thing that makes a trace impossible.
struct Examined {
    report: DoctorReport,
    obstacle: Option<Error>,
}

fn examine(args: &DoctorArgs) -> Result<Examined> {
    let selector = &args.server.selector();
    let system = utsname::uname().context("cannot ask for the kernel's version")?;
    let found = server::find(selector);
    let types = KernelTypes::of_this_kernel(args.btf.as_deref());
    let mut checks = checks::system(types.as_ref().err());
    let mut obstacle = privilege::check().and_then(|()| check_ring_buffer()).err();
    let plan = match types {
        Ok(types) => {
            let mut host = Host::detect(&types);
            checks.extend(checks::probing(&host));
            checks.extend(checks::fields(&types.layout));
            let tried = (obstacle.is_none()).then(|| try_attach(&types, &mut host));
            let (tried, plan) = match tried {
                Some(Ok(plan)) => (None, plan),
                Some(Err(error)) => (Some(error), plan_untried(&host)),
                None => (None, plan_untried(&host)),
            };
            obstacle = obstacle.or(tried);
            Some(plan)
        }
        Err(error) => {
            obstacle = obstacle.or(Some(error));
            None
        }
    };
    let obstacle = obstacle.or(match (&found, selector) {
        (Found::ServerCheck(_), _) => None,
        (Found::Not(_), selector) if selector.is_any() => None,
        (Found::Not(why), _) => Some(Error::msg(why.clone())),
    });
    let report = DoctorReport::new(
        (
            &system.release().to_string_lossy(),
            &system.machine().to_string_lossy(),
        ),
        checks,
        found,
        plan.as_ref(),
        obstacle.as_ref(),
    );
    Ok(Examined { report, obstacle })
}

fn plan_untried(host: &Host) -> Plan {
    plan(host, Preference::Auto)
}

/// Attaches the probes for a process that does not exist.
fn try_attach(types: &KernelTypes, host: &mut Host) -> Result<Plan> {
    let facts = Facts {
        tgid: u32::MAX,
        pid_namespace: None,
        netns: 0,
        kernel: types.layout,
        go: GoLayout {
            goid: ABSENT,
            parent_goid: ABSENT,
        },
        listening: Vec::new(),
        sockets: 0,
        counts_streams: false,
        buffers: true,
    };
    let (attached, _) = attach::attach(&facts, host, Preference::Auto)?;
    if attached.probes.is_empty() {
        bail!("nothing could be attached");
    }
    Ok(attached.plan)
}

#[cfg(test)]
mod tests;
