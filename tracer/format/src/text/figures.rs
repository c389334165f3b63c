//! Figures with their units.

use tracer_model::Nanos;

const MS: Nanos = 1_000_000;
const S: Nanos = 1_000_000_000;
const MIN: Nanos = 60 * S;
const HOUR: Nanos = 60 * MIN;
const DAY: Nanos = 24 * HOUR;

/// As a fraction.
pub fn seconds(duration: Nanos) -> f64 {
    duration as f64 / S as f64
}

/// `0.35 s`, `8.00 s`, `34 min 12 s`, `5 h 03 min`, `2 d 04 h`
pub fn duration(ns: Nanos) -> String {
    let pair = |large: Nanos, small: Nanos| (ns / large, ns % large / small);
    match ns {
        0 => "0 s".to_owned(),
        _ if ns < 10 * MS => format!("{:.2} ms", ns as f64 / MS as f64),
        _ if ns < 2 * MIN => format!("{:.2} s", seconds(ns)),
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

/// `512 B`, `108.6 kB`
pub fn bytes(bytes: u64) -> String {
    match bytes {
        0..1000 => format!("{bytes} B"),
        1000..1_000_000 => format!("{:.1} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

/// `1 hang`, `1,234 hangs`
pub fn count(number: impl Into<u64>, singular: &str) -> String {
    let number = number.into();
    match number {
        1 => format!("1 {singular}"),
        _ if singular.ends_with("entry") => {
            let stem = &singular[..singular.len() - 1];
            format!("{} {stem}ies", digits(number))
        }
        _ => format!("{} {singular}s", digits(number)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_the_unit_that_fits() {
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
    fn numbers_are_grouped_and_have_plurals() {
        assert_eq!(digits(1_234_567), "1,234,567");
        assert_eq!(digits(123), "123");
        assert_eq!(count(1_u64, "entry"), "1 entry");
        assert_eq!(count(2000_u64, "entry"), "2,000 entries");
        assert_eq!(count(0_u64, "hang"), "0 hangs");
    }
}
