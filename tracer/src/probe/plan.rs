//! Chooses the probes to attach, from facts about the host and `--probes`. No I/O.

use std::collections::BTreeSet;

use clap::ValueEnum;

use super::{
    availability::Availability,
    host::Host,
    specs::{CAPABILITIES, Capability, Fallback, Family, Spec, Strategy},
};

/// `--probes`, with its help.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Preference {
    /// The best that this kernel has; `vault-tracer doctor` shows which, and why
    #[default]
    Auto,
    /// On the kernel's own functions (fentry and fexit, or kprobes)
    Function,
    /// On the kernel's own functions, by kprobes
    Kprobe,
    /// On tracepoints, and on functions only for what no tracepoint shows
    Tracepoint,
    /// On tracepoints; sends and receives at the socket layer (Linux 6.3)
    Socket,
    /// On tracepoints; sends and receives at the system calls, which slows each one on this host down
    Syscall,
}

impl Preference {
    fn admits(self, strategy: &Strategy) -> bool {
        match self {
            Self::Auto => true,
            Self::Function => strategy.family != Family::Tracepoint,
            Self::Kprobe => strategy.name == "kprobe",
            Self::Tracepoint => strategy.family == Family::Tracepoint,
            Self::Socket => strategy.name == "socket",
            Self::Syscall => strategy.cost.slows_host(),
        }
    }

    /// Whether `--probes` excludes a strategy. It does not if it would exclude all of a capability, other than what puts a
    /// breakpoint into the server.
    fn excludes(self, capability: &Capability, strategy: &Strategy) -> bool {
        let is_admitted = |strategy: &Strategy| self.admits(strategy);
        let has_other = capability.strategies.iter().any(is_admitted);
        !self.admits(strategy) && (has_other || strategy.family == Family::Server)
    }
}

/// What the plan does with a strategy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is attached.
    Chosen,
    /// It could be attached, but a better one is.
    Redundant,
    /// It would slow down every process, for a detail.
    TooCostly,
    /// `--probes` asks for others.
    Excluded,
    /// The host does not have it.
    Absent,
    /// The host does not allow it.
    Forbidden,
}

/// A strategy and its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// The strategy.
    pub strategy: &'static Strategy,
    /// The verdict.
    pub verdict: Verdict,
    /// The reason.
    pub why: String,
}

/// What is attached for one capability.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The capability.
    pub capability: &'static Capability,
    /// Its strategies, best first.
    pub candidates: Vec<Candidate>,
    /// What the chosen strategy does not show on this host.
    pub limitations: Vec<&'static str>,
}

impl Choice {
    /// The strategy that is attached, if one can be.
    pub fn chosen(&self) -> Option<&'static Strategy> {
        let chosen = self
            .candidates
            .iter()
            .find(|w| w.verdict == Verdict::Chosen);
        chosen.map(|candidate| candidate.strategy)
    }

    /// Why none is.
    pub fn reasons(&self) -> String {
        let asked = self
            .candidates
            .iter()
            .filter(|w| w.verdict != Verdict::Excluded);
        let told = asked.map(|candidate| format!("{}: {}", candidate.strategy.name, candidate.why));
        told.collect::<Vec<_>>().join("; ")
    }
}

/// What is attached for all capabilities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In the order of `specs`.
    pub choices: Vec<Choice>,
}

impl Plan {
    /// The first capability that a trace cannot do without and that no strategy gives on this host.
    pub fn missing_essential(&self) -> Option<&Choice> {
        let missing_essential =
            |c: &&Choice| c.capability.fallback == Fallback::Fatal && c.chosen().is_none();
        self.choices.iter().find(missing_essential)
    }

    /// The chosen strategy that slows down every process, if one does.
    pub fn slows_host(&self) -> Option<&'static Strategy> {
        let mut chosen = self.choices.iter().filter_map(Choice::chosen);
        chosen.find(|strategy| strategy.cost.slows_host())
    }
}

/// Makes the plan.
pub fn plan(host: &Host, preference: Preference) -> Plan {
    let mut taken = Taken::default();
    let choices = CAPABILITIES
        .iter()
        .map(|capability| {
            let choice = taken.choose(host, preference, capability);
            taken.take(choice.chosen());
            choice
        })
        .collect();
    Plan { choices }
}

/// Choices so far.
#[derive(Default)]
struct Taken {
    specs: BTreeSet<Spec>,
    slows_host: bool,
}

impl Taken {
    fn take(&mut self, strategy: Option<&'static Strategy>) {
        if let Some(strategy) = strategy {
            self.specs.extend(strategy.probes);
            self.slows_host |= strategy.cost.slows_host();
        }
    }

    fn choose(
        &self,
        host: &Host,
        preference: Preference,
        capability: &'static Capability,
    ) -> Choice {
        // If another capability's strategy attaches the same probes: a second one would report everything twice.
        let shared = capability
            .strategies
            .iter()
            .find(|strategy| self.has(strategy));
        let mut found = shared.is_some();
        let candidates = capability.strategies.iter().map(|strategy| {
            let (verdict, why) = match shared {
                Some(shared) if shared == strategy => (
                    Verdict::Chosen,
                    "comes with another that is attached anyway".to_owned(),
                ),
                _ => self.judge(host, preference, capability, strategy, found),
            };
            found |= verdict == Verdict::Chosen;
            Candidate {
                strategy,
                verdict,
                why,
            }
        });
        let candidates: Vec<_> = candidates.collect();
        let chosen = candidates.iter().find(|w| w.verdict == Verdict::Chosen);
        let limitations = chosen.map(|chosen| limitations(host, chosen.strategy));
        Choice {
            capability,
            limitations: limitations.unwrap_or_default(),
            candidates,
        }
    }

    fn has(&self, strategy: &Strategy) -> bool {
        strategy.probes.iter().all(|spec| self.specs.contains(spec))
    }

    fn judge(
        &self,
        host: &Host,
        preference: Preference,
        capability: &Capability,
        strategy: &Strategy,
        found: bool,
    ) -> (Verdict, String) {
        if preference.excludes(capability, strategy) {
            return (Verdict::Excluded, "--probes excludes it".to_owned());
        }
        let doubt = match availability(host, capability, strategy) {
            Availability::No(why) => return (Verdict::Absent, why),
            Availability::Forbidden(why) => return (Verdict::Forbidden, why),
            Availability::Unknown(why) => Some(why),
            Availability::Yes => None,
        };
        if found {
            return (Verdict::Redundant, "a better one is used".to_owned());
        }
        if strategy.cost.slows_host() && !self.slows_host && capability.fallback != Fallback::Fatal
        {
            let why =
                "every system call of this host would be slower, for this alone (--probes syscall)";
            return (Verdict::TooCostly, why.to_owned());
        }
        let why = match doubt {
            Some(why) => format!("unknown without trying: {why}"),
            None => "the best on this host".to_owned(),
        };
        (Verdict::Chosen, why)
    }
}

/// Whether all required probes of a strategy can be attached.
fn availability(host: &Host, capability: &Capability, strategy: &Strategy) -> Availability {
    if let Some(refusal) = host.refused.get(&(capability.shows, strategy.name)) {
        let why = refusal.why.clone();
        return if refusal.forbidden {
            Availability::Forbidden(why)
        } else {
            Availability::No(why)
        };
    }
    let needed = strategy
        .probes
        .iter()
        .filter(|spec| spec.if_missing.is_none());
    let answers = needed.map(|spec| host.answer(spec));
    answers.max_by_key(severity).unwrap_or(Availability::Yes)
}

fn severity(answer: &Availability) -> u8 {
    match answer {
        Availability::Yes => 0,
        Availability::Unknown(_) => 1,
        Availability::Forbidden(_) => 2,
        Availability::No(_) => 3,
    }
}

/// What this strategy does not show: nowhere, and on this host.
fn limitations(host: &Host, strategy: &Strategy) -> Vec<&'static str> {
    let is_missing = |spec: &&Spec| {
        host.failed_optional.contains_key(*spec)
            || matches!(
                host.answer(spec),
                Availability::No(_) | Availability::Forbidden(_)
            )
    };
    let extras = strategy.probes.iter().filter(is_missing);
    let limitations: BTreeSet<_> = extras
        .filter_map(|spec| spec.if_missing)
        .chain(strategy.limitation)
        .collect();
    limitations.into_iter().collect()
}

#[cfg(test)]
mod tests;
