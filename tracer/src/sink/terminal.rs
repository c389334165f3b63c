//! The report for the operator: each hang as it ends, the answer first.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, IsTerminal, Write},
};

use super::Sink;
use tracer_format::{
    WallClock,
    record::{self, Request},
    text::{self, chain, clean, clock, count, duration, explain},
};
use tracer_model::{
    Device, Finding, Forwarded, Hang, Incident, Nanos, Refusal, RequestInfo, Session, Stalled,
    Summary,
};

/// Writes the report.
pub struct Terminal<W> {
    out: W,
    clock: WallClock,
    color: bool,
    devices: BTreeMap<Device, DeviceTotals>,
}

#[derive(Default)]
struct DeviceTotals {
    hangs: u64,
    blocked: Nanos,
    longest: Nanos,
    refusals: u64,
}

impl Terminal<Box<dyn Write + Send>> {
    /// To standard output, or to standard error where the trace itself takes the former.
    pub fn new(stdout_is_taken: bool) -> Self {
        let (out, terminal): (Box<dyn Write + Send>, _) = if stdout_is_taken {
            (Box::new(io::stderr()), io::stderr().is_terminal())
        } else {
            (Box::new(io::stdout()), io::stdout().is_terminal())
        };
        Self::to(out, terminal && is_coloured())
    }
}

/// Whether a terminal may be given colours.
pub(super) fn is_coloured() -> bool {
    std::env::var_os("NO_COLOR").is_none()
}

impl<W: Write + Send + 'static> Terminal<W> {
    /// To `out`.
    pub fn to(out: W, color: bool) -> Self {
        Self {
            out,
            clock: WallClock::default(),
            color,
            devices: BTreeMap::new(),
        }
    }

    /// What is to be read of it.
    pub(super) fn text(&mut self, finding: &Finding) -> Option<String> {
        Some(match finding {
            Finding::Session(session) | Finding::Attached(session) => self.session(session),
            Finding::Stalled(stalled) => self.stalled(stalled),
            Finding::Hang(hang) => self.hang(hang),
            Finding::Refusal(refusal) => self.refusal(refusal)?,
            Finding::LostEntries(loss) => self.line(
                loss.at,
                "31",
                "UNACKNOWLEDGED",
                &clean(&explain::loss(loss)),
            ),
            Finding::Filling(filling) => self.line(
                filling.at,
                "33",
                "WARNING",
                &clean(&explain::filling(filling)),
            ),
            Finding::Incident(incident) => self.incident(incident),
            Finding::Warning(warning) => {
                format!("{} {}\n", self.paint("33", "warning:"), clean(warning))
            }
            Finding::Forwarded(forwarded) => self.forwarded(forwarded),
            Finding::Ended(ended) => format!("{}  the server ended\n", self.moment(ended.at)),
            Finding::Snapshot(_) => return None,
            Finding::Summary(summary) => self.summary(summary),
        })
    }

    fn session(&mut self, session: &Session) -> String {
        self.clock = WallClock::of(session);
        let go = clean(session.go_version.as_deref().unwrap_or("unknown Go"));
        let devices: Vec<_> = session.declared.iter().map(cleaned).collect();
        let devices = if devices.is_empty() {
            "audit sockets are recognised by what is written to them".to_owned()
        } else {
            format!("audit devices: {}", devices.join(", "))
        };
        format!(
            "tracing PID {} ({}, {go}) with {} probes on Linux {}; {devices}. Ctrl-C ends it.\n",
            session.pid,
            clean(&session.exe),
            session.probes.len(),
            session.kernel,
        )
    }

    /// While it lasts: one line for each of its waits.
    fn stalled(&self, stalled: &Stalled) -> String {
        let behind = match stalled.waiting {
            0 => String::new(),
            1 => "; 1 request waits behind it".to_owned(),
            several => format!("; {several} requests wait behind it"),
        };
        let at_most = if stalled.estimated && stalled.waiting > 0 {
            " at most"
        } else {
            ""
        };
        format!(
            "{}  {}  {} has been holding up {} for {} so far ({}, {}{behind}{at_most})\n",
            self.moment(stalled.at),
            self.paint("33", "stalled"),
            cleaned(&stalled.device),
            self.request(&stalled.request),
            duration(stalled.blocked),
            stalled.op.name(),
            stalled.cause.name(),
        )
    }

    fn hang(&mut self, hang: &Hang) -> String {
        let totals = self.devices.entry(hang.device.clone()).or_default();
        totals.hangs += 1;
        totals.blocked += hang.duration;
        totals.longest = totals.longest.max(hang.duration);
        let mark = format!("HANG {}", duration(hang.duration));
        let record = record::Hang::of(hang, self.clock);
        format!(
            "\n{}  {}  {} held up {}\n    {}  (request entry | response entry)\n    {}: {}\n",
            self.moment(hang.start),
            self.paint("1;31", &mark),
            cleaned(&hang.device),
            text::request(&record.request),
            chain(&record.stalls),
            record.cause,
            clean(&record.explanation),
        )
    }

    /// No hang of this server: one line.
    fn forwarded(&self, forwarded: &Forwarded) -> String {
        format!(
            "{}  {}  {}: {}\n",
            self.moment(forwarded.start),
            self.paint("33", "forwarded"),
            self.request(&forwarded.request),
            clean(&explain::forwarded(forwarded)),
        )
    }

    /// The first of each outage: a server under load meets a dead port thousands of times.
    fn refusal(&mut self, refusal: &Refusal) -> Option<String> {
        let totals = self.devices.entry(refusal.device.clone()).or_default();
        totals.refusals += 1;
        (refusal.before == 0).then(|| {
            format!(
                "\n{}  refusal  {} failed at once for {}{}. Further ones are counted.\n    {}: {}\n",
                self.moment(refusal.start),
                cleaned(&refusal.device),
                self.request(&refusal.request),
                if refusal.taken_elsewhere {
                    "; the server goes on with its other devices"
                } else {
                    ""
                },
                refusal.cause.name(),
                clean(&explain::refusal(refusal)),
            )
        })
    }

    fn line(&self, at: Nanos, style: &str, mark: &str, text: &str) -> String {
        format!(
            "\n{}  {}  {text}\n",
            self.moment(at),
            self.paint(style, mark)
        )
    }

    fn incident(&self, incident: &Incident) -> String {
        let text = match incident.end {
            Some(end) => format!(
                "{} works again after {}",
                cleaned(&incident.device),
                duration(end.saturating_sub(incident.start))
            ),
            None => format!(
                "{} did not work again before the trace ended",
                cleaned(&incident.device)
            ),
        };
        let untaken = explain::untaken(
            &cleaned(&incident.device),
            (incident.untaken.failed, incident.untaken.missed),
            incident.untaken.at_least,
        );
        let untaken = untaken.map(|untaken| format!(" {untaken}"));
        let text = format!(
            "{text}: {}, {} in all, longest {}; {} affected.{}",
            count(incident.hangs, "hang"),
            duration(incident.blocked),
            duration(incident.longest),
            count(incident.requests, "request"),
            untaken.unwrap_or_default(),
        );
        self.line(
            incident.end.unwrap_or(incident.start),
            "1",
            "incident",
            &text,
        )
    }

    fn summary(&self, summary: &Summary) -> String {
        let mut text = format!(
            "\n{} hangs, {} refusals in {}{} requests with {} writes to audit sockets; {} events, {} lost.\n",
            summary.hangs,
            summary.refusals,
            if summary.requests_at_least {
                "at least "
            } else {
                ""
            },
            summary.requests,
            summary.audit_writes,
            summary.events,
            summary.events_lost,
        );
        for (device, totals) in &self.devices {
            // Writing to a String cannot fail.
            let _ = writeln!(
                text,
                "  {}: {}, {} in all, longest {}; {}",
                cleaned(device),
                count(totals.hangs, "hang"),
                duration(totals.blocked),
                duration(totals.longest),
                count(totals.refusals, "refusal"),
            );
        }
        let is_unexplained = (summary.hangs, summary.refusals, summary.incidents) == (0, 0, 0);
        let failed = summary.failed_requests.filter(|_| is_unexplained);
        if let Some(sentence) = failed.and_then(|f| explain::unexplained(f, summary.requests)) {
            let _ = writeln!(text, "  {sentence}");
        }
        if summary.events_lost > 0 {
            text.push_str("  Records were lost: durations and counts above are lower bounds.\n");
        }
        text
    }

    fn moment(&self, at: Nanos) -> String {
        clock(self.clock.time(at))
    }

    fn request(&self, request: &RequestInfo) -> String {
        text::request(&Request::of(request, self.clock))
    }

    fn paint(&self, style: &str, text: &str) -> String {
        if self.color {
            format!("\x1b[{style}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}

/// A device may be a path.
fn cleaned(device: &Device) -> String {
    clean(&device.to_string()).into_owned()
}

impl<W: Write + Send + 'static> Sink<Finding> for Terminal<W> {
    fn write(&mut self, finding: &Finding) -> io::Result<()> {
        let Some(text) = self.text(finding) else {
            return Ok(());
        };
        self.out.write_all(text.as_bytes())?;
        self.out.flush()
    }

    fn name(&self) -> String {
        "the terminal".to_owned()
    }

    fn kind(&self) -> &'static str {
        "terminal"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_model::{Cause, Evidence, Transport};

    /// A client may ask for a path that a terminal would obey, and a device may be a path.
    #[test]
    fn what_others_wrote_is_not_obeyed() {
        let evil = "x\u{1b}[2J\u{9b}31m\r\n\u{202e}y";
        let device = Device::new(Transport::Unix, evil);
        let request = RequestInfo {
            id: Some(evil.to_owned()),
            operation: Some("read".to_owned()),
            path: Some(evil.to_owned()),
            ..RequestInfo::default()
        };
        let findings = [
            Finding::Session(Session {
                exe: evil.to_owned(),
                declared: vec![device.clone()],
                ..Session::default()
            }),
            Finding::Refusal(Box::new(Refusal {
                before: 0,
                http_status: None,
                device: device.clone(),
                request: request.clone(),
                start: 0,
                duration: 0,
                cause: Cause::Refused,
                errno: None,
                evidence: Evidence::default(),
                taken_elsewhere: true,
            })),
            Finding::Hang(Box::new(Hang {
                id: None,
                start: 0,
                end: 1,
                duration: 1,
                device,
                request: request.clone(),
                stalls: Vec::new(),
            })),
            Finding::Forwarded(Box::new(Forwarded {
                request: request.clone(),
                to: None,
                start: 0,
                duration: 1,
                uncertainty: 0,
            })),
            Finding::Warning(evil.to_owned()),
            Finding::Summary(Summary::default()),
        ];
        let mut terminal = Terminal::to(io::sink(), false);
        for finding in &findings {
            let text = terminal.text(finding).expect("a text");
            let obeyed = |c: char| (c.is_control() && c != '\n') || c == '\u{202e}';
            assert!(!text.contains(obeyed), "{text:?}");
            assert!(text.contains(r"x\u{1b}[2J\u{9b}31m\u{d}\u{a}"), "{text:?}");
        }
    }
}
