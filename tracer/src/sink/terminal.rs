//! The report for the operator: one block an outage, the answer first, then only what changes.

mod pace;
mod totals;
mod words;

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    mem,
    os::fd::AsFd,
};

use self::{
    totals::{OfDevice, closing},
    words::{again, behind, causes, cleaned, explained, painted, so_far, warned, wrapped},
};
use super::{
    Sink,
    outage::{Outage, Outages},
    stream::{PartialWrite, WaitingStream},
};
use tracer_format::{
    WallClock,
    describe::{self, chain},
    record::{self, Request},
    text::{cause, clean, clock, count, duration, explain},
};
use tracer_model::{
    Cause, Device, Finding, Forwarded, Hang, Incident, Nanos, Refusal, RequestInfo, Session,
    Stalled,
};

/// Writes the report.
pub struct Terminal<W> {
    out: W,
    clock: WallClock,
    color: bool,
    outages: Outages,
    devices: BTreeMap<Device, OfDevice>,
    /// The latest time at the beginning of a block.
    latest: Nanos,
    /// Incidents without an end: what ended first, the server or the trace, is found next.
    unended: Vec<(Incident, Option<Outage>)>,
    /// A text whose write failed. Its finding is handed over again (see [`super::Worker`]), and must not be counted twice.
    unwritten: Option<String>,
    partial: PartialWrite,
}

impl Terminal<Box<dyn Write + Send>> {
    /// To standard output, or to standard error where the trace itself takes the former.
    pub fn new(stdout_is_taken: bool) -> Self {
        if stdout_is_taken {
            Self::on(io::stderr())
        } else {
            Self::on(io::stdout())
        }
    }

    fn on(stream: impl AsFd + IsTerminal + Send + 'static) -> Self {
        let color = stream.is_terminal() && is_coloured();
        Self::to(Box::new(WaitingStream(stream)), color)
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
            outages: Outages::default(),
            devices: BTreeMap::new(),
            latest: 0,
            unended: Vec::new(),
            unwritten: None,
            partial: PartialWrite::default(),
        }
    }

    /// What is to be read of it.
    pub fn text(&mut self, finding: &Finding) -> Option<String> {
        let ended = self.outages.add(finding);
        Some(match finding {
            Finding::Session(session) | Finding::Attached(session) => self.session(session),
            Finding::Stalled(stalled) => self.stalled(stalled)?,
            Finding::Hang(hang) => self.hang(hang)?,
            Finding::Refusal(refusal) => self.refusal(refusal)?,
            Finding::LostEntries(loss) => {
                let text = explain::loss(loss);
                self.block(loss.at, ("31", "UNACKNOWLEDGED"), &clean(&text), &[])
            }
            Finding::Filling(filling) => {
                let text = explain::filling(filling);
                self.block(filling.at, ("33", "WARNING"), &clean(&text), &[])
            }
            Finding::Incident(incident) if incident.end.is_none() => {
                self.unended.push((incident.clone(), ended));
                return None;
            }
            Finding::Incident(incident) => self.incident(incident, ended.as_ref(), None)?,
            Finding::Warning(warning) => warned(self.color, warning),
            Finding::Forwarded(forwarded) => self.forwarded(forwarded),
            Finding::Ended(ended) => {
                let unended = self.not_recovered("server");
                format!("{unended}{}  the server ended\n", self.moment(ended.at))
            }
            Finding::Snapshot(_) => return None,
            Finding::Summary(summary) => {
                self.not_recovered("trace") + &closing(summary, &self.devices)
            }
        })
    }

    fn session(&mut self, session: &Session) -> String {
        self.clock = WallClock::of(session);
        let go = clean(session.go_version.as_deref().unwrap_or("unknown Go"));
        let devices: Vec<_> = session.declared.iter().map(cleaned).collect();
        let devices = if devices.is_empty() {
            "audit devices are recognised by the entries written to them".to_owned()
        } else {
            format!("audit devices: {}", devices.join(", "))
        };
        let line = format!(
            "tracing PID {} ({}, {go}) with {} on Linux {}; {devices}.",
            session.pid,
            clean(&session.exe),
            count(session.probes.len() as u64, "probe"),
            clean(&session.kernel),
        );
        format!("{}\n", wrapped(&line, "", "    "))
    }

    /// That a device blocks requests now: once an outage.
    fn stalled(&mut self, stalled: &Stalled) -> Option<String> {
        let outage = self.outages.of(&stalled.device)?;
        let (since, at) = (outage.since, stalled.at);
        let pace = &mut self.devices.entry(stalled.device.clone()).or_default().pace;
        pace.goes_on(since);
        if pace.shown.beginning {
            return self.progress(&stalled.device, at);
        }
        if !pace.may_begin(since, at) {
            return None;
        }
        pace.shown.beginning = true;
        let more = again(pace.unprinted);
        pace.printed(at);
        let why = stalled.cause;
        let has_remedy = why != Cause::Unknown && pace.remedy(why);
        let mut lines = vec![
            (
                "request",
                format!(
                    "{}: {}{}",
                    self.request(&stalled.request),
                    so_far(stalled),
                    behind(stalled),
                ),
            ),
            ("cause", format!("{}: {}", why.name(), cause::hint(why))),
        ];
        if has_remedy {
            lines.push(("remedy", cause::remedy(why).to_owned()));
        }
        let head = format!(
            "{} unresponsive since {}: it blocks requests{more}",
            cleaned(&stalled.device),
            self.moment(since),
        );
        Some(self.block(at, ("1;31", "BLOCKED"), &head, &lines))
    }

    /// The first of each outage and cause in full.
    fn hang(&mut self, hang: &Hang) -> Option<String> {
        let since = self.outages.of(&hang.device)?.since;
        let totals = self.devices.entry(hang.device.clone()).or_default();
        totals.add_blocked(hang.duration);
        let (pace, at, why) = (&mut totals.pace, hang.end, hang.cause());
        pace.goes_on(since);
        if pace.shown.hang && pace.is_explained(why) {
            return self.progress(&hang.device, at);
        }
        if !pace.shown.beginning && !pace.may_begin(since, at) {
            return None;
        }
        (pace.shown.beginning, pace.shown.hang) = (true, true);
        let more = again(pace.unprinted);
        let news = (pace.explain(why), pace.remedy(why));
        pace.printed(at);
        let record = record::Hang::of(hang, self.clock);
        let mut lines = vec![
            ("request", describe::request(&record.request)),
            ("waits", chain(&record.stalls)),
        ];
        lines.extend(explained(why, &record.explanation, news));
        let mark = format!("HANG {}", duration(hang.duration));
        let head = format!("{} blocked a request{more}", cleaned(&hang.device));
        Some(self.block(at, ("1;31", &mark), &head, &lines))
    }

    /// The first of each outage and cause: a server under load meets a dead port thousands of times.
    fn refusal(&mut self, refusal: &Refusal) -> Option<String> {
        let since = self.outages.of(&refusal.device)?.since;
        let totals = self.devices.entry(refusal.device.clone()).or_default();
        totals.failed += 1;
        let (pace, why) = (&mut totals.pace, refusal.cause);
        let at = refusal.start + refusal.duration;
        pace.goes_on(since);
        if pace.shown.beginning && pace.is_explained(why) {
            return self.progress(&refusal.device, at);
        }
        if !pace.shown.beginning && !pace.may_begin(since, at) {
            return None;
        }
        pace.shown.beginning = true;
        let more = again(pace.unprinted);
        let news = (pace.explain(why), pace.remedy(why));
        pace.printed(at);
        let mut lines = vec![("request", self.request(&refusal.request))];
        lines.extend(explained(why, &explain::refusal(refusal), news));
        let head = format!(
            "{} failed immediately{}{more}",
            cleaned(&refusal.device),
            if refusal.taken_elsewhere {
                "; another audit device took the entry"
            } else {
                ""
            },
        );
        Some(self.block(at, ("1;31", "FAILED"), &head, &lines))
    }

    /// No hang of this server: one block.
    fn forwarded(&mut self, forwarded: &Forwarded) -> String {
        let head = format!(
            "{}: {}",
            self.request(&forwarded.request),
            clean(&explain::forwarded(forwarded)),
        );
        let end = forwarded.start + forwarded.duration;
        self.block(end, ("33", "forwarded"), &head, &[])
    }

    /// Higher numbers of an outage that goes on, ever less often.
    fn progress(&mut self, device: &Device, at: Nanos) -> Option<String> {
        let pace = &mut self.devices.get_mut(device)?.pace;
        if !pace.is_due(at) {
            return None;
        }
        pace.repeated(at);
        let outage = self.outages.of(device)?;
        let head = format!(
            "{} for {} so far: {}",
            cleaned(device),
            duration(at.saturating_sub(outage.since)),
            outage.requests(),
        );
        let lines = self.worst(outage);
        Some(self.block(at, ("33", "GOES ON"), &head, &lines))
    }

    /// The outages that lasted when the server or the trace ended, `first`.
    fn not_recovered(&mut self, first: &str) -> String {
        let unended = mem::take(&mut self.unended).into_iter();
        unended
            .filter_map(|(incident, of)| self.incident(&incident, of.as_ref(), Some(first)))
            .collect()
    }

    /// The outage as a whole. `outage`: what was found of it, where it blocked or failed requests. `first`: what ended before the
    /// device worked again.
    fn incident(
        &mut self,
        incident: &Incident,
        outage: Option<&Outage>,
        first: Option<&str>,
    ) -> Option<String> {
        let last_known = outage.map_or(incident.start, |outage| outage.latest);
        let at = incident.end.unwrap_or(last_known.max(self.latest));
        let totals = self.devices.entry(incident.device.clone()).or_default();
        totals.outages += 1;
        let pace = &mut totals.pace;
        pace.goes_on(incident.start);
        let shown = pace.ends(at);
        if first.is_none() && !shown.beginning && !pace.is_due(at) {
            pace.unprinted += 1;
            return None;
        }
        let more = again(pace.unprinted);
        if shown.beginning {
            pace.printed(at);
        } else {
            pace.repeated(at);
        }
        let device = cleaned(&incident.device);
        let lasted = duration(at.saturating_sub(incident.start));
        let (style, mark, head) = match first {
            None => (
                "32",
                "WORKS AGAIN",
                format!("{device} after {lasted}{more}"),
            ),
            Some(first) => (
                "31",
                "NOT RECOVERED",
                format!(
                    "{device} when the {first} ended, failing since {}",
                    self.moment(incident.start)
                ),
            ),
        };
        let requests = outage.map(Outage::requests);
        let requests = requests.unwrap_or_else(|| "no request was blocked or failed".to_owned());
        let mut lines = vec![(
            "outage",
            format!("{}; {requests}", causes(incident, outage)),
        )];
        lines.extend(outage.iter().flat_map(|outage| self.worst(outage)));
        let untaken = &incident.untaken;
        lines.extend(
            explain::untaken(&device, (untaken.failed, untaken.missed), untaken.at_least)
                .map(|text| ("entries", text)),
        );
        Some(self.block(at, (style, mark), &head, &lines))
    }

    /// Of several requests.
    fn worst(&self, outage: &Outage) -> Vec<(&'static str, String)> {
        let worst = outage.worst.iter().filter(|_| outage.blocked > 1);
        let line = |hang: &std::sync::Arc<Hang>| {
            let request = self.request(&hang.request);
            ("worst", format!("{}: {request}", duration(hang.duration)))
        };
        worst.map(line).collect()
    }

    /// A blank line, the time and what happened, then lines with a name each. Times at the beginning never step back: what is known
    /// only after something later was printed has its own time after the mark.
    fn block(
        &mut self,
        at: Nanos,
        (style, mark): (&str, &str),
        head: &str,
        lines: &[(&'static str, String)],
    ) -> String {
        self.latest = self.latest.max(at);
        let moment = self.moment(self.latest);
        let own = (self.moment(at) != moment).then(|| format!("{mark} at {}", self.moment(at)));
        let mark = own.as_deref().unwrap_or(mark);
        let painted = painted(self.color, style, mark);
        // Wrapped without colours, which have no width.
        let placeholder = "X".repeat(mark.chars().count());
        let head = wrapped(&format!("{moment}  {placeholder}  {head}"), "", "    ");
        let mut text = format!("\n{}\n", head.replacen(&placeholder, &painted, 1));
        for (name, line) in lines {
            text.push_str(&wrapped(line, &format!("    {name:<9}"), "             "));
            text.push('\n');
        }
        text
    }

    fn moment(&self, at: Nanos) -> String {
        clock(self.clock.time(at))
    }

    fn request(&self, request: &RequestInfo) -> String {
        describe::request(&Request::of(request, self.clock))
    }
}

impl<W: Write + Send + 'static> Sink<Finding> for Terminal<W> {
    fn write(&mut self, finding: &Finding) -> io::Result<()> {
        let unwritten = self.unwritten.take();
        let text = unwritten.unwrap_or_else(|| self.text(finding).unwrap_or_default());
        let written = self.partial.write_all(&mut self.out, text.as_bytes());
        if written.is_err() {
            self.unwritten = Some(text);
        }
        written
    }

    fn name(&self) -> String {
        "the terminal".to_owned()
    }

    fn kind(&self) -> &'static str {
        "terminal"
    }
}

#[cfg(test)]
mod tests;
