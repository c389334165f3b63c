//! The report of `doctor` as data, which is its JSON.

use serde::Serialize;

use super::server::{Found, ServerCheck};
use crate::probe::{
    availability::Availability,
    plan::{Candidate, Choice, Plan, Verdict},
    specs::Fallback,
};

/// The report.
#[derive(Debug, Serialize)]
pub(super) struct DoctorReport {
    /// Of vault-tracer.
    pub(super) version: &'static str,
    /// `uname -r`.
    pub(super) kernel: String,
    /// `uname -m`.
    pub(super) machine: String,
    /// Whether this host can be traced.
    pub(super) traceable: bool,
    /// Why not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) obstacle: Option<String>,
    pub(super) checks: Vec<Check>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server: Option<ServerCheck>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) no_server: Option<String>,
    pub(super) probes: Vec<CapabilityReport>,
}

/// Result of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CheckResult {
    Yes,
    No,
    /// For want of permission.
    Forbidden,
    /// It could not be found out.
    Unknown,
}

/// One property of the host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) answer: CheckResult,
    pub(super) detail: String,
    /// What would help.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<&'static str>,
}

impl Check {
    pub(super) fn yes(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name,
            answer: CheckResult::Yes,
            detail: detail.into(),
            remedy: None,
        }
    }

    /// `remedy`: shown unless the answer is yes.
    pub(super) fn of(name: &'static str, answer: &Availability, remedy: &'static str) -> Self {
        let (says, detail) = match answer {
            Availability::Yes => return Self::yes(name, ""),
            Availability::No(why) => (CheckResult::No, why),
            Availability::Forbidden(why) => (CheckResult::Forbidden, why),
            Availability::Unknown(why) => (CheckResult::Unknown, why),
        };
        Self {
            name,
            answer: says,
            detail: detail.clone(),
            remedy: Some(remedy),
        }
    }
}

/// A capability and its probes.
#[derive(Debug, Serialize)]
pub(super) struct CapabilityReport {
    pub(super) what: &'static str,
    /// The strategy that is attached; absent if none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<&'static str>,
    /// Its hooks.
    pub(super) hooks: Vec<&'static str>,
    /// What is missing without any strategy, or with this one.
    pub(super) lost: Vec<&'static str>,
    pub(super) ways: Vec<StrategyReport>,
}

/// A strategy and its verdict.
#[derive(Debug, Serialize)]
pub(super) struct StrategyReport {
    pub(super) way: &'static str,
    pub(super) verdict: &'static str,
    pub(super) why: String,
    /// What the strategy requires.
    pub(super) needs: &'static str,
}

impl DoctorReport {
    pub(super) fn new(
        (kernel, machine): (&str, &str),
        checks: Vec<Check>,
        found: Found,
        plan: Option<&Plan>,
        obstacle: Option<&anyhow::Error>,
    ) -> Self {
        let (server, no_server) = match found {
            Found::ServerCheck(server) => (Some(*server), None),
            Found::Not(why) => (None, Some(why)),
        };
        Self {
            version: env!("CARGO_PKG_VERSION"),
            kernel: kernel.to_owned(),
            machine: machine.to_owned(),
            traceable: obstacle.is_none(),
            obstacle: obstacle.map(|error| format!("{error:#}")),
            checks,
            server,
            no_server,
            probes: plan.map_or_else(Vec::new, |plan| {
                plan.choices.iter().map(capability).collect()
            }),
        }
    }
}

fn capability(choice: &Choice) -> CapabilityReport {
    let chosen = choice.chosen();
    let mut hooks: Vec<_> = chosen
        .iter()
        .flat_map(|strategy| strategy.probes)
        .map(|spec| spec.hook.name())
        .collect();
    hooks.sort_unstable();
    hooks.dedup();
    let without = match (chosen, choice.capability.fallback) {
        (Some(_), _) => None,
        (None, Fallback::Fatal) => Some("nothing works without it"),
        (None, Fallback::Warn(without) | Fallback::Detail(without)) => Some(without),
    };
    CapabilityReport {
        what: choice.capability.shows,
        by: chosen.map(|strategy| strategy.name),
        hooks,
        lost: choice.limitations.iter().copied().chain(without).collect(),
        ways: choice.candidates.iter().map(strategy).collect(),
    }
}

fn strategy(candidate: &Candidate) -> StrategyReport {
    StrategyReport {
        way: candidate.strategy.name,
        verdict: match candidate.verdict {
            Verdict::Chosen => "chosen",
            Verdict::Redundant => "spare",
            Verdict::TooCostly => "too_dear",
            Verdict::Excluded => "not_asked",
            Verdict::Absent => "absent",
            Verdict::Forbidden => "forbidden",
        },
        why: candidate.why.clone(),
        needs: candidate.strategy.requires,
    }
}
