//! Capabilities of this thread (`capabilities(7)`): read, and reduced.

use std::io;

use nix::libc::{self, c_int, c_ulong};

/// Numbers of `include/uapi/linux/capability.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Privilege {
    /// A file gets another group.
    Chown = 0,
    /// Files of other users are written.
    DacOverride = 1,
    /// Files of other users are read.
    DacReadSearch = 2,
    /// A port below 1024.
    NetBindService = 10,
    /// Another process's memory.
    SysPtrace = 19,
    /// Breakpoints in programs (`perf_uprobe_event_init`, `kernel/events/core.c`), and every perf event on Debian's and
    /// Ubuntu's kernels (`kernel.perf_event_paranoid` 3 and more); before Linux 5.8, all that the next two allow.
    SysAdmin = 21,
    /// Kernel probes.
    Perfmon = 38,
    /// eBPF programs and maps.
    Bpf = 39,
}

/// Some of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Privileges(u64);

impl Privileges {
    /// With one more.
    #[must_use]
    pub fn with(self, capability: Privilege) -> Self {
        Self(self.0 | 1 << capability as u8)
    }

    fn has(self, capability: Privilege) -> bool {
        self.0 >> capability as u8 & 1 == 1
    }

    /// What of `permitted` stays if these are kept. `CAP_SYS_ADMIN` stands for eBPF and its probes where the process has
    /// nothing narrower.
    fn of(self, permitted: Self) -> Self {
        let implied = [Privilege::Bpf, Privilege::Perfmon];
        let is_missing = |one: &Privilege| self.has(*one) && !permitted.has(*one);
        let wanted = if implied.iter().any(is_missing) {
            self.with(Privilege::SysAdmin)
        } else {
            self
        };
        Self(wanted.0 & permitted.0)
    }
}

/// `_LINUX_CAPABILITY_VERSION_3`: two halves of 32 bits.
const VERSION: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: c_int,
}

/// Of this thread.
const OWN: Header = Header {
    version: VERSION,
    pid: 0,
};

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Half {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

/// Reduces what this thread may do to `kept`, and what it may still take up to that and `reserved`. Empties the set that
/// programs would inherit.
pub(super) fn reduce_to(kept: Privileges, reserved: Privileges) -> io::Result<()> {
    let [_, permitted] = own()?;
    let kept = kept.of(permitted);
    let left = Privileges(kept.0 | reserved.0 & permitted.0);
    // While there is still `CAP_SETPCAP`; without it `no_new_privs` makes the bounding set meaningless.
    leave_bounding_set(left);
    set(kept, left)
}

/// Whether this thread may take up a capability for a while.
pub(super) fn may_raise(capability: Privilege) -> bool {
    own().is_ok_and(|[_, permitted]| permitted.has(capability))
}

/// Does this work with a capability more, if the thread has it in reserve.
pub(super) fn raised<T>(capability: Privilege, work: impl FnOnce() -> T) -> io::Result<T> {
    let [effective, permitted] = own()?;
    if !permitted.has(capability) {
        return Ok(work());
    }
    set(effective.with(capability), permitted)?;
    let done = work();
    set(effective, permitted)?;
    Ok(done)
}

fn set(effective: Privileges, permitted: Privileges) -> io::Result<()> {
    let half = |shift: u32| Half {
        effective: (effective.0 >> shift) as u32,
        permitted: (permitted.0 >> shift) as u32,
        inheritable: 0,
    };
    let (mut header, halves) = (OWN, [half(0), half(32)]);
    // SAFETY: the kernel reads one header and two halves, as version 3 says.
    done(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, halves.as_ptr()) })
}

/// The effective set, and the permitted one.
fn own() -> io::Result<[Privileges; 2]> {
    let mut halves = [Half::default(); 2];
    let mut header = OWN;
    // SAFETY: the kernel writes at most one header and two halves, as version 3 says.
    done(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) })?;
    let whole = |half: fn(&Half) -> u32| {
        let [low, high] = [&halves[0], &halves[1]].map(|one| u64::from(half(one)));
        Privileges(high << 32 | low)
    };
    Ok([whole(|half| half.effective), whole(|half| half.permitted)])
}

/// Up to the first number that the kernel does not know.
fn leave_bounding_set(kept: Privileges) {
    for number in (0..u64::BITS).filter(|number| kept.0 >> number & 1 == 0) {
        // SAFETY: takes numbers only.
        unsafe { libc::prctl(libc::PR_CAPBSET_DROP, c_ulong::from(number), 0, 0, 0) };
    }
}

fn done(result: libc::c_long) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACING: [Privilege; 2] = [Privilege::Bpf, Privilege::Perfmon];

    fn set(of: &[Privilege]) -> Privileges {
        of.iter()
            .fold(Privileges::default(), |set, one| set.with(*one))
    }

    #[test]
    fn nothing_is_kept_that_the_process_does_not_have() {
        let kept = set(&TRACING).of(set(&[Privilege::Bpf, Privilege::Perfmon, Privilege::Chown]));
        assert_eq!(kept, set(&TRACING));
        assert_eq!(
            set(&TRACING).of(Privileges::default()),
            Privileges::default()
        );
    }

    #[test]
    fn sys_admin_is_kept_only_in_place_of_what_is_missing() {
        let admin = Privilege::SysAdmin;
        assert_eq!(set(&TRACING).of(set(&[admin])), set(&[admin]));
        let all = set(&[admin, Privilege::Bpf, Privilege::Perfmon]);
        assert_eq!(set(&TRACING).of(all), set(&TRACING));
        let files = set(&[Privilege::DacOverride]);
        assert_eq!(files.of(set(&[admin])), Privileges::default());
    }
}
