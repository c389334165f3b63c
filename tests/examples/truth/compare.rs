//! The truth beside a trace. Pure: records in, a verdict out.

use std::{collections::HashSet, time::Duration};

use jiff::Timestamp;
use lab::{
    client_times::{duration, stalls},
    truth::{LATE, SEEN, blocked, uncertainty},
};
use serde_json::Value;

use super::{
    kind::{Kind, NONE},
    outcome::{Cell, Entries, Length, Observed, Request, Verdict},
};

/// What the agent reports from.
const THRESHOLD: Duration = Duration::from_millis(100);
/// Two clocks of one machine, and a client between its clock and its system call, ns.
const CLOCKS: i128 = 20_000_000;
/// A stall in which time was lost, rather than one that failed at once and was tried again.
const LOST: Duration = Duration::from_millis(1);
/// Nothing was reported.
pub(crate) const NOTHING: &str = "nothing";

/// Compares what clients, log servers and the server's file say with what the agent reported.
pub(crate) fn compare(kind: Kind, observed: &Observed, records: &[Value]) -> Verdict {
    let hangs = of_type(records, "hang");
    let mut comparison = Comparison {
        kind,
        observed,
        verdict: Verdict {
            requests: observed.requests.len() as u64,
            busy: observed.busy,
            ..Verdict::default()
        },
    };
    let owners: Vec<_> = hangs.iter().map(|hang| comparison.owner(hang)).collect();
    for (hang, owner) in hangs.iter().zip(&owners) {
        comparison.hang(hang, *owner);
    }
    for (index, request) in observed.requests.iter().enumerate() {
        let own = hangs.iter().zip(&owners);
        let own: Vec<_> = own
            .into_iter()
            .filter(|(_, owner)| **owner == Some(index))
            .map(|(hang, _)| *hang)
            .collect();
        comparison.request(request, &own);
    }
    if observed.busy {
        return comparison.verdict;
    }
    for record in ["refusal", "incident"]
        .map(|kind| of_type(records, kind))
        .concat()
    {
        comparison.cause(record, None);
        comparison.device(record);
    }
    comparison.nothing_reported();
    comparison.entries(records);
    comparison.verdict
}

fn of_type<'a>(records: &'a [Value], kind: &str) -> Vec<&'a Value> {
    records
        .iter()
        .filter(|record| record["type"] == kind)
        .collect()
}

struct Comparison<'a> {
    kind: Kind,
    observed: &'a Observed,
    verdict: Verdict,
}

impl Comparison<'_> {
    /// The request that a hang is reported for: by its ID, or by port and time, since the client of a request that failed got no ID.
    fn owner(&self, hang: &Value) -> Option<usize> {
        let request = &hang["request"];
        let all = &self.observed.requests;
        if let Some(id) = request["id"].as_str()
            && let Some(found) = all.iter().position(|one| one.id.as_deref() == Some(id))
        {
            return Some(found);
        }
        let is_unknown = |one: &Request| one.id.is_none() || request["id"].is_null();
        let mut found = all
            .iter()
            .enumerate()
            .filter(|(_, request)| is_unknown(request) && could_be(hang, request));
        let first = found.next();
        // Two streams of one connection cannot be distinguished.
        first
            .filter(|_| found.next().is_none())
            .map(|(index, _)| index)
    }

    fn hang(&mut self, hang: &Value, owner: Option<usize>) {
        self.cause(hang, first_operation(hang));
        self.device(hang);
        let request = &hang["request"];
        let id = request["id"].as_str();
        self.verdict.unnamed += u64::from(id.is_none());
        self.lock_holders(hang);
        let Some(owner) = owner.map(|index| &self.observed.requests[index]) else {
            // Of several streams of one connection that failed at once any may be the one.
            let is_audited = |id: &str| self.observed.audited.iter().any(|known| known == id);
            let is_known = id.is_none_or(is_audited)
                || self
                    .observed
                    .requests
                    .iter()
                    .any(|one| one.id.is_none() && could_be(hang, one));
            if !is_known {
                self.verdict.wrong_ids.push(format!("no client's: {hang}"));
            }
            return;
        };
        let (reported, took) = (duration(hang), owner.took);
        let is_false =
            reported > took + SEEN || !overlaps(hang, owner) || self.is_before_fault(owner);
        if is_false {
            let text = format!("{reported:?} of {took:?}: {hang}");
            self.verdict.false_hangs.push(text);
        }
        if id.is_none() {
            return;
        }
        let port = &request["client_port"];
        let path = request["path"].as_str();
        let is_wrong = (port.is_u64() && *port != owner.port)
            || path.is_some_and(|path| path != owner.path)
            || !overlaps(hang, owner);
        if is_wrong {
            self.verdict.wrong_ids.push(format!("{owner:?}: {hang}"));
        } else {
            self.verdict.ties += 1;
        }
    }

    /// A request that ended before anything was broken.
    fn is_before_fault(&self, request: &Request) -> bool {
        let fault = self.observed.fault;
        fault.is_none_or(|(begin, _)| request.ended() + CLOCKS < begin)
    }

    /// Who a wait for the lock says that it waited for is another request of a client.
    fn lock_holders(&mut self, hang: &Value) {
        let own = hang["request"]["id"].as_str();
        for stall in stalls(hang, &["lock"]) {
            let Some(holder) = stall["blocked_by"].as_str() else {
                continue;
            };
            let is_known = self.observed.requests.iter().any(|request| request.id.as_deref() == Some(holder))
                || self.observed.audited.iter().any(|known| known == holder)
                // The clients of requests that failed got no ID.
                || self.observed.requests.iter().any(|request| request.id.is_none());
            if own == Some(holder) || !is_known {
                let text = format!("blocked_by {holder}: {hang}");
                self.verdict.wrong_ids.push(text);
            }
        }
    }

    fn cause(&mut self, record: &Value, op: Option<&str>) {
        if self.observed.busy {
            return;
        }
        let expected = self.kind.expected().of(op);
        let reported = record["cause"].as_str().unwrap_or("absent");
        let is_reset = self.observed.reset && op.is_none() && reported == "reset";
        let injected = if is_reset || expected.contains(&reported) {
            reported
        } else {
            expected.first().copied().unwrap_or(NONE)
        };
        self.add_cell(injected, reported);
    }

    fn add_cell(&mut self, injected: &str, reported: &str) {
        let [injected, reported] = [injected, reported].map(str::to_owned);
        self.verdict.cells.push(Cell { injected, reported });
    }

    fn device(&mut self, record: &Value) {
        if self.observed.busy {
            return;
        }
        let device = &record["device"];
        let transports = self.kind.place().transports();
        let address = device["address"].as_str().unwrap_or_default();
        let is_known = |known: &String| known == address;
        let right = transports
            .iter()
            .any(|known| device["transport"] == **known)
            && (address.is_empty() || self.observed.devices.iter().any(is_known));
        if !right {
            self.verdict.wrong_devices.push(record.to_string());
        }
    }

    /// Its client waited for what its hangs say, and for nothing else.
    fn request(&mut self, request: &Request, own: &[&Value]) {
        let (healthy, longest) = self.observed.healthy;
        let slack = longest + LATE + self.observed.late;
        let waited = request.waited();
        if self.observed.busy {
            return;
        }
        if own.is_empty() {
            // A device that fails at once blocks no request: what took long then had another reason.
            let can_block = self.kind.is_fault() && !self.kind.fails_at_once();
            let crowd = self.crowd(request.started);
            if can_block && waited > THRESHOLD + slack + crowd {
                self.verdict.blocked += 1;
                self.verdict.missing_hangs.push(format!("{request:?}"));
            }
            return;
        }
        self.verdict.blocked += 1;
        let (reported, open) = (blocked(own), uncertainty(own));
        let off = nanos(waited) - nanos(reported);
        let crowd = self.crowd(request.ended() - i128::from(off));
        let allowed = nanos(SEEN + request.took / 1000 + slack + crowd + open);
        // One that failed may not have come to its work.
        let most = if request.status >= 500 {
            request.took
        } else {
            waited
        };
        let excess = nanos(reported) - nanos(most);
        if excess > nanos(SEEN + open) || off > allowed {
            let text = format!("{reported:?} of {waited:?}, {open:?} open: {request:?}");
            self.verdict.wrong_lengths.push(text);
        }
        self.verdict.lengths.push(Length {
            took: request.took,
            off: off - nanos(healthy),
            open,
            slack,
        });
    }

    /// How long those that were under way at this time take if nothing blocks them, one after the other: a device that works again lets
    /// go all at once.
    fn crowd(&self, at: i128) -> Duration {
        let requests = self.observed.requests.iter();
        let together = requests.filter(|request| request.started <= at && at < request.ended());
        let (healthy, _) = self.observed.healthy;
        healthy * u32::try_from(together.count()).unwrap_or(u32::MAX)
    }

    /// A device failed, and nothing was reported.
    fn nothing_reported(&mut self) {
        if !self.verdict.cells.is_empty() {
            return;
        }
        let happened = match self.kind {
            kind if !kind.is_fault() => {
                self.add_cell(NONE, NONE);
                return;
            }
            kind if kind.fails_at_once() => self.requests_meanwhile() >= 3,
            _ => !self.verdict.missing_hangs.is_empty(),
        };
        if happened {
            let injected = self.kind.expected().of(None)[0];
            self.add_cell(injected, NOTHING);
        }
    }

    fn requests_meanwhile(&self) -> usize {
        let Some((begin, end)) = self.observed.fault else {
            return 0;
        };
        let requests = self.observed.requests.iter();
        let meanwhile = requests.filter(|one| one.started > begin && one.ended() < end);
        meanwhile.count()
    }

    /// Each entry that the log server never got is counted once.
    fn entries(&mut self, records: &[Value]) {
        let Some(untaken) = &self.observed.untaken else {
            return;
        };
        let incidents = of_type(records, "incident");
        let lost = of_type(records, "lost_entries");
        let is_open = lost
            .iter()
            .any(|one| one["pending"] == true || one["complete"] == false);
        if is_open {
            return;
        }
        let count = |records: &[&Value], name: &str| -> u64 {
            records
                .iter()
                .filter_map(|record| record[name].as_u64())
                .sum()
        };
        let reported = count(&incidents, "failed_entries")
            + count(&incidents, "missed_entries")
            + count(&lost, "entries");
        let is_lower_bound = incidents
            .iter()
            .any(|one| one["untaken_is_lower_bound"] == true);
        let missing = untaken.len() as u64;
        let is_right = reported == missing || (is_lower_bound && reported <= missing);
        if !is_right {
            let text = format!("{reported} of {missing} that the log server never got");
            self.verdict.wrong_entries.push(text);
        }
        let untaken: HashSet<_> = untaken.iter().map(String::as_str).collect();
        let named = lost.iter().map(|one| &one["requests"]);
        let named = named.chain(incidents.iter().map(|one| &one["missed_requests"]));
        for id in named.filter_map(Value::as_array).flatten() {
            if !id.as_str().is_some_and(|id| untaken.contains(id)) {
                let text = format!("{id} is at the log server");
                self.verdict.wrong_entries.push(text);
            }
        }
        self.verdict.entries = Some(Entries {
            missing,
            reported,
            is_lower_bound,
        });
    }
}

/// Of the first stall in which time was lost: the cause of a hang is that one's.
fn first_operation(hang: &Value) -> Option<&str> {
    let all = hang["stalls"].as_array()?;
    let long = all.iter().find(|stall| duration(stall) >= LOST);
    long.or(all.first())?["op"].as_str()
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

/// Whether the hang is of a client with this port, at this time.
fn could_be(hang: &Value, request: &Request) -> bool {
    hang["request"]["client_port"] == request.port && overlaps(hang, request)
}

/// Whether a hang was while the request was under way.
fn overlaps(hang: &Value, request: &Request) -> bool {
    let time = |name: &str| {
        let text = hang[name].as_str()?;
        text.parse::<Timestamp>().ok().map(Timestamp::as_nanosecond)
    };
    let (Some(start), Some(end)) = (time("start"), time("end")) else {
        return false;
    };
    start + CLOCKS >= request.started && end <= request.ended() + CLOCKS + LATE.as_nanos() as i128
}

#[cfg(test)]
mod tests;
