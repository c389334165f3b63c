//! The report on one screen.

use std::fmt::{Display, Formatter, Result};

use super::{
    report::{CapabilityReport, Check, CheckResult, DoctorReport, StrategyReport},
    server::ServerCheck,
};
use crate::server::generation::GenerationFacts;

/// Hooks beyond which a line would be too long.
const SHOWN: usize = 3;

impl Display for DoctorReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(
            f,
            "vault-tracer {} on Linux {}, {}\n",
            self.version, self.kernel, self.machine
        )?;
        for check in &self.checks {
            write!(f, "{check}")?;
        }
        match (&self.server, &self.no_server) {
            (Some(server), _) => write!(f, "\n{server}")?,
            (None, Some(why)) => writeln!(f, "\nserver: none: {why}")?,
            (None, None) => {}
        }
        for (index, seen) in self.probes.iter().enumerate() {
            let gap = if index == 0 { "\n" } else { "" };
            write!(f, "{gap}{seen}")?;
        }
        match &self.obstacle {
            None => writeln!(f, "\nThis host can be traced."),
            Some(obstacle) => writeln!(f, "\nThis host cannot be traced: {obstacle}"),
        }
    }
}

impl Display for Check {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let answer = match self.answer {
            CheckResult::Yes => "yes",
            CheckResult::No => "no",
            CheckResult::Forbidden => "forbidden",
            CheckResult::Unknown => "unknown",
        };
        let line = format!("{answer:<10}{:<34}{}", self.name, self.detail);
        writeln!(f, "{}", line.trim_end())?;
        match self.remedy {
            Some(remedy) => writeln!(f, "{:<44}-> {remedy}", ""),
            None => Ok(()),
        }
    }
}

impl Display for ServerCheck {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let go = self.go_version.as_deref().unwrap_or("an unknown Go");
        let ids = self.goroutine_ids.unwrap_or("nowhere");
        let stacks = if self.stacks {
            "readable"
        } else {
            "not readable"
        };
        let product = match (&self.product, &self.version) {
            (Some(product), Some(version)) => format!("{product} {version}"),
            (Some(product), None) => format!("{product} of an unknown version"),
            (None, _) => "neither Vault nor OpenBao".to_owned(),
        };
        let Self { pid, exe, .. } = self;
        writeln!(f, "server: PID {pid} ({exe}), {product}, {go}")?;
        writeln!(f, "    goroutine IDs known from {ids}; stacks {stacks}")?;
        match self.generation {
            Some(GenerationFacts {
                versions,
                blocked,
                queue,
                limit,
            }) => {
                writeln!(f, "    audits as {versions}: {blocked};")?;
                writeln!(
                    f,
                    "    an entry queues for {queue}; time for an entry: {limit}"
                )?;
            }
            None => writeln!(f, "    how it audits is unknown")?,
        }
        for warning in &self.warnings {
            writeln!(f, "    {warning}")?;
        }
        Ok(())
    }
}

impl Display for CapabilityReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.by {
            Some(way) => writeln!(f, "{:<44}{way}: {}", self.what, some(&self.hooks))?,
            None => writeln!(f, "{:<44}not seen", self.what)?,
        }
        for lost in &self.lost {
            writeln!(f, "    lost: {lost}")?;
        }
        // What comes after the one that is taken is of no interest.
        let better = self.ways.iter().take_while(|way| way.verdict != "chosen");
        let better: Vec<_> = better.collect();
        for alike in better.chunk_by(|a, b| (a.verdict, &a.why) == (b.verdict, &b.why)) {
            rejected(f, alike)?;
        }
        Ok(())
    }
}

/// Ways that are not taken for the same reason.
fn rejected(f: &mut Formatter<'_>, alike: &[&StrategyReport]) -> Result {
    let Some(first) = alike.first() else {
        return Ok(());
    };
    let ways: Vec<_> = alike.iter().map(|told| told.way).collect();
    let verdict = match first.verdict {
        "too_dear" => "too costly",
        "not_asked" => "excluded",
        other => other,
    };
    write!(f, "    not {}: {verdict}: {}", ways.join(", "), first.why)?;
    match first.verdict {
        "absent" => writeln!(f, " (needs {})", first.needs),
        _ => writeln!(f),
    }
}

fn some(hooks: &[&str]) -> String {
    match hooks.len().checked_sub(SHOWN) {
        Some(more @ 1..) => format!("{} and {more} more", hooks[..SHOWN].join(", ")),
        _ => hooks.join(", "),
    }
}
