//! A case: what breaks, where, when and for how long, under which load. All of it follows from its seed.

use std::fmt;

use test_events::Random;

use super::kind::{CAUSES, Kind, Place};

/// What the server is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Program {
    OpenBao,
    /// The tests' own server, which audits as this generation of Vault does.
    Vault {
        generation: &'static str,
        /// How the time of an entry is limited: `-context`.
        context: &'static str,
        build: &'static str,
    },
}

/// How clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    /// HTTP/1.1 over TLS.
    Tls1,
    /// HTTP/2 over TLS, so many requests at once on each connection.
    Http2 {
        streams: u8,
    },
}

/// A second device of the same kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Second {
    None,
    Healthy,
    Broken,
}

/// How the fault ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recovery {
    Once,
    /// It comes back after so many ms.
    Relapse(u64),
    /// After the trace has ended.
    Never,
}

/// What happens. Times in ms.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is drawn by itself, and has a name wherever it is read"
)]
pub(crate) struct Case {
    pub(crate) seed: u64,
    pub(crate) kind: Kind,
    pub(crate) program: Program,
    pub(crate) protocol: Protocol,
    pub(crate) ipv6: bool,
    pub(crate) clients: u64,
    /// Requests a second, all clients together, while nothing is wrong.
    pub(crate) rate: u64,
    /// What a request works outside of auditing.
    pub(crate) work: u64,
    pub(crate) second: Second,
    /// No file device beside the one that breaks.
    pub(crate) alone: bool,
    pub(crate) write_timeout: u64,
    /// Limit of a TCP send buffer, kB.
    pub(crate) send_buffer: u64,
    /// Load before the fault.
    pub(crate) before: u64,
    pub(crate) length: u64,
    /// The connection ends when the fault begins.
    pub(crate) reset: bool,
    pub(crate) recovery: Recovery,
    /// The agent records all events, rather than buffering normal traffic in the kernel.
    pub(crate) record: bool,
}

const GENERATIONS: [(&str, &[&str]); 6] = [
    ("1.15.0", &["request"]),
    ("1.15.3", &["response-1500ms", "response-900ms"]),
    ("1.16.3", &["900ms-if-less", "100s-if-less"]),
    ("1.17.0", &["900ms-if-less", "100s-if-less"]),
    ("1.17.6", &["2500ms-detached", "1200ms-detached"]),
    ("2.1.0", &["2500ms-detached", "1200ms-detached"]),
];
/// The newest one more often.
const BUILDS: [&str; 5] = [
    "go1.27.3",
    "go1.27.3",
    "go1.24.11",
    "go1.21.13",
    "go1.27.3-stripped",
];

fn one_of<T: Copy>(random: &mut Random, all: &[T]) -> T {
    all[random.below(all.len() as u64) as usize]
}

impl Case {
    /// The case of this seed; `kind` instead of the one that it draws.
    pub(crate) fn draw(seed: u64, kind: Option<Kind>) -> Self {
        let random = &mut Random(seed);
        let kinds = one_of(random, &CAUSES).1;
        let drawn = one_of(random, kinds);
        let kind = kind.unwrap_or(drawn);
        let place = kind.place();
        let program = program(random, place.is_of_every_server());
        let mut case = Self {
            seed,
            kind,
            program,
            protocol: protocol(random),
            ipv6: random.per_mille(400),
            clients: clients(random),
            rate: random.within(20, 90),
            work: 0,
            second: second(random, place),
            alone: random.per_mille(150),
            write_timeout: random.within(300, 900),
            send_buffer: one_of(random, &[64, 128, 256]),
            before: random.within(500, 1500),
            length: random.within(600, 2500),
            reset: random.per_mille(400),
            recovery: recovery(random),
            record: random.per_mille(400),
        };
        let works = random.per_mille(250);
        if works && case.program != Program::OpenBao {
            case.work = random.within(20, 400);
        }
        case.fit();
        case
    }

    /// What the kind of the fault requires or excludes.
    fn fit(&mut self) {
        let place = self.kind.place();
        if self.kind == Kind::SlowWork {
            self.work = self.work.max(250);
        }
        // Without a system call only the server's log and its table of devices show it: the tests' own server has neither.
        if self.kind == Kind::ZeroTimeout {
            self.program = Program::OpenBao;
            self.work = 0;
        }
        // OpenBao has no such plugin.
        if self.kind == Kind::SlowWork && self.program == Program::OpenBao {
            let (generation, contexts) = GENERATIONS[GENERATIONS.len() - 1];
            self.program = Program::Vault {
                generation,
                context: contexts[0],
                build: BUILDS[0],
            };
        }
        if self.kind.sends_large_entries() {
            self.protocol = Protocol::Http1;
            self.clients = self.clients.min(3);
            self.send_buffer = 256;
        }
        if self.kind.succeeds_late() {
            self.write_timeout = 5000;
            self.clients = self.clients.min(12);
        }
        if place == Place::Name {
            self.ipv6 = false;
        }
        self.reset |= self.kind.needs_reset();
        if self.kind.needs_file_beside() {
            self.alone = false;
        }
        // Each request waits its own time-outs, one after the other.
        let endless = self.kind.has_no_end();
        if endless && self.recovery == Recovery::Never {
            self.recovery = Recovery::Once;
        }
        if self.recovery == Recovery::Never {
            self.clients = self.clients.min(3);
            self.length = self.length.min(1000);
        }
    }

    /// Between two requests of a client, or as many as its connection has streams.
    pub(crate) fn pause(&self) -> u64 {
        let at_once = match self.protocol {
            Protocol::Http2 { streams } => self.clients * u64::from(streams),
            Protocol::Http1 | Protocol::Tls1 => self.clients,
        };
        at_once * 1000 / self.rate
    }
}

fn program(random: &mut Random, any: bool) -> Program {
    let is_vault = random.per_mille(500);
    let (generation, contexts) = one_of(random, &GENERATIONS);
    let context = one_of(random, contexts);
    let build = one_of(random, &BUILDS);
    if any && is_vault {
        Program::Vault {
            generation,
            context,
            build,
        }
    } else {
        Program::OpenBao
    }
}

fn protocol(random: &mut Random) -> Protocol {
    let streams = random.within(1, 4) as u8;
    match random.below(10) {
        0..=5 => Protocol::Http1,
        6 | 7 => Protocol::Tls1,
        _ => Protocol::Http2 { streams },
    }
}

/// As many with one as with a hundred.
fn clients(random: &mut Random) -> u64 {
    match random.below(5) {
        0 => 1,
        1 => random.within(2, 4),
        2 => random.within(5, 16),
        3 => random.within(17, 60),
        _ => random.within(61, 100),
    }
}

fn second(random: &mut Random, place: Place) -> Second {
    match random.below(6) {
        0 if place == Place::Tcp => Second::Broken,
        1 => Second::Healthy,
        _ => Second::None,
    }
}

fn recovery(random: &mut Random) -> Recovery {
    let gap = random.within(200, 1200);
    match random.below(10) {
        0 | 1 => Recovery::Relapse(gap),
        2 => Recovery::Never,
        _ => Recovery::Once,
    }
}

impl fmt::Display for Case {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{:?} ", self.kind)?;
        match self.program {
            Program::OpenBao => write!(to, "on OpenBao")?,
            Program::Vault {
                generation,
                context,
                build,
            } => write!(to, "on {generation} ({context}, {build})")?,
        }
        write!(
            to,
            ", {:?}, {} clients, {}/s, {}",
            self.protocol,
            self.clients,
            self.rate,
            if self.ipv6 { "IPv6" } else { "IPv4" }
        )?;
        write!(
            to,
            ", write_timeout {} ms, fault after {} ms for {} ms, {:?}",
            self.write_timeout, self.before, self.length, self.recovery
        )?;
        if self.second != Second::None {
            write!(to, ", second device {:?}", self.second)?;
        }
        for (is, word) in [
            (self.alone, "no file device"),
            (self.reset, "reset first"),
            (self.record, "recorded"),
            (self.work > 0, "slow plugin"),
        ] {
            if is {
                write!(to, ", {word}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    #[test]
    fn the_same_seed_is_the_same_case() {
        for seed in 0..2000 {
            assert_eq!(Case::draw(seed, None), Case::draw(seed, None));
        }
        assert_ne!(
            Case::draw(1, None).to_string(),
            Case::draw(2, None).to_string()
        );
    }

    /// What does not depend on the kind stays as it is: a failing case can be tried with another kind.
    #[test]
    fn another_kind_leaves_the_rest_as_it_is() {
        let (one, other) = (
            Case::draw(7, Some(Kind::OutputDropped)),
            Case::draw(7, Some(Kind::RepliesDropped)),
        );
        assert_eq!(
            Case {
                kind: other.kind,
                ..one
            },
            other
        );
    }

    #[test]
    fn every_kind_is_drawn_and_every_cause_as_often() {
        let mut kinds = HashMap::new();
        for seed in 0..9000 {
            *kinds.entry(Case::draw(seed, None).kind).or_insert(0) += 1;
        }
        for (cause, of_cause) in CAUSES {
            let count: i32 = of_cause.iter().filter_map(|kind| kinds.get(kind)).sum();
            assert!(count > 9000 / CAUSES.len() as i32 / 2, "{cause} {count}");
            for kind in of_cause {
                assert!(kinds.contains_key(kind), "{kind:?}");
            }
        }
    }

    #[test]
    fn cases_are_possible() {
        for seed in 0..5000 {
            let case = Case::draw(seed, None);
            let of_vault = case.program != Program::OpenBao;
            assert!(!of_vault || case.kind.place().is_of_every_server());
            assert!((1..=100).contains(&case.clients), "{case}");
            // A shorter one is itself the cause.
            assert!(case.write_timeout > 250, "{case}");
        }
    }
}
