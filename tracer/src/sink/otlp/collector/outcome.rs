//! The result of one export request.

use std::time::Duration;

use super::super::messages::ExportTraceServiceResponse;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Accepted(PartialSuccess),
    /// Worth another attempt.
    Retryable {
        reason: String,
        /// The wait that the server asks for.
        retry_after: Option<Duration>,
    },
    /// Another attempt would have the same result.
    Refused(String),
}

/// What an accepted request does not have: rejected spans, and the server's message about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PartialSuccess {
    pub(super) rejected: u64,
    pub(super) message: String,
}

impl Outcome {
    /// Retryable at a time of our choice.
    pub(super) fn failed(reason: impl AsRef<str>) -> Self {
        Self::Retryable {
            reason: one_line(reason.as_ref()),
            retry_after: None,
        }
    }

    pub(super) fn accepted(response: ExportTraceServiceResponse) -> Self {
        let partial = response.partial_success.map(|partial| PartialSuccess {
            rejected: u64::try_from(partial.rejected_spans).unwrap_or(0),
            message: one_line(&partial.error_message),
        });
        Self::Accepted(partial.unwrap_or_default())
    }
}

/// Text of a server, which may be long, have several lines, or contain control characters.
pub(super) fn one_line(text: &str) -> String {
    const MAX_CHARS: usize = 200;
    let printable = text.replace(char::is_control, " ");
    let words: Vec<_> = printable.split_whitespace().collect();
    let line = words.join(" ");
    match line.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_a_server_becomes_one_printable_line() {
        assert_eq!(one_line(" two\n lines\u{1b}[31m\0 "), "two lines [31m");
        let long = one_line(&"ä".repeat(1000));
        assert_eq!(long.chars().count(), 203);
    }
}
