//! Where the programs in the kernel are attached.

/// Where a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Hook {
    /// A tracepoint, by name: no tracefs, no perf event. `reads`: number of arguments that the program reads.
    RawTracepoint {
        /// Its name in the kernel.
        name: &'static str,
        /// Least number of its arguments.
        reads: usize,
    },
    /// The exit of one system call: a perf event whose number is in tracefs.
    SyscallExit(&'static str),
    /// A kernel function's entry, by a trampoline.
    FEntry(&'static str),
    /// A kernel function's exit, by a trampoline.
    FExit(&'static str),
    /// A kernel function's entry, by a breakpoint.
    KProbe(&'static str),
    /// A kernel function's return, by a breakpoint at its entry.
    KRetProbe(&'static str),
    /// A function of the traced server, by a breakpoint at its entry.
    UProbe(&'static str),
}

impl Hook {
    /// Its name in the kernel.
    pub fn name(self) -> &'static str {
        match self {
            Self::RawTracepoint { name, .. }
            | Self::SyscallExit(name)
            | Self::FEntry(name)
            | Self::FExit(name)
            | Self::KProbe(name)
            | Self::KRetProbe(name)
            | Self::UProbe(name) => name,
        }
    }

    /// Its type.
    pub fn kind(self) -> &'static str {
        match self {
            Self::RawTracepoint { .. } => "raw_tracepoint",
            Self::SyscallExit(_) => "tracepoint",
            Self::FEntry(_) => "fentry",
            Self::FExit(_) => "fexit",
            Self::KProbe(_) => "kprobe",
            Self::KRetProbe(_) => "kretprobe",
            Self::UProbe(_) => "uprobe",
        }
    }
}
