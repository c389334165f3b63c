//! Generated traces of any length: three devices that fail for different causes, many clients, and more paths than a
//! report keeps.

use std::{collections::VecDeque, io::Read};

use jiff::{SignedDuration, Timestamp};

/// A trace that is generated while it is read.
pub struct Trace {
    hangs: u64,
    written: u64,
    lines: VecDeque<u8>,
    is_over: bool,
}

const CAUSES: [&str; 3] = ["local_drop", "no_ack", "zero_window"];

impl Trace {
    /// With so many hangs.
    pub fn of(hangs: u64) -> Self {
        let session = format!(
            r#"{{"type":"session","version":"0.1.0","pid":4711,"exe":"/usr/bin/bao","kernel":"6.1.0","go_version":"go1.27.3","start":"{}","probes":[]}}"#,
            moment(0)
        );
        let mut trace = Self {
            hangs,
            written: 0,
            lines: VecDeque::new(),
            is_over: false,
        };
        trace.push(&session);
        trace
    }

    fn push(&mut self, line: &str) {
        self.lines.extend(line.as_bytes());
        self.lines.push_back(b'\n');
    }

    fn more(&mut self) {
        let number = self.written;
        if number == self.hangs {
            let summary = format!(
                r#"{{"type":"summary","end":"{}","requests":{},"audit_writes":{},"hangs":{},"refusals":0,"incidents":{},"events":{},"events_lost":0}}"#,
                moment(number + 200),
                2 * number,
                4 * number,
                number,
                number / 100,
                20 * number
            );
            self.push(&summary);
            self.is_over = true;
            return;
        }
        self.written += 1;
        self.push(&hang(number));
        if number % 100 == 99 {
            self.push(&incident(number));
        }
    }
}

impl Read for Trace {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.lines.len() < buffer.len() && !self.is_over {
            self.more();
        }
        self.lines.read(buffer)
    }
}

/// When the hang of this number begins: ten a second.
fn moment(number: u64) -> String {
    let begin: Timestamp = "2026-11-28T00:00:00Z".parse().expect("a time");
    let since = SignedDuration::from_millis(100 * number.cast_signed());
    format!("{:.9}", begin + since)
}

/// From 0.1 s to 10.09 s, in no order.
pub fn duration(number: u64) -> u64 {
    100_000_000 + number.wrapping_mul(2_654_435_761) % 1000 * 10_000_000
}

fn device(number: u64) -> String {
    format!(
        r#"{{"transport":"tcp","address":"10.77.0.{}:1515"}}"#,
        number % 3 + 1
    )
}

fn hang(number: u64) -> String {
    let (start, cause, length) = (
        moment(number),
        CAUSES[(number % 3) as usize],
        duration(number),
    );
    let end = moment(number + length / 100_000_000);
    // One path of many, or one of those that everybody asks for.
    let path = if number.is_multiple_of(2) {
        format!("secret/data/of-{number}")
    } else {
        format!("auth/token/lookup-{}", number % 10)
    };
    let request = format!(
        r#"{{"id":"7107{number:04x}-56e7-1b76-63fa-3a2470d66bb4","operation":"read","path":"{path}","client_address":"10.1.{}.{}","client_port":{},"http_version":"1.1","start":"{start}","duration_ns":{},"tie":"goroutine","status":200}}"#,
        number % 200,
        number % 250,
        number % 60000 + 1024,
        length + 1_000_000,
    );
    let stalls = [(0, "write"), (1, "connect")]
        .map(|(place, op)| stall(op, &start, cause, length / 2 + place * (length % 2)));
    format!(
        r#"{{"type":"hang","id":"hang-{number}","start":"{start}","end":"{end}","duration_ns":{length},"device":{},"cause":"{cause}","explanation":"This host itself drops what it sends to 10.77.0.2:1515 (13 packets, kernel reason NETFILTER_DROP): look at the OUTPUT rules of its firewall (nft list ruleset, iptables -S).","request":{request},"stalls":[{}]}}"#,
        device(number),
        stalls.join(",")
    )
}

fn stall(op: &str, start: &str, cause: &str, length: u64) -> String {
    format!(
        r#"{{"op":"{op}","phase":"response","start":"{start}","duration_ns":{length},"outcome":"timeout","errno":"EAGAIN","cause":"{cause}","evidence":{{"retransmits":0,"unacked_bytes":0,"unsent_bytes":101360,"send_queue_bytes":103024,"send_buffer_bytes":69120,"peer_window_bytes":74752,"rto_ns":204000000,"srtt_ns":175500,"last_ack_age_ns":24000000,"window_probes":0,"at_end":{{"unacked_bytes":0,"unsent_bytes":101360,"send_queue_bytes":103856,"send_buffer_bytes":69120,"peer_window_bytes":74752,"rto_ns":204000000,"srtt_ns":175500,"last_ack_age_ns":524000000,"window_probes":1}},"silent_since":"{start}","dropped_locally":13,"drop_reason":"NETFILTER_DROP","drop_hook":"output","frames":["poll.(*FD).Write","socket.(*Backend).write","socket.(*Backend).LogResponse","vault.(*AuditBroker).LogResponse","vault.(*Core).handleCancelableRequest","http.(*conn).serve"]}}}}"#
    )
}

fn incident(number: u64) -> String {
    let (start, end) = (moment(number.saturating_sub(100)), moment(number));
    format!(
        r#"{{"type":"incident","device":{},"start":"{start}","end":"{end}","cause":"no_ack","hangs":34,"requests":34,"blocked_ns":{},"longest_ns":10000000000}}"#,
        device(number),
        number * 1000
    )
}
