//! Lines, and what they say.

use textwrap::{Options, WordSplitter};

use tracer_format::text::{cause, clean, duration, explain};
use tracer_model::{Cause, Device, Incident, Stalled};

use crate::sink::outage::Outage;

/// Longer lines are wrapped.
const WIDTH: usize = 100;

pub(super) fn wrapped(text: &str, first: &str, following: &str) -> String {
    let options = Options::new(WIDTH)
        .initial_indent(first)
        .subsequent_indent(following)
        // IDs are copied whole.
        .word_splitter(WordSplitter::NoHyphenation)
        .break_words(false);
    textwrap::fill(text, options)
}

/// Between escape sequences of a terminal, if it has colours.
pub(super) fn painted(has_color: bool, style: &str, text: &str) -> String {
    if has_color {
        format!("\x1b[{style}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

pub(super) fn warned(has_color: bool, warning: &str) -> String {
    let text = wrapped(&format!("warning: {}", clean(warning)), "", "    ");
    let mark = painted(has_color, "33", "warning:");
    format!("{}\n", text.replacen("warning:", &mark, 1))
}

/// The cause, with its explanation and its remedy where these are new.
pub(super) fn explained(
    cause: Cause,
    explanation: &str,
    (is_new, has_remedy): (bool, bool),
) -> Vec<(&'static str, String)> {
    let name = cause.name();
    let text = if is_new {
        format!("{name}: {}", clean(explanation))
    } else {
        format!("{name}, see above")
    };
    let remedy = has_remedy.then(|| ("remedy", cause::remedy(cause).to_owned()));
    [("cause", text)].into_iter().chain(remedy).collect()
}

/// For how long a request has been blocked, and in what.
pub(super) fn so_far(stalled: &Stalled) -> String {
    let (total, last) = (stalled.blocked, stalled.at.saturating_sub(stalled.start));
    let op = explain::operation(stalled.op);
    let (total, last) = (duration(total), duration(last));
    if total == last {
        format!("blocked for {total} so far, in {op}")
    } else {
        format!("blocked for {total} so far, the last {last} of it in {op}")
    }
}

/// The requests that queue for it.
pub(super) fn behind(stalled: &Stalled) -> String {
    match (stalled.waiting, stalled.estimated) {
        (0, _) => String::new(),
        (1, false) => "; 1 request waits behind it".to_owned(),
        (several, false) => format!("; {several} requests wait behind it"),
        (several, true) => format!("; up to {several} wait behind it"),
    }
}

/// That nothing was printed of so many outages before.
pub(super) fn again(unprinted: u64) -> String {
    match unprinted {
        0 => String::new(),
        1 => " (again, after 1 outage that was not printed)".to_owned(),
        several => format!(" (again, after {several} outages that were not printed)"),
    }
}

pub(super) fn causes(incident: &Incident, outage: Option<&Outage>) -> String {
    let mut causes = vec![incident.cause];
    let others = outage.into_iter().flat_map(Outage::causes);
    // That it was not known at first is no news once others are.
    for cause in others.filter(|cause| **cause != Cause::Unknown) {
        if !causes.contains(cause) {
            causes.push(*cause);
        }
    }
    let names: Vec<_> = causes.into_iter().map(Cause::name).collect();
    names.join(", ")
}

/// A device may be a path.
pub(super) fn cleaned(device: &Device) -> String {
    clean(&device.to_string()).into_owned()
}
