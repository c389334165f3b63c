//! TCP's numbers of a connection (`include/linux/tcp.h`, `include/net/inet_connection_sock.h`).

use aya_ebpf::helpers::generated::bpf_jiffies64;
use tracer_ebpf::{
    abi::{ENTRY_BYTES, Tcp},
    layout::{ABSENT, KernelLayout},
};

use super::{Sock, field};
use crate::{maps::KERNEL, read};

impl Sock {
    /// Beginning and end (`snd_una`, `write_seq`) of what was unacknowledged before a write of this result; equal for
    /// what is no TCP connection.
    #[inline(always)]
    pub(crate) fn unacknowledged_before(self, written: i64) -> (u32, u32) {
        if !self.is_tcp() || offset!(snd_una) == ABSENT {
            return (0, 0);
        }
        let (una, end) = (offset!(snd_una), offset!(write_seq));
        let end: u32 = field(self.0, end);
        (field(self.0, una), end.wrapping_sub(written as u32))
    }

    /// Sequence numbers that the peer has not acknowledged. Where that is not known, more than can be.
    #[inline(always)]
    pub(crate) fn outstanding(self) -> u32 {
        let (una, end) = self.unacknowledged_before(0);
        end.wrapping_sub(una) | u32::from(offset!(snd_una) == ABSENT).wrapping_neg()
    }

    /// TCP's view of the connection.
    #[inline(always)]
    pub(crate) fn tcp(self) -> Tcp {
        if !self.is_tcp() || offset!(snd_una) == ABSENT {
            return Tcp::default();
        }
        tcp(
            |offset| field(self.0, offset),
            |offset| field(self.0, offset),
        )
    }

    /// The same by one copy of the range with all its fields to `bytes`: a dozen reads would cost as much as all else
    /// that is done for an entry.
    ///
    /// # Safety
    ///
    /// `bytes` must be valid for writes.
    #[inline(always)]
    pub(crate) unsafe fn tcp_by(self, bytes: *mut [u8; ENTRY_BYTES]) -> Tcp {
        let (first, len) = (offset!(tcp_first), offset!(tcp_bytes));
        if first == ABSENT || len > ENTRY_BYTES as u32 {
            return self.tcp();
        }
        if !self.is_tcp() {
            return Tcp::default();
        }
        // SAFETY: by the caller's word. The agent gives a range in which all offsets lie.
        unsafe {
            read::kernel_bytes(bytes.cast(), len, self.0 + u64::from(first));
            let at = |offset: u32| bytes.cast::<u8>().add((offset - first) as usize);
            tcp(
                |offset| at(offset).cast::<u32>().read(),
                |offset| at(offset).read(),
            )
        }
    }
}

/// TCP's view of a connection, by readers of its fields of four bytes and of one.
#[inline(always)]
fn tcp(word: impl Fn(u32) -> u32 + Copy, byte: impl Fn(u32) -> u8 + Copy) -> Tcp {
    let known = |offset| {
        if offset == ABSENT {
            ABSENT
        } else {
            word(offset)
        }
    };
    let known_byte = |offset| {
        if offset == ABSENT {
            ABSENT
        } else {
            u32::from(byte(offset))
        }
    };
    Tcp {
        present: 1,
        snd_una: word(offset!(snd_una)),
        snd_nxt: word(offset!(snd_nxt)),
        write_seq: word(offset!(write_seq)),
        snd_wnd: known(offset!(snd_wnd)),
        mss_cache: known(offset!(mss_cache)),
        wmem_queued: known(offset!(wmem_queued)),
        sndbuf: known(offset!(sndbuf)),
        srtt_us: known(offset!(srtt_us)),
        rto: known(offset!(rto)),
        ack_age: match offset!(rcv_tstamp) {
            ABSENT => ABSENT,
            offset => ack_age(word(offset)),
        },
        retransmits: known_byte(offset!(retransmits)),
        probes_out: known_byte(offset!(probes_out)),
        err_soft: word(offset!(err_soft)),
    }
}

/// `tcp_jiffies32 - tp->rcv_tstamp`, as `tcp_get_info()` (`net/ipv4/tcp.c`) computes.
#[inline(always)]
fn ack_age(rcv_tstamp: u32) -> u32 {
    // SAFETY: no arguments.
    let now = unsafe { bpf_jiffies64() } as u32;
    now.wrapping_sub(rcv_tstamp)
}
