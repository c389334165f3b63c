//! What the programs keep of each of the server's sockets, and the agent reads when buffering ends.

use crate::{
    abi::{ACCEPTED, BUFFERED, IN_PROCESS, Kind, Name, Record},
    capture::AuditSocket,
};

/// State of one of the traced server's sockets. All that a client's call needs is in one place: each map that is looked up costs as
/// much as the rest of what is done for the call.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct KnownSocket {
    /// `CLOCK_MONOTONIC` ns at which it was first seen.
    pub born: u64,
    /// 1 if a client opened it. Stored, since a socket that closes loses its port.
    pub accepted: u32,
    /// What the agent says it is for. Stored, since a look-up for each entry costs more than all else that is read of the socket.
    pub role: u32,
    /// Generation of the roles at that look-up.
    pub role_generation: u32,
    /// Explicit padding, zero.
    pub reserved: u32,
    /// Of a client's connection: the receive that began the request under way, or the last one. Zeros before the first.
    pub received: ClientCall,
    /// The last send to the client. Zeros before the first.
    pub sent: ClientCall,
    /// Progress of an audit device's socket.
    pub audit: AuditSocket,
    /// Addresses of a TCP connection, once both ports are known. Else zeros.
    pub name: Name,
}

/// A receive or send on a client's connection: what of its [`Record`] differs from call to call.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C)]
pub struct ClientCall {
    /// [`Record::time`]; 0 if there was none.
    pub time: u64,
    /// [`Record::goid`].
    pub goid: u64,
    /// [`Record::parent_goid`].
    pub parent_goid: u64,
    /// [`Record::extra`].
    pub extra: u64,
    /// [`Record::value`]. Linux transfers at most 2 GB in one call.
    pub value: i32,
    /// [`Record::tid`].
    pub tid: u32,
    /// [`Record::fd`].
    pub fd: i32,
    /// [`Record::status`].
    pub status: u16,
    /// 1 if it was not sent to the agent.
    pub buffered: u16,
}

impl KnownSocket {
    /// Fills what is not zero at first, and last of all the time, by which others see that the rest is there.
    ///
    /// # Safety
    ///
    /// `socket` must be valid for writes.
    #[inline(always)]
    pub unsafe fn begin(socket: *mut Self, now: u64, accepted: bool) {
        // SAFETY: by the caller's word.
        unsafe {
            (&raw mut (*socket).audit).write(AuditSocket::new(now));
            (&raw mut (*socket).accepted).write(u32::from(accepted));
            (&raw mut (*socket).born).write_volatile(now);
        }
    }

    /// The records of the last receive and the last send of a client's connection, if there were any. `sock`: the socket's address
    /// in the kernel.
    pub fn client_records(&self, sock: u64) -> [Option<Record>; 2] {
        [(Kind::Receive, &self.received), (Kind::Send, &self.sent)]
            .map(|(kind, call)| (call.time != 0).then(|| self.record(sock, kind, call)))
    }

    fn record(&self, sock: u64, kind: Kind, call: &ClientCall) -> Record {
        Record {
            time: call.time,
            sock,
            born: self.born,
            goid: call.goid,
            parent_goid: call.parent_goid,
            value: call.value.into(),
            extra: call.extra,
            kind: kind as u16,
            flags: IN_PROCESS | ACCEPTED | if call.buffered != 0 { BUFFERED } else { 0 },
            tid: call.tid,
            fd: call.fd,
            status: call.status,
            reserved: 0,
            name: self.name,
        }
    }
}

const _: () = assert!(size_of::<ClientCall>() == 48);
const _: () = assert!(size_of::<KnownSocket>() == 24 + 2 * 48 + 24 + 40);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_and_its_connection_make_the_record() {
        let mut socket = KnownSocket {
            born: 0,
            accepted: 0,
            role: 0,
            role_generation: 0,
            reserved: 0,
            received: ClientCall::default(),
            sent: ClientCall::default(),
            audit: AuditSocket::default(),
            name: Name::NONE,
        };
        // SAFETY: a structure of this type.
        unsafe { KnownSocket::begin(&raw mut socket, 7, true) };
        assert!(socket.client_records(1).iter().all(Option::is_none));
        socket.name.local_port = 8200;
        socket.sent = ClientCall {
            time: 9,
            value: 120,
            status: 200,
            buffered: 1,
            ..ClientCall::default()
        };
        let [received, sent] = socket.client_records(1);
        let sent = sent.expect("there was one");
        assert!(received.is_none());
        assert_eq!((sent.kind, sent.time, sent.born), (Kind::Send as u16, 9, 7));
        assert_eq!((sent.value, sent.status), (120, 200));
        assert_eq!(sent.flags, IN_PROCESS | ACCEPTED | BUFFERED);
        assert_eq!((sent.sock, sent.name.local_port), (1, 8200));
    }
}
