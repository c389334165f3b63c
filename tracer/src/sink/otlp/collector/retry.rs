//! Waits between attempts: longer with each failure, and random, so that not all agents retry at once.

use std::time::Duration;

/// The first wait.
const FIRST: Duration = Duration::from_millis(500);

/// The longest wait of our own choice.
const MAX: Duration = Duration::from_secs(30);

/// The longest wait that a server can ask for.
const MAX_REQUESTED: Duration = Duration::from_hours(1);

/// Exponential backoff with jitter: the limit of a wait doubles with each failure, and a wait is between half its limit
/// and the limit.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RetryDelay {
    pub(super) duration: Duration,
    /// The server asked for it: it may not be cut short.
    pub(super) is_requested: bool,
}

impl Backoff {
    /// After one more failure.
    pub(super) fn wait(&mut self, requested: Option<Duration>) -> RetryDelay {
        let limit = FIRST.saturating_mul(1 << self.failures.min(10)).min(MAX);
        self.failures += 1;
        let jitter = 0.5 + fastrand::f64() / 2.0;
        let duration = match requested {
            // A server may ask for 0 each time, and asks all agents for the same.
            Some(requested) => requested.min(MAX_REQUESTED) + FIRST.mul_f64(jitter),
            None => limit.mul_f64(jitter),
        };
        RetryDelay {
            duration,
            is_requested: requested.is_some(),
        }
    }

    pub(super) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_limit_and_vary() {
        let mut backoff = Backoff::default();
        for round in 0..40_u32 {
            let most = FIRST.saturating_mul(1 << round.min(10)).min(MAX);
            let wait = backoff.wait(None);
            assert!(!wait.is_requested);
            let wait = wait.duration;
            assert!(wait >= most / 2 && wait <= most, "{round}: {wait:?}");
        }
        let waits: Vec<_> = (0..10).map(|_| backoff.wait(None)).collect();
        assert!(waits.windows(2).any(|two| two[0] != two[1]), "{waits:?}");
        backoff.reset();
        let wait = backoff.wait(None);
        assert!(!wait.is_requested && wait.duration <= FIRST, "{wait:?}");
    }

    #[test]
    fn a_requested_wait_is_limited() {
        for (requested, least) in [
            (Duration::ZERO, Duration::ZERO),
            (Duration::from_secs(7), Duration::from_secs(7)),
            (Duration::MAX, MAX_REQUESTED),
        ] {
            let wait = Backoff::default().wait(Some(requested));
            assert!(wait.is_requested);
            let wait = wait.duration;
            assert!(
                wait >= least + FIRST / 2 && wait <= least + FIRST,
                "{wait:?}"
            );
        }
    }
}
