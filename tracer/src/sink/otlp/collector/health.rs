//! What the operator is told of the collector: once when something is wrong, once when it is right again.

use super::attempt::Partly;

/// How it was when last told of.
#[derive(Default)]
enum State {
    #[default]
    Fine,
    Failing,
    Refusing,
}

/// Makes the lines, and writes none.
pub(super) struct Health {
    name: String,
    protocol: &'static str,
    state: State,
    told_partly: bool,
}

impl Health {
    /// Of the collector of this name, which is to speak this protocol.
    pub(super) fn new(name: String, protocol: &'static str) -> Self {
        Self {
            name,
            protocol,
            state: State::Fine,
            told_partly: false,
        }
    }

    /// A request was taken, at least partly.
    pub(super) fn works(&mut self, partly: &Partly) -> Option<String> {
        let name = &self.name;
        let again = match self.state {
            State::Fine => None,
            State::Failing | State::Refusing => Some(format!("{name} takes spans again")),
        };
        self.state = State::Fine;
        again.or_else(|| self.partly(partly))
    }

    fn partly(&mut self, partly: &Partly) -> Option<String> {
        let Partly { rejected, message } = partly;
        if self.told_partly || (*rejected == 0 && message.is_empty()) {
            return None;
        }
        self.told_partly = true;
        let name = &self.name;
        Some(match rejected {
            0 => format!("{name} takes all spans and warns: {message}"),
            _ => format!(
                "{name} rejects some spans: {message}; they are lost, and counted: see what it asks for"
            ),
        })
    }

    /// A request may be tried again.
    pub(super) fn fails(&mut self, why: &str) -> Option<String> {
        if matches!(self.state, State::Failing) {
            return None;
        }
        self.state = State::Failing;
        let Self { name, protocol, .. } = self;
        Some(format!(
            "nothing can be sent to {name}: {why}; trying on: see that it runs there and takes {protocol}"
        ))
    }

    /// A request would be answered the same again.
    pub(super) fn refuses(&mut self, why: &str) -> Option<String> {
        if matches!(self.state, State::Refusing) {
            return None;
        }
        self.state = State::Refusing;
        let Self { name, protocol, .. } = self;
        Some(format!(
            "{name} refuses spans: {why}; what it refuses is lost, and counted: see that it takes {protocol} there, \
             and what authenticates in OTEL_EXPORTER_OTLP_HEADERS"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken() -> Partly {
        Partly::default()
    }

    #[test]
    fn an_outage_is_two_lines_however_long_it_lasts() {
        let mut health = Health::new("C".to_owned(), "OTLP over gRPC");
        assert_eq!(health.works(&taken()), None);
        let down = health.fails("Connection refused").expect("told");
        assert!(
            down.contains("C: Connection refused; ") && down.contains("gRPC"),
            "{down}"
        );
        assert_eq!(health.fails("Connection refused"), None);
        assert_eq!(health.fails("timed out"), None);
        assert_eq!(
            health.works(&taken()).as_deref(),
            Some("C takes spans again")
        );
        assert_eq!(health.works(&taken()), None);
        assert!(health.fails("again").is_some());
    }

    #[test]
    fn a_refusal_is_told_although_an_outage_was() {
        let mut health = Health::new("C".to_owned(), "OTLP over gRPC");
        assert!(health.fails("Connection refused").is_some());
        let refused = health.refuses("401 Unauthorized").expect("told");
        assert!(refused.contains("401 Unauthorized"), "{refused}");
        assert_eq!(health.refuses("401 Unauthorized"), None);
        assert!(health.works(&taken()).is_some());
    }

    #[test]
    fn what_is_taken_in_part_is_told_once() {
        let mut health = Health::new("C".to_owned(), "OTLP over gRPC");
        let partly = |rejected| Partly {
            rejected,
            message: "too old".to_owned(),
        };
        let told = health.works(&partly(3)).expect("told");
        assert!(told.contains("rejects some spans: too old"), "{told}");
        assert_eq!(health.works(&partly(3)), None);
        let mut health = Health::new("C".to_owned(), "OTLP over gRPC");
        let told = health.works(&partly(0)).expect("told");
        assert!(told.contains("takes all spans"), "{told}");
    }
}
