//! The trace of the demo beside what its client measured.

use std::{fmt, fs, path::Path, time::Duration};

use anyhow::{Context, Result, bail};
use lab::client_times::ClientRequest;
use tracer_format::{Record, record::Hang};

/// As far apart as the tracer and the client may be on a machine whose healthy requests take no time.
const TOLERANCE: Duration = Duration::from_millis(50);

/// A request that hung is woken after each of its waits, four at most, and works in between: on a slow machine that takes as long
/// each time as a healthy request does.
const WAITS: u32 = 4;

/// The lab's requests take longer only if something blocks them.
const HUNG: Duration = Duration::from_secs(1);

/// What the comparison needs of a trace.
pub struct Trace {
    hangs: Vec<Hang>,
    complete: bool,
}

impl Trace {
    /// Reads a JSON Lines trace.
    pub fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path)
            .with_context(|| format!("cannot read the trace {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("in the trace {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let mut trace = Self {
            hangs: Vec::new(),
            complete: false,
        };
        for (index, line) in text.lines().enumerate() {
            let record = Record::parse(line.as_bytes());
            match record.with_context(|| format!("line {}", index + 1))? {
                Some(Record::Hang(hang)) => trace.hangs.push(*hang),
                Some(Record::Summary(_)) => trace.complete = true,
                _ => {}
            }
        }
        Ok(trace)
    }
}

/// A row for each request that hung, or that the tracer says did.
pub struct Comparison {
    rows: Vec<Row>,
    complete: bool,
    tolerance: Duration,
}

struct Row {
    client: Option<Client>,
    tracer: Option<Tracer>,
}

struct Client {
    port: Option<u16>,
    path: String,
    id: Option<String>,
    duration: Duration,
}

struct Tracer {
    port: Option<u16>,
    ids: Vec<Option<String>>,
    hang: Duration,
    request: Duration,
}

/// Holds the trace against all requests that were sent.
pub fn compare(requests: &[ClientRequest], trace: &Trace) -> Comparison {
    let hung = requests.iter().filter(|request| request.took > HUNG);
    let mut rows: Vec<_> = hung
        .clone()
        .map(|request| Row::of(request, &trace.hangs))
        .collect();
    let known = |hang: &&Hang| {
        hung.clone()
            .any(|request| hang.request.client_port == request.port)
    };
    let unknown = trace.hangs.iter().filter(|hang| !known(hang));
    rows.extend(unknown.map(|hang| Row {
        client: None,
        tracer: Tracer::sum(&[hang]),
    }));
    let healthy = requests.iter().map(|request| request.took);
    let longest = healthy.filter(|took| *took <= HUNG / 10).max();
    Comparison {
        rows,
        complete: trace.complete,
        tolerance: TOLERANCE + longest.unwrap_or_default() * WAITS,
    }
}

impl Row {
    fn of(request: &ClientRequest, hangs: &[Hang]) -> Self {
        let client = Client {
            port: request.port,
            path: request.path.clone(),
            id: request.id.clone(),
            duration: request.took,
        };
        // Each request of the demo has a connection, so a port, of its own.
        let same_port = |hang: &&Hang| hang.request.client_port == client.port;
        let tracer = Tracer::sum(&hangs.iter().filter(same_port).collect::<Vec<_>>());
        Self {
            client: Some(client),
            tracer,
        }
    }

    /// Why this row speaks against the tracer.
    fn complaint(&self, tolerance: Duration) -> Option<String> {
        let said = match (&self.client, &self.tracer) {
            (Some(_), None) => "the tracer missed a request that hung".to_owned(),
            (None, _) => "the tracer reports a hang that the client did not have".to_owned(),
            (Some(client), Some(tracer)) if !tracer.names(client) => {
                "the request id does not agree".to_owned()
            }
            (Some(client), Some(tracer)) if client.duration.abs_diff(tracer.hang) > tolerance => {
                format!(
                    "the durations differ by more than {} ms",
                    tolerance.as_millis()
                )
            }
            _ => return None,
        };
        Some(said)
    }
}

impl Tracer {
    /// Each device in turn blocks one request.
    fn sum(hangs: &[&Hang]) -> Option<Self> {
        let first = hangs.first()?;
        Some(Self {
            port: first.request.client_port,
            ids: hangs.iter().map(|hang| hang.request.id.clone()).collect(),
            hang: Duration::from_nanos(hangs.iter().map(|hang| hang.duration_ns).sum()),
            request: Duration::from_nanos(first.request.duration_ns),
        })
    }

    fn names(&self, client: &Client) -> bool {
        self.ids.iter().all(|id| id.is_some() && *id == client.id)
    }
}

impl Comparison {
    /// An error unless the tracer found every hang and nothing else.
    pub fn verdict(&self) -> Result<()> {
        let complaints: Vec<_> = self
            .rows
            .iter()
            .filter_map(|row| row.complaint(self.tolerance))
            .collect();
        if !complaints.is_empty() {
            bail!(
                "the trace does not agree with the client: {}",
                complaints.join("; ")
            );
        }
        if self.rows.is_empty() {
            bail!("no request hung, so there was nothing to trace");
        }
        if !self.complete {
            bail!("the trace has no summary: the tracer did not end cleanly");
        }
        Ok(())
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let header = [
            "port",
            "path",
            "client",
            "hang",
            "request",
            "difference",
            "request id",
        ];
        write_row(to, header.map(str::to_owned))?;
        self.rows
            .iter()
            .try_for_each(|row| write_row(to, row.cells()))
    }
}

fn write_row(
    to: &mut fmt::Formatter<'_>,
    [port, path, client, hang, request, difference, id]: [String; 7],
) -> fmt::Result {
    writeln!(
        to,
        "  {port:>5}  {path:<12}  {client:>9}  {hang:>9}  {request:>9}  {difference:>10}  {id}"
    )
}

impl Row {
    fn cells(&self) -> [String; 7] {
        let (client, tracer) = (self.client.as_ref(), self.tracer.as_ref());
        let port = client
            .and_then(|client| client.port)
            .or(tracer.and_then(|tracer| tracer.port));
        let both = client.zip(tracer);
        [
            port.map_or("?".to_owned(), |port| port.to_string()),
            client.map_or("?".to_owned(), |client| client.path.clone()),
            client.map_or("fast".to_owned(), |client| seconds(client.duration)),
            tracer.map_or("missed".to_owned(), |tracer| seconds(tracer.hang)),
            tracer.map_or("-".to_owned(), |tracer| seconds(tracer.request)),
            both.map_or("-".to_owned(), |(client, tracer)| {
                difference(client.duration, tracer.hang)
            }),
            both.map_or("-", |(client, tracer)| {
                if tracer.names(client) {
                    "agrees"
                } else {
                    "DIFFERS"
                }
            })
            .to_owned(),
        ]
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.3} s", duration.as_secs_f64())
}

/// What the client saw on top of what the tracer saw.
fn difference(client: Duration, tracer: Duration) -> String {
    format!(
        "{:+.1} ms",
        (client.as_secs_f64() - tracer.as_secs_f64()) * 1e3
    )
}

#[cfg(test)]
mod tests {
    use lab::client_times::Part;
    use tracer_format::{
        Time,
        record::{Device, Request, Summary},
    };
    use tracer_model::{Cause, Transport};

    use super::*;

    fn request(port: u16, took: Duration) -> ClientRequest {
        ClientRequest {
            id: Some(format!("id-{port}")),
            port: Some(port),
            path: "sys/mounts".to_owned(),
            took,
            part: Part::All,
        }
    }

    fn verdict(hangs: &[Hang]) -> String {
        verdict_beside(Duration::from_millis(2), hangs)
    }

    fn verdict_beside(healthy: Duration, hangs: &[Hang]) -> String {
        let requests = [
            request(1, healthy),
            request(2, Duration::from_millis(8_004)),
        ];
        let hangs = hangs
            .iter()
            .map(|hang| Record::Hang(Box::new(hang.clone())));
        let records = hangs.chain([Record::Summary(Summary::default())]);
        let line = |record| serde_json::to_string(&record).expect("JSON") + "\n";
        let text: String = records.map(line).collect();
        let comparison = compare(&requests, &Trace::parse(&text).expect("a trace"));
        comparison.verdict().map_or_else(
            |error| error.to_string(),
            |()| format!("fine\n{comparison}"),
        )
    }

    fn hang(port: u16, id: &str, milliseconds: u64) -> Hang {
        Hang {
            id: None,
            start: Time::default(),
            end: Time::default(),
            duration_ns: milliseconds * 1_000_000,
            device: Device {
                transport: Transport::Tcp.into(),
                address: String::new(),
                path: None,
                addresses: Vec::new(),
            },
            cause: Cause::NoAck.into(),
            explanation: String::new(),
            request: Request {
                id: Some(id.to_owned()),
                client_port: Some(port),
                ..Request::default()
            },
            stalls: Vec::new(),
        }
    }

    #[test]
    fn agreement_is_fine() {
        let text = verdict(&[hang(2, "id-2", 8_001)]);
        assert!(
            text.starts_with("fine") && text.contains("+3.0 ms  agrees"),
            "{text}"
        );
    }

    #[test]
    fn hangs_of_several_devices_add_up() {
        let text = verdict(&[hang(2, "id-2", 4_000), hang(2, "id-2", 4_000)]);
        assert!(text.starts_with("fine"), "{text}");
    }

    #[test]
    fn on_a_slow_machine_the_durations_may_differ_by_more() {
        let slow = verdict_beside(Duration::from_millis(20), &[hang(2, "id-2", 7_900)]);
        assert!(slow.starts_with("fine"), "{slow}");
        let too_short = verdict_beside(Duration::from_millis(20), &[hang(2, "id-2", 7_800)]);
        assert!(
            too_short.contains("differ by more than 130 ms"),
            "{too_short}"
        );
    }

    #[test]
    fn disagreement_is_an_error() {
        for (hangs, expected) in [
            (vec![], "missed a request"),
            (vec![hang(2, "id-2", 7_900)], "differ by more than 58 ms"),
            (vec![hang(2, "id-3", 8_000)], "request id does not agree"),
            (
                vec![hang(2, "id-2", 8_000), hang(1, "id-1", 200)],
                "a hang that the client did not have",
            ),
        ] {
            let text = verdict(&hangs);
            assert!(text.contains(expected), "{text}");
        }
    }
}
