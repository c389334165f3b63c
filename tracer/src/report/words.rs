//! Figures and foreign text, in words for people.

use jiff::{Timestamp, tz::TimeZone};

use super::record::{Nanos, Request, Stall};

/// Text of a trace that is kept is cut to this many characters: a path has no length of its own.
const LONGEST: usize = 500;

const MS: Nanos = 1_000_000;
const S: Nanos = 1_000_000_000;
const MIN: Nanos = 60 * S;
const HOUR: Nanos = 60 * MIN;
const DAY: Nanos = 24 * HOUR;

/// As much of it as is kept.
pub fn short(text: &str) -> String {
    match text.char_indices().nth(LONGEST) {
        None => text.to_owned(),
        Some((cut, _)) => format!("{}...", &text[..cut]),
    }
}

/// What a client made up (a path) with nothing in it that a terminal obeys or that turns text around.
pub fn plain(text: &str) -> String {
    let is_plain = |c: char| !c.is_control() && !is_invisible(c);
    if text.chars().all(is_plain) {
        return text.to_owned();
    }
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if is_plain(c) {
            plain.push(c);
        } else {
            plain.extend(c.escape_unicode());
        }
    }
    plain
}

/// Characters that have no shape but change how others are shown (Unicode's `Bidi_Control`, separators, zero width).
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// `0.35 s`, `8.00 s`, `34 min 12 s`, `5 h 03 min`, `2 d 04 h`
pub fn duration(ns: Nanos) -> String {
    let pair = |large: Nanos, small: Nanos| (ns / large, ns % large / small);
    match ns {
        0 => "0 s".to_owned(),
        _ if ns < 10 * MS => format!("{:.2} ms", ns as f64 / MS as f64),
        _ if ns < 2 * MIN => format!("{:.2} s", ns as f64 / S as f64),
        _ if ns < 2 * HOUR => {
            let (minutes, seconds) = pair(MIN, S);
            format!("{minutes} min {seconds:02} s")
        }
        _ if ns < 2 * DAY => {
            let (hours, minutes) = pair(HOUR, MIN);
            format!("{hours} h {minutes:02} min")
        }
        _ => {
            let (days, hours) = pair(DAY, HOUR);
            format!("{days} d {hours:02} h")
        }
    }
}

/// `512 B`, `108.6 kB`, as the trace's own explanations have it.
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// `1 hang`, `1,234 hangs`
pub fn count(number: u64, one: &str) -> String {
    match number {
        1 => format!("1 {one}"),
        _ if one.ends_with("entry") => format!("{} {}ies", digits(number), &one[..one.len() - 1]),
        _ => format!("{} {one}s", digits(number)),
    }
}

/// `1,234,567`
pub fn digits(number: u64) -> String {
    let plain = number.to_string();
    let mut grouped = String::with_capacity(plain.len() * 4 / 3);
    for (place, digit) in plain.chars().enumerate() {
        if place > 0 && (plain.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `2026-11-25 04:22:08.728Z`
pub fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S%.3fZ").to_string()
}

/// `04:22:08.728Z`
pub fn clock(at: Timestamp) -> String {
    at.strftime("%H:%M:%S%.3fZ").to_string()
}

/// From one to the other, with the day once if it is one.
pub fn span(start: Timestamp, end: Timestamp) -> String {
    let day = |at: Timestamp| at.to_zoned(TimeZone::UTC).date();
    let end_in_words = if day(start) == day(end) {
        clock(end)
    } else {
        moment(end)
    };
    format!("{} to {end_in_words}", moment(start))
}

/// Time from one to the other; 0 if they are the other way round.
pub fn between(start: Timestamp, end: Timestamp) -> Nanos {
    let nanos = end.as_nanosecond() - start.as_nanosecond();
    Nanos::try_from(nanos.max(0)).unwrap_or(Nanos::MAX)
}

/// `read sys/mounts`, as far as known.
pub fn asked(request: &Request) -> String {
    match (&request.operation, &request.path) {
        (Some(operation), Some(path)) => plain(&format!("{operation} {path}")),
        (None, Some(path)) => plain(path),
        (Some(operation), None) => plain(operation),
        (None, None) => "a request".to_owned(),
    }
}

/// `127.0.0.1:50222`, as far as known.
pub fn client(request: &Request) -> Option<String> {
    let address = plain(request.client_address.as_ref()?);
    Some(match request.client_port {
        Some(port) if address.contains(':') => format!("[{address}]:{port}"),
        Some(port) => format!("{address}:{port}"),
        None => address,
    })
}

/// `write 2.00 s, connect 2.00 s | connect 2.00 s, connect 2.00 s`: as `trace` prints it.
pub fn chain(stalls: &[Stall]) -> String {
    let of = |response: bool| {
        let is = |stall: &&Stall| (stall.phase.as_deref() == Some("response")) == response;
        let links: Vec<_> = stalls.iter().filter(is).map(link).collect();
        if links.is_empty() {
            "-".to_owned()
        } else {
            links.join(", ")
        }
    };
    format!("{} | {}", of(false), of(true))
}

fn link(stall: &Stall) -> String {
    let outcome = match stall.outcome.as_deref() {
        Some("timeout") => String::new(),
        Some("ok") if stall.op == "lock" => String::new(),
        Some(other) => format!(" {}", plain(other)),
        None => " and on".to_owned(),
    };
    let about = if stall.uncertainty_ns.is_some() {
        "about "
    } else {
        ""
    };
    let (op, time) = (plain(&stall.op), duration(stall.duration_ns));
    format!("{op} {about}{time}{outcome}")
}

/// What was seen, for each cause that this version knows.
pub fn cause(name: &str) -> Option<&'static str> {
    Some(match name {
        "syn_unanswered" => "a connection attempt, and nothing that came back",
        "no_ack" => "data was sent, sent again, and not acknowledged",
        "zero_window" => "the log process does not read, or too slowly: no room at the peer",
        "local_drop" => "this host itself dropped the packets",
        "refused" => "nothing listens there: a RST to the SYN, or ICMP port unreachable",
        "reset" => "a RST on an established connection",
        "unreachable" => "no route, no neighbour, interface down, or ICMP unreachable",
        "resolver" => "the wait was for the look-up of the device's name",
        "peer_full" => "a Unix socket whose reader does not read",
        "unknown" => "no cause could be shown",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_told_in_the_unit_that_fits() {
        for (ns, words) in [
            (0, "0 s"),
            (1_500_000, "1.50 ms"),
            (350 * MS, "0.35 s"),
            (8 * S, "8.00 s"),
            (34 * MIN + 12 * S, "34 min 12 s"),
            (5 * HOUR + 3 * MIN, "5 h 03 min"),
            (52 * HOUR, "2 d 04 h"),
        ] {
            assert_eq!(duration(ns), words);
        }
    }

    #[test]
    fn numbers_are_grouped_and_plurals_made() {
        assert_eq!(digits(1_234_567), "1,234,567");
        assert_eq!(digits(123), "123");
        assert_eq!(count(1, "entry"), "1 entry");
        assert_eq!(count(2000, "entry"), "2,000 entries");
        assert_eq!(count(0, "hang"), "0 hangs");
    }

    #[test]
    fn what_a_terminal_would_obey_is_spelt_out() {
        assert_eq!(plain("a\u{1b}[2Jb"), "a\\u{1b}[2Jb");
        assert_eq!(plain("a\u{202e}b\n"), "a\\u{202e}b\\u{a}");
        assert_eq!(plain("secret/ü"), "secret/ü");
    }

    #[test]
    fn long_text_is_cut_between_characters() {
        let cut = short(&"ü".repeat(LONGEST + 1));
        assert_eq!(cut.chars().count(), LONGEST + 3);
    }
}
