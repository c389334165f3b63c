//! What the first bytes and the results of socket calls mean.

use crate::abi::UNKNOWN;

/// `-EAGAIN`, `-EINPROGRESS` (`include/uapi/asm-generic/errno.h`).
const EAGAIN: i64 = -11;
const EINPROGRESS: i64 = -115;

/// TCP states (`include/net/tcp_states.h`).
pub const TCP_ESTABLISHED: i32 = 1;
/// `connect()` was called.
pub const TCP_SYN_SENT: i32 = 2;
/// A client's SYN arrived.
pub const TCP_SYN_RECV: i32 = 3;
/// The process has closed it.
pub const TCP_FIN_WAIT1: i32 = 4;
/// The peer has acknowledged that.
pub const TCP_FIN_WAIT2: i32 = 5;
/// Both ends have closed it.
pub const TCP_TIME_WAIT: i32 = 6;
/// There is no connection.
pub const TCP_CLOSE: i32 = 7;
/// The peer has closed it.
pub const TCP_CLOSE_WAIT: i32 = 8;
/// And the process.
pub const TCP_LAST_ACK: i32 = 9;
/// `listen()` was called.
pub const TCP_LISTEN: i32 = 10;
/// Both ends have closed it at once.
pub const TCP_CLOSING: i32 = 11;

/// Result of a send.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendOutcome {
    /// The socket took all bytes, as far as their number is known.
    Complete,
    /// The send buffer is full: some bytes were taken, or none.
    Short,
    /// The send failed.
    Failed,
}

impl SendOutcome {
    /// `result`: bytes taken or `-errno`; `requested`: bytes to send, or [`UNKNOWN`].
    #[inline(always)]
    pub const fn of(result: i64, requested: u64) -> Self {
        if result == EAGAIN {
            Self::Short
        } else if result < 0 {
            Self::Failed
        } else if requested != UNKNOWN && (result as u64) < requested {
            Self::Short
        } else {
            Self::Complete
        }
    }
}

/// `connect()` on a non-blocking socket returns `-EINPROGRESS`: state changes then report the outcome.
#[inline(always)]
pub const fn is_failed_connect(result: i64) -> bool {
    result < 0 && result != EINPROGRESS
}

/// Whether a UDP socket is connected to this port only to learn by which address this host would reach the other: so Go does
/// with each address of a name (`net/addrselect.go`, `srcAddrs`), and fails where there is no route.
#[inline(always)]
pub const fn is_route_query(protocol: u16, port: u16) -> bool {
    const UDP: u16 = 17;
    const DISCARD: u16 = 9;
    protocol == UDP && port == DISCARD
}

/// A change of TCP state on the way to an open connection, seen from the end that connects.
#[inline(always)]
pub const fn is_connecting(old: i32, new: i32) -> bool {
    new == TCP_SYN_SENT || (old == TCP_SYN_SENT && new == TCP_ESTABLISHED)
}

/// TLS record types that carry no request (RFC 8446, 5.1): `change_cipher_spec`, `alert`, `handshake`.
#[inline(always)]
pub const fn is_handshake(first_byte: u64) -> bool {
    matches!(first_byte, 0x14..=0x16)
}

/// Whether a write to an audit device begins a record of TLS: no entry begins with a control character.
#[inline(always)]
pub const fn is_tls(first_byte: u64) -> bool {
    matches!(first_byte, 0x14..=0x17)
}

/// Length of `POST `.
pub const METHOD: usize = 5;

/// Whether a request of HTTP/1 with an audit entry begins with these bytes.
#[inline(always)]
pub fn begins_http_request(start: &[u8; METHOD]) -> bool {
    matches!(start, b"POST " | b"PUT /")
}

/// Bytes of a request that are hashed: method, path and the host, but not `Content-Length`, which is another one each time.
pub const REQUEST_START: usize = 64;

/// Hash of no bytes: FNV-1a (RFC 9923), but by words.
pub const HASH_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// The hash of one word more.
#[inline(always)]
pub const fn hash_word(hash: u64, word: u64) -> u64 {
    const PRIME: u64 = 0x0100_0000_01b3;
    (hash ^ word).wrapping_mul(PRIME)
}

/// Hash of how a request with an audit entry begins: of one device's requests all the same, and another one where the same server
/// is asked for something else. `None` if none begins with these bytes. The programs, which have no room for so many bytes, hash
/// them as they read them.
pub fn request_hash(start: &[u8; REQUEST_START]) -> Option<u64> {
    let is_request = start.first_chunk().is_some_and(begins_http_request);
    let (words, _) = start.as_chunks();
    let words = words.iter().copied().map(u64::from_ne_bytes);
    is_request.then(|| words.fold(HASH_BASIS, hash_word))
}

/// Length of `HTTP/1.1 200`.
pub const STATUS_LINE: usize = 12;

/// Status of the HTTP/1 answer that begins with these bytes; 0 if none does.
#[inline(always)]
pub fn http_status(start: &[u8; STATUS_LINE]) -> u16 {
    if start[..7] != *b"HTTP/1." || start[8] != b' ' {
        return 0;
    }
    let digit = |at: usize| u16::from(start[at].wrapping_sub(b'0'));
    digit(9) * 100 + digit(10) * 10 + digit(11)
}

/// Bytes of a line of the server's log in which its level, and what its message begins with, are.
pub const LOG_START: usize = 56;

/// Whether a line of `hashicorp/go-hclog` that begins with these bytes reports an error about an audit entry. Text has the level,
/// `[ERROR]`, behind a time of 24 or 28 bytes (`2006-01-02T15:04:05.000Z0700`), then the logger's name; JSON begins with
/// `{"@level":"error","@message":"`. The agent reads the rest (`audit::server_log`).
#[inline(always)]
pub fn is_audit_error(start: &[u8; LOG_START]) -> bool {
    let is_message =
        has(start, 30, b"backen") || has(start, 30, b"log re") || has(start, 30, b"failed");
    (has(start, 0, b"{\"@lev") && has(start, 11, b"error\"") && is_message)
        || is_text(start, 25)
        || is_text(start, 29)
}

/// The same of text whose level is here.
#[inline(always)]
fn is_text(start: &[u8; LOG_START], level: usize) -> bool {
    let is_of_core = || has(start, level + 8, b"core: ") && has(start, level + 14, b"failed");
    has(start, level, b"[ERROR") && (has(start, level + 8, b"audit:") || is_of_core())
}

#[inline(always)]
fn has(start: &[u8; LOG_START], at: usize, word: &[u8; 6]) -> bool {
    start[at] == word[0]
        && start[at + 1] == word[1]
        && start[at + 2] == word[2]
        && start[at + 3] == word[3]
        && start[at + 4] == word[4]
        && start[at + 5] == word[5]
}

/// Whether an HTTP server with this answer has not taken what it was sent. A redirect may lead to one that takes it.
#[inline(always)]
pub const fn is_rejection(status: u16) -> bool {
    status >= 400
}

/// `100 Continue` and the like ask for the rest of the request: the answer is yet to come.
#[inline(always)]
pub const fn is_interim(status: u16) -> bool {
    status != 0 && status < 200
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_send_is_complete_short_or_failed() {
        for (result, requested, outcome) in [
            (0, 0, SendOutcome::Complete),
            (100, 100, SendOutcome::Complete),
            (100, UNKNOWN, SendOutcome::Complete),
            (99, 100, SendOutcome::Short),
            (0, 100, SendOutcome::Short),
            (EAGAIN, 100, SendOutcome::Short),
            (EAGAIN, UNKNOWN, SendOutcome::Short),
            (-32, 100, SendOutcome::Failed),      // EPIPE
            (-104, UNKNOWN, SendOutcome::Failed), // ECONNRESET
        ] {
            assert_eq!(
                SendOutcome::of(result, requested),
                outcome,
                "{result} of {requested}"
            );
        }
    }

    #[test]
    fn a_connect_under_way_has_not_failed() {
        assert!(!is_failed_connect(0) && !is_failed_connect(EINPROGRESS));
        assert!(is_failed_connect(-101)); // ENETUNREACH
    }

    #[test]
    fn only_a_connection_that_comes_about_is_connecting() {
        assert!(is_connecting(7, TCP_SYN_SENT)); // from TCP_CLOSE
        assert!(is_connecting(TCP_SYN_SENT, TCP_ESTABLISHED));
        for (old, new) in [
            (TCP_SYN_SENT, 7),
            (TCP_SYN_RECV, TCP_ESTABLISHED),
            (TCP_ESTABLISHED, 4), // TCP_FIN_WAIT1
        ] {
            assert!(!is_connecting(old, new), "{old} -> {new}");
        }
    }

    #[test]
    fn an_http1_answer_begins_with_its_status() {
        assert_eq!(http_status(b"HTTP/1.1 200"), 200);
        assert_eq!(http_status(b"HTTP/1.0 503"), 503);
        assert_eq!(http_status(b"HTTP/2 200 x"), 0);
        assert_eq!(
            http_status(b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03\0"),
            0
        );
        assert!(begins_http_request(b"POST ") && begins_http_request(b"PUT /"));
        assert!(!begins_http_request(b"{\"tim") && !begins_http_request(b"GET /"));
        assert!(is_interim(100) && !is_interim(200) && !is_interim(0));
    }

    #[test]
    fn an_error_about_an_entry_is_recognized_by_its_level_and_logger() {
        for (line, expected) in [
            (
                "2026-11-30T04:42:06.689Z [ERROR] audit: backend failed to",
                true,
            ),
            (
                "2026-11-30T06:42:06.689+0200 [ERROR] audit: backend failed",
                true,
            ),
            (
                "{\"@level\":\"error\",\"@message\":\"backend failed to log",
                true,
            ),
            (
                "2026-11-30T04:42:06.689Z [ERROR] core: failed to audit response: ",
                true,
            ),
            (
                "2026-11-30T06:42:06.689+0200 [ERROR] core: failed to audit response: ",
                true,
            ),
            (
                "{\"@level\":\"error\",\"@message\":\"failed to audit request\",",
                true,
            ),
            (
                "2026-11-30T04:42:06.689Z [INFO]  audit: enabled audit backend: path",
                false,
            ),
            (
                "2026-11-30T04:42:06.689Z [ERROR] rollback: error rolling back: path",
                false,
            ),
            (
                "2026-11-30T04:42:06.689Z [ERROR] core: error doing a thing: path",
                false,
            ),
            (
                "{\"@level\":\"error\",\"@message\":\"error rolling back\",",
                false,
            ),
            (
                "2026-11-30T04:42:06.689Z [INFO]  core: [ERROR] in a message",
                false,
            ),
            (
                "{\"@level\":\"info\",\"@message\":\"error error error error",
                false,
            ),
        ] {
            let mut start = [0; LOG_START];
            let bytes = line.bytes().zip(&mut start);
            bytes.for_each(|(from, to)| *to = from);
            assert_eq!(is_audit_error(&start), expected, "{line}");
        }
    }

    #[test]
    fn application_data_may_carry_a_request() {
        let types = [0x14, 0x15, 0x16, 0x17, u64::from(b'G'), UNKNOWN];
        assert_eq!(
            types.map(is_handshake),
            [true, true, true, false, false, false]
        );
    }
}
