//! How one attempt to send a request ended.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;

/// What the collector made of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Attempt {
    /// It is the collector's now.
    Taken(Partly),
    /// May be tried again.
    Failed {
        /// Why.
        why: String,
        /// What the server asks to wait before.
        after: Option<Duration>,
    },
    /// Would be answered the same again.
    Refused(String),
}

/// Of a request that was taken, what was not, and what is said of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Partly {
    pub(super) rejected: u64,
    pub(super) message: String,
}

impl Attempt {
    /// May be tried again, when is for us to say.
    pub(super) fn failed(why: impl Into<String>) -> Self {
        Self::Failed {
            why: one_line(&why.into()),
            after: None,
        }
    }

    /// By the answer to a request.
    pub(super) fn taken(answer: ExportTraceServiceResponse) -> Self {
        let partly = answer.partial_success.map(|partial| Partly {
            rejected: u64::try_from(partial.rejected_spans).unwrap_or(0),
            message: one_line(&partial.error_message),
        });
        Self::Taken(partly.unwrap_or_default())
    }
}

/// What a server says may be long, of many lines, or meant for a terminal.
pub(super) fn one_line(text: &str) -> String {
    const MOST: usize = 200;
    let printable = text.replace(char::is_control, " ");
    let mut words = printable.split_whitespace();
    let mut line = words.next().unwrap_or_default().to_owned();
    for word in words {
        line.push(' ');
        line.push_str(word);
    }
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_says_is_one_printable_line() {
        assert_eq!(one_line(" two\n lines\u{1b}[31m\0 "), "two lines [31m");
        let long = one_line(&"ä".repeat(1000));
        assert_eq!(long.chars().count(), 203);
    }
}
