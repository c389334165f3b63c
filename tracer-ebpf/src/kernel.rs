//! The only code that knows kernel structures. Offsets come from the running kernel's BTF
//! (`maps::KERNEL`), since Rust has no CO-RE relocations.

use aya_ebpf::{
    bindings::bpf_pidns_info,
    helpers::{
        bpf_get_current_pid_tgid, bpf_probe_read_kernel_str_bytes,
        generated::{bpf_get_current_task, bpf_get_ns_current_pid_tgid},
    },
};

use tracer_ebpf::{
    abi::{Name, UNIX_PATH},
    layout::{ABSENT, KernelLayout},
};

use crate::{
    maps::{KERNEL, PID_NAMESPACE, TGID},
    read::{self, Plain},
};

pub(crate) const AF_INET: u16 = 2;
pub(crate) const AF_INET6: u16 = 10;

pub(crate) const AF_UNIX: u16 = 1;
const IPPROTO_TCP: u16 = 6;
const IPPROTO_UDP: u16 = 17;
/// [`Sock::leads_to`] of a socket that is not connected. A datagram socket is none any more once its peer is gone
/// (`unix_dgram_sendmsg()`, `net/unix/af_unix.c`).
pub(crate) const NOWHERE: u32 = 1;

/// `offsetof(struct sockaddr_un, sun_path)`.
const SUN_PATH: u64 = 2;

const S_IFMT: u16 = 0o170_000;
const S_IFSOCK: u16 = 0o140_000;

/// One offset out of the layout the agent handed in. Reads that field alone: `Global::load` would
/// copy the whole structure to the 512-byte stack for each.
macro_rules! offset {
    ($field:ident) => {{
        let layout = (&raw const KERNEL).cast::<KernelLayout>();
        // SAFETY: `Global<T>` is a transparent wrapper around an initialised `T`; volatile, since
        // the agent changes the value before the program loads.
        unsafe { (&raw const (*layout).$field).read_volatile() }
    }};
}

mod tcp;

/// Reads a `T` at `base + offset`; zero where it cannot be read. The verifier knows the offset, so the
/// condition is no branch to it.
#[inline(always)]
fn field<T: Plain + Default>(base: u64, offset: u32) -> T {
    if offset == ABSENT {
        return T::default();
    }
    read::kernel(base + u64::from(offset))
}

/// Whether the running thread is one of the traced server's. In a softirq this is whichever thread
/// was interrupted: use it only where the hook itself runs in process context.
#[inline(always)]
pub(crate) fn in_target() -> bool {
    let [device, inode] = PID_NAMESPACE.load();
    if inode == 0 {
        return (bpf_get_current_pid_tgid() >> 32) as u32 == TGID.load();
    }
    let mut ids = bpf_pidns_info { pid: 0, tgid: 0 };
    let size = size_of::<bpf_pidns_info>() as u32;
    // SAFETY: the helper writes `size` bytes. It fails for threads whose innermost namespace is another.
    let failed = unsafe { bpf_get_ns_current_pid_tgid(device, inode, &raw mut ids, size) };
    failed == 0 && ids.tgid == TGID.load()
}

#[inline(always)]
pub(crate) fn tid() -> u32 {
    bpf_get_current_pid_tgid() as u32
}

/// Address of the user registers in the running task's kernel stack, as `task_pt_regs()` computes it.
#[inline(always)]
pub(crate) fn user_regs() -> u64 {
    field::<u64>(current_task(), offset!(task_stack)) + u64::from(offset!(user_regs))
}

#[inline(always)]
fn current_task() -> u64 {
    // SAFETY: no arguments; returns the running task.
    unsafe { bpf_get_current_task() }
}

/// The result in the context of a program at the exit of `tcp_recvmsg`. It follows the arguments, whose
/// number differs by kernel. Read through the helper, since the verifier wants constant offsets.
#[inline(always)]
pub(crate) fn recvmsg_result(context: u64) -> i64 {
    let result: i32 = match offset!(recvmsg_arguments) {
        ABSENT => return 0,
        arguments => field(context, arguments * 8),
    };
    i64::from(result)
}

/// The `struct sock` of a `struct socket`.
#[inline(always)]
pub(crate) fn socket_sock(socket: u64) -> Sock {
    Sock(field(socket, offset!(socket_sk)))
}

/// A `struct sock *`.
#[derive(Clone, Copy)]
pub(crate) struct Sock(pub(crate) u64);

impl Sock {
    #[inline(always)]
    pub(crate) fn family(self) -> u16 {
        field(self.0, offset!(family))
    }

    #[inline(always)]
    fn protocol(self) -> u16 {
        field(self.0, offset!(protocol))
    }

    #[inline(always)]
    pub(crate) fn is_tcp(self) -> bool {
        self.protocol() == IPPROTO_TCP
    }

    #[inline(always)]
    pub(crate) fn state(self) -> u8 {
        field(self.0, offset!(state))
    }

    #[inline(always)]
    pub(crate) fn local_port(self) -> u16 {
        field(self.0, offset!(num))
    }

    /// Writes its addresses.
    ///
    /// # Safety
    ///
    /// `to` must be valid for writes.
    #[inline(always)]
    pub(crate) unsafe fn name(self, to: *mut Name) {
        let family = self.family();
        let name = Name {
            family,
            protocol: self.protocol(),
            local_port: self.local_port(),
            remote_port: u16::from_be(field(self.0, offset!(dport))),
            ..Name::NONE
        };
        // SAFETY: by the caller's word, as below.
        let (local, remote) = unsafe {
            to.write(name);
            (&raw mut (*to).local_addr, &raw mut (*to).remote_addr)
        };
        match family {
            AF_INET => {
                let (here, there) = (offset!(rcv_saddr), offset!(daddr));
                // SAFETY: four of sixteen bytes.
                unsafe {
                    local.cast::<[u8; 4]>().write(field(self.0, here));
                    remote.cast::<[u8; 4]>().write(field(self.0, there));
                }
            }
            AF_INET6 => {
                let (here, there) = (offset!(v6_rcv_saddr), offset!(v6_daddr));
                // SAFETY: sixteen.
                unsafe {
                    local.write(field(self.0, here));
                    remote.write(field(self.0, there));
                }
            }
            _ => {}
        }
    }

    #[inline(always)]
    pub(crate) fn err(self) -> i32 {
        field(self.0, offset!(err))
    }

    #[inline(always)]
    pub(crate) fn err_soft(self) -> i32 {
        field(self.0, offset!(err_soft))
    }

    /// Copies the address of a Unix socket's peer (`unix_sk(sk)->peer->addr->name->sun_path`).
    #[inline(always)]
    pub(crate) fn unix_path(self, path: &mut [u8; UNIX_PATH]) {
        let peer: u64 = field(self.0, offset!(unix_peer));
        let address: u64 = field(peer, offset!(unix_addr));
        if address == 0 || offset!(unix_address_name) == ABSENT {
            return;
        }
        let text = address + u64::from(offset!(unix_address_name)) + SUN_PATH;
        // SAFETY: the helper checks the address itself and fails on a bad one.
        let _ = unsafe { bpf_probe_read_kernel_str_bytes(text as *const u8, path) };
    }

    /// Whether it is a Unix socket of a client's: one that was accepted has its listener's address, and one that was dialled has none.
    #[inline(always)]
    pub(crate) fn is_accepted_unix(self) -> bool {
        self.family() == AF_UNIX && field::<u64>(self.0, offset!(unix_addr)) != 0
    }

    /// What distinguishes where a socket leads that is no TCP connection: both ports, or a Unix socket's peer. [`NOWHERE`] if it leads
    /// nowhere, and never 0.
    #[inline(always)]
    pub(crate) fn leads_to(self) -> u32 {
        let end = if self.family() == AF_UNIX {
            // Its lowest bits are those of each address.
            (field::<u64>(self.0, offset!(unix_peer)) >> 4) as u32
        } else {
            u32::from(self.local_port()) << 16 | u32::from(field::<u16>(self.0, offset!(dport)))
        };
        end | NOWHERE
    }

    /// Inode number of the network namespace that the socket belongs to.
    #[inline(always)]
    pub(crate) fn netns(self) -> u32 {
        let net: u64 = field(self.0, offset!(net));
        field(net, offset!(net_inum))
    }
}

/// Writes the remote address of a connect, from the `struct sockaddr_in` or `sockaddr_in6` (`include/uapi/linux/in.h`,
/// `in6.h`) in user memory that the process gave. Nothing if it is of another family than the socket.
///
/// # Safety
///
/// `name` must be valid for reads and writes.
#[inline(always)]
pub(crate) unsafe fn destination(sockaddr: u64, name: *mut Name) {
    // SAFETY: by the caller's word.
    unsafe {
        let family = (*name).family;
        if read::user::<u16>(sockaddr) != family {
            return;
        }
        let address = &raw mut (*name).remote_addr;
        match family {
            AF_INET => {
                (*name).remote_port = u16::from_be(read::user(sockaddr + 2));
                address.cast::<[u8; 4]>().write(read::user(sockaddr + 4));
            }
            AF_INET6 => {
                (*name).remote_port = u16::from_be(read::user(sockaddr + 2));
                address.write(read::user(sockaddr + 8));
            }
            _ => {}
        }
    }
}

/// The socket that sent this `struct sk_buff`, if it is still attached to one.
#[inline(always)]
pub(crate) fn skb_sock(skb: u64) -> Option<Sock> {
    let sk: u64 = field(skb, offset!(skb_sk));
    (sk != 0).then_some(Sock(sk))
}

/// Index of the interface by which this `struct sk_buff` came in; 0 if this host made it.
#[inline(always)]
pub(crate) fn skb_iif(skb: u64) -> u32 {
    field(skb, offset!(skb_iif))
}

/// Source and destination port of the packet in this `struct sk_buff`, as in its TCP or UDP header: source in the upper half,
/// both in host order. 0 where the header cannot be found.
#[inline(always)]
pub(crate) fn skb_ports(skb: u64) -> u32 {
    let head: u64 = field(skb, offset!(skb_head));
    let start: u16 = field(skb, offset!(skb_network_header));
    // `skb_network_header_was_set()`
    if head == 0 || start == 0 || start == u16::MAX {
        return 0;
    }
    let ip = head + u64::from(start);
    let first = read::kernel::<u8>(ip);
    // Extension headers of IPv6 are not followed: then the protocol is none of these.
    let (protocol, length) = match first >> 4 {
        4 => (read::kernel::<u8>(ip + 9), u64::from(first & 0xf) * 4),
        6 => (read::kernel::<u8>(ip + 6), 40),
        _ => return 0,
    };
    if u16::from(protocol) != IPPROTO_TCP && u16::from(protocol) != IPPROTO_UDP {
        return 0;
    }
    u32::from_be_bytes(read::kernel(ip + length))
}

/// The socket behind a descriptor of the running task: `current->files->fdt->fd[fd]->private_data->sk`,
/// as `sockfd_lookup()` (`net/socket.c`) finds it. `None` for files that are no sockets.
#[inline(always)]
pub(crate) fn fd_sock(fd: u32) -> Option<Sock> {
    let files: u64 = field(current_task(), offset!(task_files));
    let fdt: u64 = field(files, offset!(files_fdt));
    if fd >= field::<u32>(fdt, offset!(fdt_max_fds)) {
        return None;
    }
    let table: u64 = field(fdt, offset!(fdt_fd));
    let file: u64 = field(table + u64::from(fd) * 8, 0);
    let inode: u64 = field(file, offset!(file_inode));
    if field::<u16>(inode, offset!(inode_mode)) & S_IFMT != S_IFSOCK {
        return None;
    }
    let sk = socket_sock(field(file, offset!(file_private_data)));
    (sk.0 != 0).then_some(sk)
}
