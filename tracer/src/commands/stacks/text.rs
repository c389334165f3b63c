//! The report for the terminal. Its first line is the answer.

use std::{
    fmt::{Display, Formatter, Result},
    net::SocketAddr,
};

use tracer_format::text::{clean, count, duration};

use super::report::{AuditGroup, OtherGoroutines, OtherGroup, StacksReport, WaitingRequest};
use tracer_model::{Nanos, Phase, WaitReason};

/// Requests of a group that are shown.
const SHOWN: usize = 10;

impl Display for StacksReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "{}", self.answer())?;
        let devices = self.audit.chunk_by(|a, b| a.device == b.device);
        for groups in devices {
            writeln!(f, "\n{}", device(&groups[0]))?;
            for group in groups {
                write!(f, "{group}")?;
            }
        }
        match &self.others {
            Some(others) => write!(f, "\n{others}")?,
            None => writeln!(f, "\n`vault-tracer stacks --all` shows all goroutines.")?,
        }
        for warning in &self.warnings {
            writeln!(f, "\nnote: {warning}")?;
        }
        Ok(())
    }
}

impl StacksReport {
    /// One sentence, or two.
    fn answer(&self) -> String {
        let interval = duration(self.interval_ns);
        let goroutines = count(self.goroutines as u64, "goroutine");
        let passing = match self.passing {
            0 => String::new(),
            passing => format!(", {passing} of them in audit code for less than {interval}"),
        };
        if self.requests == 0 {
            let stuck: usize = self.audit.iter().map(|group| group.goroutines).sum();
            let stuck = match stuck {
                0 => String::new(),
                stuck => format!(
                    ", {stuck} of them in audit code: for no request, or not for the device"
                ),
            };
            return format!("No request waits for an audit device. {goroutines}{stuck}{passing}.");
        }
        let waits = if self.requests == 1 { "waits" } else { "wait" };
        let requests = count(self.requests as u64, "request");
        let devices = self.devices();
        match devices.as_slice() {
            [(None, _)] => format!("{requests} {waits} for an audit device; which one is unknown."),
            [(Some(name), _)] => format!("{requests} {waits} for the audit device {name}."),
            several => {
                let each = several.iter().map(|(name, requests)| {
                    let name = name.as_deref().unwrap_or("one that is unknown");
                    format!("{requests} for {name}")
                });
                let each = each.collect::<Vec<_>>().join(", ");
                format!("{requests} {waits} for audit devices: {each}.")
            }
        }
    }

    /// Devices that requests wait for, with how many.
    fn devices(&self) -> Vec<(Option<String>, usize)> {
        let devices = self.audit.chunk_by(|a, b| a.device == b.device);
        let devices = devices.map(|groups| {
            let waits = groups.iter().filter(|group| group.is_for_device());
            let name = groups[0].device.as_ref();
            let name = name.map(|device| clean(&device.to_string()).into_owned());
            (name, waits.map(|group| group.requests).sum())
        });
        devices.filter(|(_, requests)| *requests > 0).collect()
    }
}

fn device(group: &AuditGroup) -> String {
    match (&group.device, group.functions.is_empty()) {
        (Some(device), _) => clean(&device.to_string()).into_owned(),
        (None, true) => "in the audit broker, and no device shows".to_owned(),
        (None, false) => "an audit device; which one is unknown".to_owned(),
    }
}

impl Display for AuditGroup {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let who = match (self.requests, self.goroutines) {
            (0, all) => format!(
                "{} without a waiting request",
                count(all as u64, "goroutine")
            ),
            (requests, _) => count(requests as u64, "request"),
        };
        let entry = match self.phase {
            Some(Phase::Request) => ", request entry",
            Some(Phase::Response) => ", response entry",
            None => "",
        };
        let longest = if self.goroutines > 1 {
            "the longest "
        } else {
            ""
        };
        let time = waited(self.longest_ns, self.longest_is_lower_bound);
        writeln!(
            f,
            "  {who}: {}{entry}, {longest}for {time}",
            doing(self.wait)
        )?;
        for request in self.waiting.iter().take(SHOWN) {
            writeln!(f, "      {}", words(request))?;
        }
        let more = self.requests.saturating_sub(SHOWN);
        if more > 0 && !self.waiting.is_empty() {
            writeln!(f, "      and {more} more")?;
        }
        if self.functions.is_empty() {
            return Ok(());
        }
        let functions: Vec<_> = self.functions.iter().map(|name| clean(name)).collect();
        writeln!(f, "      in {}", functions.join(" < "))
    }
}

fn doing(wait: WaitReason) -> &'static str {
    match wait {
        WaitReason::Lock => "queued behind another request (lock)",
        WaitReason::Resolve => "looking its name up",
        WaitReason::Connect => "connecting",
        WaitReason::Write => "writing",
        WaitReason::Open => "opening its file",
        WaitReason::Answer => "waiting for the answer of its HTTP server",
        WaitReason::Other => "in audit code, waiting for something else",
    }
}

fn waited(ns: Nanos, is_lower_bound: bool) -> String {
    let at_least = if is_lower_bound { "at least " } else { "" };
    format!("{at_least}{}", duration(ns))
}

/// `update secret/data/a of 10.0.0.9:4312, id 0d1f..., for 4.02 s`
fn words(request: &WaitingRequest) -> String {
    let what: Vec<_> = [&request.operation, &request.path]
        .into_iter()
        .flatten()
        .map(|word| clean(word))
        .collect();
    let what = if what.is_empty() {
        "a request".to_owned()
    } else {
        what.join(" ")
    };
    let address = request.remote_address.as_deref();
    let address = address.and_then(|address| address.parse().ok());
    let client = address.zip(request.remote_port);
    let client = client.map(|(address, port)| SocketAddr::new(address, port));
    let client = client.map_or(String::new(), |client| format!(" of client {client}"));
    let id = request.id.as_deref();
    let id = id.map_or(String::new(), |id| format!(", id {}", clean(id)));
    let time = waited(request.waited_ns, request.waited_is_lower_bound);
    format!("{what}{client}{id}, for {time}")
}

impl Display for OtherGoroutines {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "Outside of audit code:")?;
        for group in &self.groups {
            write!(f, "\n{group}")?;
        }
        if self.ungrouped > 0 {
            let more = count(self.ungrouped as u64, "goroutine");
            writeln!(f, "\n{more} with other stacks: too many are different")?;
        }
        if self.unread > 0 {
            writeln!(f, "\n{} that ran", count(self.unread as u64, "goroutine"))?;
        }
        Ok(())
    }
}

impl Display for OtherGroup {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        write!(f, "{}", count(self.goroutines as u64, "goroutine"))?;
        if let Some(wait) = &self.wait {
            write!(f, ": {}", clean(wait))?;
        }
        if let Some(ns) = self.at_least_ns {
            let longest = if self.goroutines > 1 {
                "the longest "
            } else {
                ""
            };
            write!(f, ", {longest}for at least {}", duration(ns))?;
        }
        writeln!(f)?;
        for function in &self.functions {
            writeln!(f, "    {}", clean(function))?;
        }
        Ok(())
    }
}
