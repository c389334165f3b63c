//! The runtime's record of a goroutine (`runtime/runtime2.go`: `g`, `gobuf`, `stack`).

use std::ops::Range;

use anyhow::{Context, Result, ensure};

use super::memory::word;
use crate::server::go::dwarf::Structures;
use tracer_model::Nanos;

/// The structures whose layout is needed.
pub(super) const STRUCTURES: [&str; 3] = ["runtime.g", "runtime.gobuf", "runtime.stack"];

/// `runtime/runtime2.go`: `_Gidle`, `_Grunnable` and so on, and the bit that the garbage collector sets while it
/// scans a stack.
mod status {
    pub(super) const IDLE: u32 = 0;
    pub(super) const RUNNABLE: u32 = 1;
    pub(super) const RUNNING: u32 = 2;
    pub(super) const SYSCALL: u32 = 3;
    pub(super) const WAITING: u32 = 4;
    pub(super) const DEAD: u32 = 6;
    pub(super) const PREEMPTED: u32 = 9;
    pub(super) const SCAN: u32 = 0x1000;
}

/// Bytes beyond which a member of `runtime.g` is rejected. Seven times the real one.
const MAX_SIZE: u32 = 4096;

/// A goroutine, as it was when it was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Goroutine {
    pub(super) address: u64,
    pub(super) goid: u64,
    pub(super) parent: Option<u64>,
    pub(super) status: u32,
    pub(super) stack: Range<u64>,
    /// Where it continues.
    pub(super) sp: u64,
    pub(super) pc: u64,
    pub(super) bp: u64,
    /// Where it made a system call: `sp`, `pc`, `bp`; known since Go 1.23.
    pub(super) syscall: Option<[u64; 3]>,
    /// How often it has stopped running, modulo 256: `trackingSeq` (`runtime/proc.go`, `casgstatus`).
    pub(super) stops: Option<u8>,
}

/// What the runtime notes of a goroutine's wait. No part of [`Goroutine`]: the garbage collector may note the time of one that has not moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct WaitNote {
    /// When the garbage collector first found it waiting, `CLOCK_MONOTONIC`, ns: it has waited for at least that time (`runtime/mgcmark.go`,
    /// `markroot`).
    pub(super) since: Option<Nanos>,
    /// Index of `runtime.waitReasonStrings` (`runtime/runtime2.go`, `waitReason`).
    pub(super) reason: Option<u8>,
}

impl Goroutine {
    pub(super) fn is_alive(&self) -> bool {
        self.goid != 0 && !matches!(self.status, status::IDLE | status::DEAD)
    }

    /// Whether it waits, or is in a system call, and its saved stack pointers are current. A system call saves them
    /// twice (`runtime/proc.go`, `reentersyscall`): in versions of Go that save no frame pointer there, the one at hand is an
    /// old one.
    pub(super) fn is_blocked(&self) -> bool {
        match self.status {
            status::WAITING => true,
            status::SYSCALL => self.syscall == Some([self.sp, self.pc, self.bp]),
            _ => false,
        }
    }

    /// Whether its stack can be read: one that waits for a processor has saved it too.
    pub(super) fn has_saved_stack(&self) -> bool {
        self.is_blocked() || matches!(self.status, status::RUNNABLE | status::PREEMPTED)
    }

    /// Whether a processor runs it.
    pub(super) fn is_running(&self) -> bool {
        self.status == status::RUNNING
    }

    /// Whether it is in a system call.
    pub(super) fn is_in_system_call(&self) -> bool {
        self.status == status::SYSCALL
    }

    /// Whether the runtime wakes it up, rather than the kernel.
    pub(super) fn is_parked(&self) -> bool {
        self.status == status::WAITING
    }
}

/// Byte offsets in `runtime.g`.
#[derive(Debug)]
pub(super) struct GoroutineLayout {
    goid: u32,
    parent: Option<u32>,
    status: u32,
    stack: u32,
    sp: u32,
    pc: u32,
    bp: u32,
    syscall: Option<[u32; 3]>,
    stops: Option<u32>,
    since: Option<u32>,
    reason: Option<u32>,
}

impl GoroutineLayout {
    pub(super) fn new(structures: &Structures) -> Result<Self> {
        let find = |structure: &str, member: &str| structures.get(structure)?.get(member).copied();
        let of = |structure: &str, member: &str| {
            let at = find(structure, member).filter(|at| *at < MAX_SIZE);
            at.with_context(|| format!("{structure}.{member} is not described"))
        };
        let saved = of("runtime.g", "sched")?;
        ensure!(
            (of("runtime.stack", "lo")?, of("runtime.stack", "hi")?) == (0, 8),
            "runtime.stack has another layout than all known versions of Go"
        );
        let own = |member| find("runtime.g", member).filter(|at| *at < MAX_SIZE);
        let syscall = || Some([own("syscallsp")?, own("syscallpc")?, own("syscallbp")?]);
        Ok(Self {
            goid: of("runtime.g", "goid")?,
            parent: own("parentGoid"),
            status: of("runtime.g", "atomicstatus")?,
            stack: of("runtime.g", "stack")?,
            sp: saved + of("runtime.gobuf", "sp")?,
            pc: saved + of("runtime.gobuf", "pc")?,
            bp: saved + of("runtime.gobuf", "bp")?,
            syscall: syscall(),
            stops: own("trackingSeq"),
            since: own("waitsince"),
            reason: own("waitreason"),
        })
    }

    /// Bytes that have to be read.
    pub(super) fn size(&self) -> usize {
        let Self {
            goid,
            status,
            stack,
            sp,
            pc,
            bp,
            ..
        } = self;
        let last = [*goid, *status, stack + 8, *sp, *pc, *bp]
            .into_iter()
            .chain(self.parent)
            .chain(self.syscall.into_iter().flatten())
            .chain(self.stops)
            .chain(self.since)
            .chain(self.reason);
        last.max().map_or(0, |last| last as usize + 8)
    }

    /// Of the goroutine with these bytes; nothing unless it waits.
    pub(super) fn wait_note(&self, bytes: &[u8]) -> WaitNote {
        let at = |offset: u32| bytes.get(offset as usize..).map_or(0, word);
        let status = at(self.status) as u32 & !status::SCAN;
        if !matches!(status, status::WAITING | status::SYSCALL) {
            return WaitNote::default();
        }
        let reason = self.reason.filter(|_| status == status::WAITING);
        WaitNote {
            since: self.since.map(at).filter(|since| *since != 0),
            reason: reason.map(|reason| at(reason) as u8),
        }
    }

    /// `bytes`: those at this address.
    pub(super) fn read(&self, address: u64, bytes: &[u8]) -> Goroutine {
        let at = |offset: u32| bytes.get(offset as usize..).map_or(0, word);
        Goroutine {
            address,
            goid: at(self.goid),
            parent: self.parent.map(at),
            status: at(self.status) as u32 & !status::SCAN,
            stack: at(self.stack)..at(self.stack + 8),
            sp: at(self.sp),
            pc: at(self.pc),
            bp: at(self.bp),
            syscall: self.syscall.map(|members| members.map(at)),
            stops: self.stops.map(|stops| at(stops) as u8),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn structures(omitted: &str) -> Structures {
        let members = [
            ("runtime.g", "goid", 152),
            ("runtime.g", "parentGoid", 280),
            ("runtime.g", "atomicstatus", 144),
            ("runtime.g", "stack", 0),
            ("runtime.g", "sched", 56),
            ("runtime.g", "syscallsp", 104),
            ("runtime.g", "syscallpc", 112),
            ("runtime.g", "syscallbp", 120),
            ("runtime.g", "trackingSeq", 197),
            ("runtime.g", "waitsince", 168),
            ("runtime.g", "waitreason", 176),
            ("runtime.gobuf", "sp", 0),
            ("runtime.gobuf", "pc", 8),
            ("runtime.gobuf", "bp", 40),
            ("runtime.stack", "lo", 0),
            ("runtime.stack", "hi", 8),
        ];
        let mut structures = Structures::new();
        for (structure, member, at) in members {
            let structure = structures.entry(structure.to_owned()).or_default();
            if member != omitted {
                structure.insert(member.to_owned(), at);
            }
        }
        structures
    }

    #[test]
    fn reads_members_where_they_lie() {
        let layout = GoroutineLayout::new(&structures("")).expect("described");
        let mut bytes: Vec<u8> = (0..layout.size() / 8)
            .flat_map(|i| (8 * i as u64).to_le_bytes())
            .collect();
        bytes[144..148].copy_from_slice(&0x1004_u32.to_le_bytes());
        let goroutine = layout.read(0x1000, &bytes);
        assert_eq!((goroutine.goid, goroutine.parent), (152, Some(280)));
        assert_eq!((goroutine.sp, goroutine.pc, goroutine.bp), (56, 64, 96));
        assert_eq!(goroutine.stack, 0..8);
        assert_eq!(goroutine.syscall, Some([104, 112, 120]));
        // One byte of the word at 192.
        assert_eq!(goroutine.stops, Some(0));
        assert!(goroutine.is_blocked() && goroutine.is_parked() && goroutine.is_alive());
    }

    #[test]
    fn in_a_system_call_it_is_blocked_if_all_is_saved() {
        let layout = GoroutineLayout::new(&structures("")).expect("described");
        let mut goroutine = layout.read(0, &[0; 512]);
        goroutine.status = status::SYSCALL;
        assert!(goroutine.is_blocked() && !goroutine.is_parked());
        goroutine.bp += 8;
        assert!(!goroutine.is_blocked(), "the frame pointer is an old one");
        let old = GoroutineLayout::new(&structures("syscallbp")).expect("described");
        let mut goroutine = old.read(0, &[0; 512]);
        goroutine.status = status::SYSCALL;
        assert!(!goroutine.is_blocked());
    }

    #[test]
    fn only_of_one_that_waits_the_runtime_notes_a_wait() {
        let layout = GoroutineLayout::new(&structures("")).expect("described");
        let mut bytes = vec![0; layout.size()];
        bytes[168..184].copy_from_slice(&[5, 0, 0, 0, 0, 0, 0, 0, 13, 0, 0, 0, 0, 0, 0, 0]);
        let mut note = |status: u32| {
            bytes[144..148].copy_from_slice(&status.to_le_bytes());
            let note = layout.wait_note(&bytes);
            (note.since, note.reason)
        };
        assert_eq!(note(status::WAITING | status::SCAN), (Some(5), Some(13)));
        assert_eq!(note(status::SYSCALL), (Some(5), None));
        assert_eq!(note(status::RUNNABLE), (None, None));
        let unknown = GoroutineLayout::new(&structures("waitsince")).expect("described");
        assert_eq!(unknown.wait_note(&bytes).since, None);
    }

    #[test]
    fn old_versions_of_go_know_no_parents() {
        let layout = GoroutineLayout::new(&structures("parentGoid")).expect("described");
        assert_eq!(layout.read(0, &[1; 512]).parent, None);
    }

    #[test]
    fn other_missing_members_are_an_error() {
        for member in [
            "goid",
            "atomicstatus",
            "stack",
            "sched",
            "sp",
            "pc",
            "bp",
            "lo",
        ] {
            let error = GoroutineLayout::new(&structures(member))
                .expect_err(member)
                .to_string();
            assert!(error.contains(member), "{error}");
        }
    }
}
