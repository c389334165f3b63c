//! What `doctor` says, as data: also its JSON.

use serde::Serialize;

use super::server::{Found, Server};
use crate::probe::{
    host::Answer,
    plan::{Choice, Judged, Plan, Verdict},
    specs::Without,
};

/// Everything.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// Of vault-tracer.
    pub(super) version: &'static str,
    /// `uname -r`.
    pub(super) kernel: String,
    /// `uname -m`.
    pub(super) machine: String,
    /// Whether a trace would begin.
    pub(super) traceable: bool,
    /// What stands in its way.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) obstacle: Option<String>,
    pub(super) checks: Vec<Check>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) server: Option<Server>,
    /// Why there is none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) no_server: Option<String>,
    pub(super) probes: Vec<Seen>,
}

/// The four answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Says {
    Yes,
    No,
    /// For want of permission.
    Forbidden,
    /// It could not be told.
    Unknown,
}

/// One thing that matters.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) answer: Says,
    pub(super) detail: String,
    /// What would mend it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) remedy: Option<&'static str>,
}

impl Check {
    pub(super) fn yes(name: &'static str, detail: impl Into<String>) -> Self {
        Self {
            name,
            answer: Says::Yes,
            detail: detail.into(),
            remedy: None,
        }
    }

    /// With what mends it, if it is not a yes.
    pub(super) fn of(name: &'static str, answer: &Answer, remedy: &'static str) -> Self {
        let (says, detail) = match answer {
            Answer::Yes => return Self::yes(name, ""),
            Answer::No(why) => (Says::No, why),
            Answer::Forbidden(why) => (Says::Forbidden, why),
            Answer::Unknown(why) => (Says::Unknown, why),
        };
        Self {
            name,
            answer: says,
            detail: detail.clone(),
            remedy: Some(remedy),
        }
    }
}

/// Something to be seen, and by what.
#[derive(Debug, Serialize)]
pub(super) struct Seen {
    pub(super) what: &'static str,
    /// The way that is taken; absent if none is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) by: Option<&'static str>,
    /// Its hooks.
    pub(super) hooks: Vec<&'static str>,
    /// What is missing: without any way, or with this one.
    pub(super) lost: Vec<&'static str>,
    pub(super) ways: Vec<Told>,
}

/// A way and what was decided.
#[derive(Debug, Serialize)]
pub(super) struct Told {
    pub(super) way: &'static str,
    pub(super) verdict: &'static str,
    pub(super) why: String,
    /// What the way needs.
    pub(super) needs: &'static str,
}

impl Report {
    pub(super) fn new(
        (kernel, machine): (&str, &str),
        checks: Vec<Check>,
        found: Found,
        plan: Option<&Plan>,
        obstacle: Option<&anyhow::Error>,
    ) -> Self {
        let (server, no_server) = match found {
            Found::Server(server) => (Some(*server), None),
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
            probes: plan.map_or_else(Vec::new, |plan| plan.choices.iter().map(seen).collect()),
        }
    }
}

fn seen(choice: &Choice) -> Seen {
    let chosen = choice.chosen();
    let mut hooks: Vec<_> = chosen
        .iter()
        .flat_map(|way| way.probes)
        .map(|spec| spec.hook.name())
        .collect();
    hooks.sort_unstable();
    hooks.dedup();
    let without = match (chosen, choice.need.without) {
        (Some(_), _) => None,
        (None, Without::Nothing) => Some("nothing works without it"),
        (None, Without::Warn(without) | Without::Detail(without)) => Some(without),
    };
    Seen {
        what: choice.need.gives,
        by: chosen.map(|way| way.name),
        hooks,
        lost: choice.lost.iter().copied().chain(without).collect(),
        ways: choice.ways.iter().map(told).collect(),
    }
}

fn told(judged: &Judged) -> Told {
    Told {
        way: judged.way.name,
        verdict: match judged.verdict {
            Verdict::Chosen => "chosen",
            Verdict::Spare => "spare",
            Verdict::TooDear => "too_dear",
            Verdict::NotAsked => "not_asked",
            Verdict::Absent => "absent",
            Verdict::Forbidden => "forbidden",
        },
        why: judged.why.clone(),
        needs: judged.way.needs,
    }
}
