//! When to try again what could not be sent: ever later, and never all agents of a fleet at once.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(500);

/// The longest wait of our own accord.
const LONGEST: Duration = Duration::from_secs(30);

/// The longest wait that a server is believed to mean.
const LONGEST_TOLD: Duration = Duration::from_hours(1);

/// Waits between attempts: each may be twice the last, and is a random part of that, at least half.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failed: u32,
}

/// How long to wait, and who wants it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wait {
    /// May be cut short.
    Own(Duration),
    /// The server asked for it: may not.
    Told(Duration),
}

impl Backoff {
    /// After one more failure.
    pub(super) fn wait(&mut self, told: Option<Duration>) -> Wait {
        let most = FIRST.saturating_mul(1 << self.failed.min(10)).min(LONGEST);
        self.failed += 1;
        let part = 0.5 + fastrand::f64() / 2.0;
        match told {
            // A server may say 0 time after time, and says the same to all agents.
            Some(told) => Wait::Told(told.min(LONGEST_TOLD) + FIRST.mul_f64(part)),
            None => Wait::Own(most.mul_f64(part)),
        }
    }

    /// It works again.
    pub(super) fn reset(&mut self) {
        self.failed = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_vary() {
        let mut backoff = Backoff::default();
        for round in 0..40_u32 {
            let most = FIRST.saturating_mul(1 << round.min(10)).min(LONGEST);
            let Wait::Own(wait) = backoff.wait(None) else {
                panic!("nobody told");
            };
            assert!(wait >= most / 2 && wait <= most, "{round}: {wait:?}");
        }
        let waits: Vec<_> = (0..10).map(|_| backoff.wait(None)).collect();
        assert!(waits.windows(2).any(|two| two[0] != two[1]), "{waits:?}");
        backoff.reset();
        assert!(matches!(backoff.wait(None), Wait::Own(wait) if wait <= FIRST));
    }

    #[test]
    fn a_server_is_believed_within_reason() {
        for (told, least) in [
            (Duration::ZERO, Duration::ZERO),
            (Duration::from_secs(7), Duration::from_secs(7)),
            (Duration::MAX, LONGEST_TOLD),
        ] {
            let Wait::Told(wait) = Backoff::default().wait(Some(told)) else {
                panic!("not what was told");
            };
            assert!(
                wait >= least + FIRST / 2 && wait <= least + FIRST,
                "{wait:?}"
            );
        }
    }
}
