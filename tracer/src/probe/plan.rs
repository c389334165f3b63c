//! Which probes to attach: a function of what the host has and what the operator asked for. No I/O.

use std::collections::BTreeSet;

use clap::ValueEnum;

use super::{
    host::{Answer, Host},
    specs::{Family, NEEDS, Need, Spec, Way, Without},
};

/// What the operator asked for (`--probes`), in the words of `--help`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Preference {
    /// The best this kernel has: `vault-tracer doctor` tells which, and why
    #[default]
    Auto,
    /// On the kernel's own functions (fentry and fexit, or kprobes)
    Function,
    /// On the kernel's own functions, by kprobes
    Kprobe,
    /// On tracepoints only
    Tracepoint,
    /// On tracepoints; sends and receives at the socket layer (Linux 6.3)
    Socket,
    /// On tracepoints; sends and receives at the system calls: each one on this host gets slower
    Syscall,
}

impl Preference {
    fn admits(self, way: &Way) -> bool {
        match self {
            Self::Auto => true,
            Self::Function => way.family == Family::Function,
            Self::Kprobe => way.name == "kprobe",
            Self::Tracepoint => way.family == Family::Tracepoint,
            Self::Socket => way.name == "socket",
            Self::Syscall => way.cost.is_everybodys(),
        }
    }

    /// Whether a way is out of the question. A restriction that leaves nothing of a need is none.
    fn excludes(self, need: &Need, way: &Way) -> bool {
        !self.admits(way) && need.ways.iter().any(|way| self.admits(way))
    }
}

/// What becomes of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is taken.
    Chosen,
    /// It would serve, and a better one is taken.
    Spare,
    /// It would slow down everybody for little.
    TooDear,
    /// The operator asked for others.
    NotAsked,
    /// The host does not have it.
    Absent,
    /// The host does not allow it.
    Forbidden,
}

/// A way and its verdict.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judged {
    /// The way.
    pub way: &'static Way,
    /// The verdict.
    pub verdict: Verdict,
    /// The reason.
    pub why: String,
}

/// What is done for one need.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The need.
    pub need: &'static Need,
    /// Its ways, best first.
    pub ways: Vec<Judged>,
    /// What the chosen way does not show here.
    pub lost: Vec<&'static str>,
}

impl Choice {
    /// The way that is taken, if one can be.
    pub fn chosen(&self) -> Option<&'static Way> {
        let chosen = self.ways.iter().find(|w| w.verdict == Verdict::Chosen);
        chosen.map(|judged| judged.way)
    }

    /// Why none is taken.
    pub fn reasons(&self) -> String {
        let asked = self.ways.iter().filter(|w| w.verdict != Verdict::NotAsked);
        let told = asked.map(|judged| format!("{}: {}", judged.way.name, judged.why));
        told.collect::<Vec<_>>().join("; ")
    }
}

/// What is done for all needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// In the order of `specs`.
    pub choices: Vec<Choice>,
}

impl Plan {
    /// The needs without which nothing works and that nothing shows here.
    pub fn hopeless(&self) -> Option<&Choice> {
        let hopeless = |c: &&Choice| c.need.without == Without::Nothing && c.chosen().is_none();
        self.choices.iter().find(hopeless)
    }

    /// The chosen way that everybody pays for, if one is.
    pub fn everybody_pays(&self) -> Option<&'static Way> {
        let mut chosen = self.choices.iter().filter_map(Choice::chosen);
        chosen.find(|way| way.cost.is_everybodys())
    }
}

/// Decides.
pub fn plan(host: &Host, preference: Preference) -> Plan {
    let mut taken = Taken::default();
    let choices = NEEDS
        .iter()
        .map(|need| {
            let choice = taken.choose(host, preference, need);
            taken.take(choice.chosen());
            choice
        })
        .collect();
    Plan { choices }
}

/// What has been chosen so far.
#[derive(Default)]
struct Taken {
    specs: BTreeSet<Spec>,
    everybody_pays: bool,
}

impl Taken {
    fn take(&mut self, way: Option<&'static Way>) {
        if let Some(way) = way {
            self.specs.extend(way.probes);
            self.everybody_pays |= way.cost.is_everybodys();
        }
    }

    fn choose(&self, host: &Host, preference: Preference, need: &'static Need) -> Choice {
        // Not beside another: the same thing would be reported twice.
        let shared = need.ways.iter().find(|way| self.has(way));
        let mut found = shared.is_some();
        let ways = need.ways.iter().map(|way| {
            let (verdict, why) = match shared {
                Some(shared) if shared == way => (
                    Verdict::Chosen,
                    "comes with another that is attached anyway".to_owned(),
                ),
                _ => self.judge(host, preference, need, way, found),
            };
            found |= verdict == Verdict::Chosen;
            Judged { way, verdict, why }
        });
        let ways: Vec<_> = ways.collect();
        let chosen = ways.iter().find(|w| w.verdict == Verdict::Chosen);
        let lost = chosen.map(|chosen| lost(host, chosen.way));
        Choice {
            need,
            lost: lost.unwrap_or_default(),
            ways,
        }
    }

    fn has(&self, way: &Way) -> bool {
        way.probes.iter().all(|spec| self.specs.contains(spec))
    }

    fn judge(
        &self,
        host: &Host,
        preference: Preference,
        need: &Need,
        way: &Way,
        found: bool,
    ) -> (Verdict, String) {
        if preference.excludes(need, way) {
            return (Verdict::NotAsked, "--probes asks for others".to_owned());
        }
        let doubt = match of_way(host, need, way) {
            Answer::No(why) => return (Verdict::Absent, why),
            Answer::Forbidden(why) => return (Verdict::Forbidden, why),
            Answer::Unknown(why) => Some(why),
            Answer::Yes => None,
        };
        if found {
            return (Verdict::Spare, "a better one is taken".to_owned());
        }
        if way.cost.is_everybodys() && !self.everybody_pays && need.without != Without::Nothing {
            let why =
                "every system call of this host would be slower, for this alone (--probes syscall)";
            return (Verdict::TooDear, why.to_owned());
        }
        let why = match doubt {
            Some(why) => format!("could not be told without trying: {why}"),
            None => "the best there is here".to_owned(),
        };
        (Verdict::Chosen, why)
    }
}

/// Whether all probes of a way that it needs can be attached.
fn of_way(host: &Host, need: &Need, way: &Way) -> Answer {
    if let Some(refusal) = host.refused.get(&(need.gives, way.name)) {
        let why = refusal.why.clone();
        return if refusal.forbidden {
            Answer::Forbidden(why)
        } else {
            Answer::No(why)
        };
    }
    let needed = way.probes.iter().filter(|spec| spec.without.is_none());
    let answers = needed.map(|spec| host.answer(spec));
    answers.max_by_key(badness).unwrap_or(Answer::Yes)
}

fn badness(answer: &Answer) -> u8 {
    match answer {
        Answer::Yes => 0,
        Answer::Unknown(_) => 1,
        Answer::Forbidden(_) => 2,
        Answer::No(_) => 3,
    }
}

/// What this way does not show: by its nature, and here.
fn lost(host: &Host, way: &Way) -> Vec<&'static str> {
    let is_lost = |spec: &&Spec| {
        host.lacking.contains_key(*spec)
            || matches!(host.answer(spec), Answer::No(_) | Answer::Forbidden(_))
    };
    let extras = way.probes.iter().filter(is_lost);
    let lost: BTreeSet<_> = extras
        .filter_map(|spec| spec.without)
        .chain(way.lacks)
        .collect();
    lost.into_iter().collect()
}

#[cfg(test)]
mod tests;
