//! The user registers of the running system call: the only code that knows an architecture.

use aya_ebpf::helpers::generated::{bpf_get_current_task_btf, bpf_task_pt_regs};

use crate::{kernel::user_regs, maps::TASK_PT_REGS, read};

/// Byte offsets in `struct pt_regs` (`arch/x86/include/asm/ptrace.h`), and system call numbers
/// (`arch/x86/entry/syscalls/syscall_64.tbl`). Go keeps `*runtime.g` in r14 (`cmd/compile/abi-internal.md`).
#[cfg(bpf_target_arch = "x86_64")]
mod arch {
    pub(crate) const ARGS: [u64; 3] = [112, 104, 96]; // di, si, dx
    pub(crate) const NUMBER: u64 = 120; // orig_ax
    pub(crate) const G: u64 = 8; // r14
    pub(crate) const GO_ARG: u64 = 80; // ax
    pub(crate) const PC: u64 = 128; // ip
    pub(crate) const MODE: u64 = 136; // cs, whose last bits are the privilege level
    pub(crate) const MODE_MASK: u64 = 3;
    pub(crate) const USER: u64 = 3;
    pub(crate) const READ: u64 = 0;
    pub(crate) const WRITE: u64 = 1;
    pub(crate) const WRITEV: u64 = 20;
    pub(crate) const CONNECT: u64 = 42;
    pub(crate) const SENDTO: u64 = 44;
    pub(crate) const RECVFROM: u64 = 45;
    pub(crate) const SENDMSG: u64 = 46;
    pub(crate) const RECVMSG: u64 = 47;
}

/// `arch/arm64/include/asm/ptrace.h`, `include/uapi/asm-generic/unistd.h`; Go keeps `*runtime.g` in x28.
/// `orig_x0` holds the first argument also after the call, when x0 holds the result.
#[cfg(bpf_target_arch = "aarch64")]
mod arch {
    pub(crate) const ARGS: [u64; 3] = [272, 8, 16]; // orig_x0, x1, x2
    pub(crate) const NUMBER: u64 = 64; // x8
    pub(crate) const G: u64 = 224; // x28
    pub(crate) const GO_ARG: u64 = 0; // x0
    pub(crate) const PC: u64 = 256;
    pub(crate) const MODE: u64 = 264; // pstate
    pub(crate) const MODE_MASK: u64 = 0xf;
    pub(crate) const USER: u64 = 0; // PSR_MODE_EL0t
    pub(crate) const READ: u64 = 63;
    pub(crate) const WRITE: u64 = 64;
    pub(crate) const WRITEV: u64 = 66;
    pub(crate) const CONNECT: u64 = 203;
    pub(crate) const SENDTO: u64 = 206;
    pub(crate) const RECVFROM: u64 = 207;
    pub(crate) const SENDMSG: u64 = 211;
    pub(crate) const RECVMSG: u64 = 212;
}

/// A system call, as far as the probes distinguish them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    /// `write`, `sendto`: buffer and length are the second and third argument.
    Write,
    /// `writev`, `sendmsg`: the second argument points to vectors.
    WriteVector,
    /// `read`, `recvfrom`: the second argument is the buffer.
    Read,
    /// `recvmsg`.
    ReadVector,
    Connect,
    Other,
}

/// The user registers of the running task in a system call.
#[derive(Clone, Copy)]
pub(crate) struct Regs {
    number: u64,
    args: [u64; 3],
    g: u64,
}

impl Regs {
    /// Of nobody: something that happens to packets.
    pub(crate) const NONE: Self = Self {
        number: u64::MAX,
        args: [0; 3],
        g: 0,
    };

    /// Reads each at its offset in `struct pt_regs`.
    #[inline(always)]
    fn read(reg: impl Fn(u64) -> u64) -> Self {
        let [first, second, third] = arch::ARGS;
        Self {
            number: reg(arch::NUMBER),
            args: [reg(first), reg(second), reg(third)],
            g: reg(arch::G),
        }
    }

    /// At an address that a probe is handed.
    #[inline(always)]
    pub(crate) fn at(address: u64) -> Self {
        Self::read(|offset| read::kernel(address + offset))
    }

    /// First argument of a Go function, in the registers at its entry (`cmd/compile/abi-internal.md`).
    #[inline(always)]
    pub(crate) fn go_argument(address: u64) -> u64 {
        read::kernel(address + arch::GO_ARG)
    }

    /// Of the running task: by the helper where the kernel has it (Linux 5.15); before, by the arithmetic of
    /// `task_pt_regs()`. The verifier knows the constant and drops the other branch.
    #[inline(always)]
    pub(crate) fn current() -> Self {
        if TASK_PT_REGS.load() == 0 {
            return Self::computed();
        }
        // SAFETY: the one helper takes what the other returned, as the verifier demands.
        let regs = unsafe { bpf_task_pt_regs(bpf_get_current_task_btf()) } as *const u8;
        // SAFETY: the verifier knows the type and checks each offset; a load that faults gives zero
        // (`BPF_PROBE_MEM`). Plain loads: a call of a helper took 35 ns.
        Self::read(|offset| unsafe { regs.add(offset as usize).cast::<u64>().read_volatile() })
    }

    #[inline(always)]
    fn computed() -> Self {
        let address = user_regs();
        let reg = |offset| read::kernel::<u64>(address + offset);
        // Kernel stacks may have another size: then nothing is known, and reads as zero. On arm64 zeros are a user's mode too.
        let is_user = reg(arch::MODE) & arch::MODE_MASK == arch::USER && reg(arch::PC) != 0;
        Self::at(if is_user { address } else { 0 })
    }

    #[inline(always)]
    pub(crate) fn arg(self, n: usize) -> u64 {
        self.args[n]
    }

    /// Address of the running goroutine's `runtime.g`, if Go code made the system call.
    #[inline(always)]
    pub(crate) fn g(self) -> u64 {
        self.g
    }

    #[inline(always)]
    pub(crate) fn call(self) -> Call {
        match self.number {
            arch::WRITE | arch::SENDTO => Call::Write,
            arch::WRITEV | arch::SENDMSG => Call::WriteVector,
            arch::READ | arch::RECVFROM => Call::Read,
            arch::RECVMSG => Call::ReadVector,
            arch::CONNECT => Call::Connect,
            _ => Call::Other,
        }
    }
}
