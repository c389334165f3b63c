//! Messages for the operator about the collector: one when it fails, one when it works again.

use super::outcome::{Outcome, PartialSuccess};

/// The state that the operator knows of.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum HealthState {
    #[default]
    Working,
    Failing,
    Refusing,
}

pub(super) struct Health {
    /// Of the collector.
    name: String,
    /// That the collector is expected to speak.
    protocol: &'static str,
    state: HealthState,
    has_warned_of_partial: bool,
}

impl Health {
    pub(super) fn new(name: String, protocol: &'static str) -> Self {
        Self {
            name,
            protocol,
            state: HealthState::Working,
            has_warned_of_partial: false,
        }
    }

    /// The message to print after an export, if there is anything new.
    pub(super) fn message(&mut self, outcome: &Outcome) -> Option<String> {
        let state = match outcome {
            Outcome::Accepted(_) => HealthState::Working,
            Outcome::Retryable { .. } => HealthState::Failing,
            Outcome::Refused(_) => HealthState::Refusing,
        };
        let has_changed = state != self.state;
        self.state = state;
        let Self { name, protocol, .. } = self;
        match outcome {
            Outcome::Accepted(_) if has_changed => Some(format!("{name} accepts spans again")),
            Outcome::Accepted(partial) => self.partial(partial),
            _ if !has_changed => None,
            Outcome::Retryable { reason, .. } => Some(format!(
                "cannot send spans to {name}: {reason}; retrying: check that it runs there and accepts {protocol}"
            )),
            Outcome::Refused(reason) => Some(format!(
                "{name} refuses spans: {reason}; what it refuses is lost, and counted: see that it takes {protocol} \
                 there, and what authenticates in OTEL_EXPORTER_OTLP_HEADERS"
            )),
        }
    }

    /// Printed once.
    fn partial(&mut self, partial: &PartialSuccess) -> Option<String> {
        let PartialSuccess { rejected, message } = partial;
        if self.has_warned_of_partial || (*rejected == 0 && message.is_empty()) {
            return None;
        }
        self.has_warned_of_partial = true;
        let name = &self.name;
        Some(match rejected {
            0 => format!("{name} takes all spans and warns: {message}"),
            _ => format!(
                "{name} rejects some spans: {message}; they are lost, and counted: see what it asks for"
            ),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn health() -> Health {
        Health::new("C".to_owned(), "OTLP over gRPC")
    }

    fn accepted() -> Outcome {
        Outcome::Accepted(PartialSuccess::default())
    }

    #[test]
    fn an_outage_is_two_lines_however_long_it_lasts() {
        let mut health = health();
        assert_eq!(health.message(&accepted()), None);
        let refused = Outcome::failed("Connection refused");
        let down = health.message(&refused).expect("a message");
        assert!(
            down.contains("C: Connection refused; ") && down.contains("gRPC"),
            "{down}"
        );
        assert_eq!(health.message(&refused), None);
        assert_eq!(health.message(&Outcome::failed("timed out")), None);
        let up = health.message(&accepted());
        assert_eq!(up.as_deref(), Some("C accepts spans again"));
        assert_eq!(health.message(&accepted()), None);
        assert!(health.message(&Outcome::failed("again")).is_some());
    }

    #[test]
    fn a_refusal_after_an_outage_is_a_message_too() {
        let mut health = health();
        let down = Outcome::failed("Connection refused");
        assert!(health.message(&down).is_some());
        let refused = Outcome::Refused("401 Unauthorized".to_owned());
        let message = health.message(&refused).expect("a message");
        assert!(message.contains("401 Unauthorized"), "{message}");
        assert_eq!(health.message(&refused), None);
        assert!(health.message(&accepted()).is_some());
    }

    #[test]
    fn a_partial_success_is_one_message() {
        let partial = |rejected| {
            Outcome::Accepted(PartialSuccess {
                rejected,
                message: "too old".to_owned(),
            })
        };
        let mut rejecting = health();
        let message = rejecting.message(&partial(3)).expect("a message");
        assert!(message.contains("rejects some spans: too old"), "{message}");
        assert_eq!(rejecting.message(&partial(3)), None);
        let message = health().message(&partial(0)).expect("a message");
        assert!(message.contains("takes all spans"), "{message}");
    }
}
