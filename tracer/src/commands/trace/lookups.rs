//! Audit devices that the operator named: their names are looked up outside of the loop of the trace, since a name server
//! that does not answer takes a quarter of a minute, and again until it succeeds.

use std::{
    io,
    net::ToSocketAddrs,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use crate::cli::Declared;
use tracer_model::Device;

/// How long the beginning of a trace waits for look-ups: those that succeed take milliseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// Time between two look-ups of a name.
const RETRY: Duration = Duration::from_secs(5);

/// A look-up that is over.
struct LookedUp {
    name: String,
    device: io::Result<Device>,
}

/// The names that are being looked up.
pub(super) struct Lookups {
    /// How many have not been found.
    open: usize,
    answers: Receiver<LookedUp>,
    answered: Sender<LookedUp>,
    /// When to look which up again.
    again: Vec<(Instant, String)>,
    look_up: fn(&str) -> io::Result<Device>,
}

impl Lookups {
    /// Returns the devices that are known already, too.
    pub(super) fn start(declared: &[Declared]) -> (Vec<Device>, Self) {
        Self::with(declared, PATIENCE, look_up)
    }

    fn with(
        declared: &[Declared],
        patience: Duration,
        look_up: fn(&str) -> io::Result<Device>,
    ) -> (Vec<Device>, Self) {
        let (answered, answers) = mpsc::channel();
        let mut lookups = Self {
            open: 0,
            answers,
            answered,
            again: Vec::new(),
            look_up,
        };
        let mut known = Vec::new();
        for each in declared {
            match each {
                Declared::Device(device) => known.push(device.clone()),
                Declared::Name(name) => {
                    lookups.open += 1;
                    lookups.begin(name.clone());
                }
            }
        }
        let deadline = Instant::now() + patience;
        let mut waiting = lookups.open;
        while waiting > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            let Ok(answer) = lookups.answers.recv_timeout(left) else {
                log::warn!(
                    "the name of an audit device (--audit) is still being looked up: tracing begins, and the device is recognised once it is found"
                );
                break;
            };
            waiting -= 1;
            if let Err(error) = &answer.device {
                log::warn!(
                    "cannot look up the audit device {}: {error}; tracing begins, and it is looked up again every {} s",
                    answer.name,
                    RETRY.as_secs()
                );
            }
            known.extend(lookups.take(answer, Instant::now()));
        }
        (known, lookups)
    }

    /// Devices that were found since the last call.
    pub(super) fn found(&mut self, now: Instant) -> Vec<Device> {
        if self.open == 0 {
            return Vec::new();
        }
        let is_due = |(at, _): &mut (Instant, String)| *at <= now;
        let due: Vec<_> = self.again.extract_if(.., is_due).collect();
        for (_, name) in due {
            self.begin(name);
        }
        let answers: Vec<_> = self.answers.try_iter().collect();
        let found = answers
            .into_iter()
            .filter_map(|answer| self.take(answer, now));
        found.collect()
    }

    fn take(&mut self, answer: LookedUp, now: Instant) -> Option<Device> {
        let device = answer.device.ok();
        if device.is_some() {
            self.open -= 1;
        } else {
            self.again.push((now + RETRY, answer.name));
        }
        device
    }

    fn begin(&self, name: String) {
        let (answered, look_up) = (self.answered.clone(), self.look_up);
        thread::spawn(move || {
            let device = look_up(&name);
            // Fails when the trace has ended.
            let _ = answered.send(LookedUp { name, device });
        });
    }
}

fn look_up(name: &str) -> io::Result<Device> {
    let first = name.to_socket_addrs()?.next();
    let first = first.ok_or_else(|| io::Error::other("it has no address"))?;
    Ok(Device::tcp(first))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

    use super::*;

    /// Longer than a busy machine needs to begin a thread.
    const LONG: Duration = Duration::from_secs(20);

    fn name(text: &str) -> Declared {
        Declared::Name(text.to_owned())
    }

    fn device() -> Device {
        Device::tcp(([10, 0, 0, 2], 1515).into())
    }

    /// What is found first, if it is asked for each time when so much of the trace's time has passed.
    fn wait(lookups: &mut Lookups, each: Duration) -> Vec<Device> {
        let (mut now, limit) = (Instant::now(), Instant::now() + LONG);
        loop {
            now += each;
            let found = lookups.found(now);
            if !found.is_empty() {
                return found;
            }
            assert!(Instant::now() < limit, "never found");
            thread::sleep(Duration::from_millis(1));
        }
    }

    #[test]
    fn addresses_and_names_that_are_found_are_known_at_once() {
        let (known, mut lookups) = Lookups::with(
            &[Declared::Device(device()), name("log:1515")],
            LONG,
            |_| Ok(device()),
        );
        assert_eq!(known, [device(), device()]);
        assert!(lookups.found(Instant::now() + RETRY).is_empty());
    }

    #[test]
    fn a_name_is_looked_up_until_it_is_found() {
        static ASKED: AtomicU32 = AtomicU32::new(0);
        let (known, mut lookups) = Lookups::with(&[name("log:1515")], LONG, |_| {
            match ASKED.fetch_add(1, Ordering::Relaxed) {
                0 | 1 => Err(io::Error::other("no name server answers")),
                _ => Ok(device()),
            }
        });
        assert!(known.is_empty());
        assert!(
            lookups.found(Instant::now()).is_empty(),
            "not before its time"
        );
        assert_eq!(ASKED.load(Ordering::Relaxed), 1);
        assert_eq!(wait(&mut lookups, 2 * RETRY), [device()]);
        assert_eq!(ASKED.load(Ordering::Relaxed), 3);
        assert!(lookups.found(Instant::now() + 9 * RETRY).is_empty());
        assert_eq!(ASKED.load(Ordering::Relaxed), 3, "found once");
    }

    #[test]
    fn a_look_up_that_takes_long_delays_nothing() {
        static IS_WAITED_FOR: AtomicBool = AtomicBool::new(true);
        let short = Duration::from_millis(10);
        let (known, mut lookups) = Lookups::with(&[name("log:1515")], short, |_| {
            while IS_WAITED_FOR.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(1));
            }
            Ok(device())
        });
        assert!(known.is_empty());
        IS_WAITED_FOR.store(false, Ordering::Relaxed);
        assert_eq!(wait(&mut lookups, Duration::ZERO), [device()]);
    }
}
