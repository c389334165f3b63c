//! Recognises files that are not traces, to say what they are and what to do with them.

use anyhow::{Result, bail};
use serde_json::Value;

/// Checks a first line.
pub fn check(line: &[u8]) -> Result<()> {
    if line.trim_ascii().is_empty() {
        return Ok(());
    }
    // Perfetto's: field 1 of the message, with a length.
    if line[0] == 0x0a || line.contains(&0) {
        bail!("it is binary; a Perfetto trace has no report, open it at ui.perfetto.dev");
    }
    let Ok(value) = serde_json::from_slice::<Value>(line) else {
        bail!(
            "its first line is not JSON; give a file made with `vault-tracer trace --output FILE`"
        );
    };
    if value.get("type").is_some_and(Value::is_string) {
        return Ok(());
    }
    if value.get("event").is_some() && value.get("at").is_some() {
        bail!(
            "it is a recording; make a trace of it: `vault-tracer replay FILE --output trace.jsonl`"
        );
    }
    if value.get("resourceSpans").is_some() {
        bail!("it holds OpenTelemetry spans; give the same trace as JSON Lines (--format jsonl)");
    }
    bail!(
        "its first line is not a record; give a file made with `vault-tracer trace --output FILE`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_kinds_of_files_are_named() {
        for (line, word) in [
            (&br#"{"at":5,"event":"tick"}"#[..], "replay"),
            (br#"{"resourceSpans":[]}"#, "OpenTelemetry"),
            (b"\x0a\x10\x00", "Perfetto"),
            (b"\x7fELF\x00", "binary"),
            (b"hello", "not JSON"),
            (b"[1]", "not a record"),
            (br#"{"type":5}"#, "not a record"),
        ] {
            let error = check(line).expect_err("no trace").to_string();
            assert!(error.contains(word), "{error}");
        }
        for line in [&br#"{"type":"session"}"#[..], br#"{"type":"new"}"#, b"  "] {
            assert!(check(line).is_ok());
        }
    }
}
