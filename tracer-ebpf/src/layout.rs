//! Byte offsets of kernel and Go fields, which the agent looks up and hands to the programs before they load.

/// An offset in a kernel structure that this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// Byte offsets of the kernel fields that the programs read, from the running kernel's BTF.
/// [`ABSENT`] fields are read as zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct KernelLayout {
    /// `sock_common.skc_family`, u16.
    pub family: u32,
    /// `sock_common.skc_num`, u16, host order.
    pub num: u32,
    /// `sock_common.skc_dport`, u16, network order.
    pub dport: u32,
    /// `sock_common.skc_rcv_saddr`, 4 bytes.
    pub rcv_saddr: u32,
    /// `sock_common.skc_daddr`, 4 bytes.
    pub daddr: u32,
    /// `sock_common.skc_v6_rcv_saddr`, 16 bytes.
    pub v6_rcv_saddr: u32,
    /// `sock_common.skc_v6_daddr`, 16 bytes.
    pub v6_daddr: u32,
    /// `sock_common.skc_state`, u8.
    pub state: u32,
    /// `sock_common.skc_net`, pointer to `struct net`.
    pub net: u32,
    /// `sock.sk_protocol`, u16 (since Linux 5.6).
    pub protocol: u32,
    /// `sock.sk_err`, int.
    pub err: u32,
    /// `sock.sk_err_soft`, int.
    pub err_soft: u32,
    /// `sk_buff.sk`, pointer.
    pub skb_sk: u32,
    /// `net.ns.inum`, u32.
    pub net_inum: u32,
    /// `task_struct.files`, pointer.
    pub task_files: u32,
    /// `files_struct.fdt`, pointer.
    pub files_fdt: u32,
    /// `fdtable.max_fds`, unsigned int.
    pub fdt_max_fds: u32,
    /// `fdtable.fd`, pointer to an array of pointers.
    pub fdt_fd: u32,
    /// `file.f_inode`, pointer.
    pub file_inode: u32,
    /// `file.private_data`, pointer.
    pub file_private_data: u32,
    /// `inode.i_mode`, u16.
    pub inode_mode: u32,
    /// `socket.sk`, pointer.
    pub socket_sk: u32,
    /// `sk_buff.skb_iif`, int: interface a packet came in by.
    pub skb_iif: u32,
    /// `sk_buff.head`, pointer to the buffer.
    pub skb_head: u32,
    /// `sk_buff.network_header`, u16: offset of the IP header from the head.
    pub skb_network_header: u32,
    /// `tcp_sock.snd_una`, u32.
    pub snd_una: u32,
    /// `tcp_sock.snd_nxt`, u32.
    pub snd_nxt: u32,
    /// `tcp_sock.write_seq`, u32.
    pub write_seq: u32,
    /// `tcp_sock.snd_wnd`, u32.
    pub snd_wnd: u32,
    /// `tcp_sock.mss_cache`, u32.
    pub mss_cache: u32,
    /// `tcp_sock.srtt_us`, u32.
    pub srtt_us: u32,
    /// `tcp_sock.rcv_tstamp`, u32, jiffies.
    pub rcv_tstamp: u32,
    /// `sock.sk_wmem_queued`, int.
    pub wmem_queued: u32,
    /// `sock.sk_sndbuf`, int.
    pub sndbuf: u32,
    /// `inet_connection_sock.icsk_rto`, u32, jiffies.
    pub rto: u32,
    /// `inet_connection_sock.icsk_retransmits`, u8.
    pub retransmits: u32,
    /// `inet_connection_sock.icsk_probes_out`, u8.
    pub probes_out: u32,
    /// Offset of the first field that [`Tcp`](crate::abi::Tcp) is made of; [`ABSENT`] if the range from the first to
    /// the last does not fit into `EntryRecord::bytes`.
    pub tcp_first: u32,
    /// Length of that range, bytes.
    pub tcp_bytes: u32,
    /// `unix_sock.peer`, pointer to `struct sock`.
    pub unix_peer: u32,
    /// `unix_sock.addr`, pointer to `struct unix_address`.
    pub unix_addr: u32,
    /// `unix_address.name`, `struct sockaddr_un`.
    pub unix_address_name: u32,
    /// `task_struct.stack`, pointer.
    pub task_stack: u32,
    /// Where a task's kernel stack has the user registers, `struct pt_regs`, in a system call.
    pub user_regs: u32,
    /// Number of arguments of `tcp_recvmsg`: its result follows them in a probe's context.
    pub recvmsg_arguments: u32,
}

impl KernelLayout {
    /// No field is known.
    pub const ABSENT: Self = Self {
        family: ABSENT,
        num: ABSENT,
        dport: ABSENT,
        rcv_saddr: ABSENT,
        daddr: ABSENT,
        v6_rcv_saddr: ABSENT,
        v6_daddr: ABSENT,
        state: ABSENT,
        net: ABSENT,
        protocol: ABSENT,
        err: ABSENT,
        err_soft: ABSENT,
        skb_sk: ABSENT,
        net_inum: ABSENT,
        task_files: ABSENT,
        files_fdt: ABSENT,
        fdt_max_fds: ABSENT,
        fdt_fd: ABSENT,
        file_inode: ABSENT,
        file_private_data: ABSENT,
        inode_mode: ABSENT,
        socket_sk: ABSENT,
        skb_iif: ABSENT,
        skb_head: ABSENT,
        skb_network_header: ABSENT,
        snd_una: ABSENT,
        snd_nxt: ABSENT,
        write_seq: ABSENT,
        snd_wnd: ABSENT,
        mss_cache: ABSENT,
        srtt_us: ABSENT,
        rcv_tstamp: ABSENT,
        wmem_queued: ABSENT,
        sndbuf: ABSENT,
        rto: ABSENT,
        retransmits: ABSENT,
        probes_out: ABSENT,
        tcp_first: ABSENT,
        tcp_bytes: 0,
        unix_peer: ABSENT,
        unix_addr: ABSENT,
        unix_address_name: ABSENT,
        task_stack: ABSENT,
        user_regs: ABSENT,
        recvmsg_arguments: ABSENT,
    };
}

/// Byte offsets in Go's `runtime.g` (`runtime/runtime2.go`), [`ABSENT`] where unknown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct GoLayout {
    /// `g.goid`, u64.
    pub goid: u32,
    /// `g.parentGoid`, u64 (since Go 1.21).
    pub parent_goid: u32,
}
