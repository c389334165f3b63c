//! Capabilities of this thread (`capabilities(7)`): read, and reduced.

use std::io;

use nix::libc::{self, c_int, c_ulong};

/// Numbers of `include/uapi/linux/capability.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
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
    /// Before Linux 5.8, what the next two allow.
    SysAdmin = 21,
    /// Kernel probes.
    Perfmon = 38,
    /// eBPF programs and maps.
    Bpf = 39,
}

/// Some of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Set(u64);

impl Set {
    /// With one more.
    #[must_use]
    pub fn with(self, capability: Capability) -> Self {
        Self(self.0 | 1 << capability as u8)
    }

    fn has(self, capability: Capability) -> bool {
        self.0 >> capability as u8 & 1 == 1
    }

    /// What of `permitted` stays if these are kept. `CAP_SYS_ADMIN` stands for eBPF and its probes where the process has
    /// nothing narrower.
    fn of(self, permitted: Self) -> Self {
        let implied = [Capability::Bpf, Capability::Perfmon];
        let is_missing = |one: &Capability| self.has(*one) && !permitted.has(*one);
        let wanted = if implied.iter().any(is_missing) {
            self.with(Capability::SysAdmin)
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

/// Reduces all sets of this thread to `kept`, and empties those that programs would inherit.
pub(super) fn reduce_to(kept: Set) -> io::Result<()> {
    let kept = kept.of(permitted()?);
    // While there is still `CAP_SETPCAP`; without it `no_new_privs` makes the bounding set meaningless.
    leave_bounding_set(kept);
    let half = |shift: u32| {
        let bits = (kept.0 >> shift) as u32;
        Half {
            effective: bits,
            permitted: bits,
            inheritable: 0,
        }
    };
    let (mut header, halves) = (OWN, [half(0), half(32)]);
    // SAFETY: the kernel reads one header and two halves, as version 3 says.
    done(unsafe { libc::syscall(libc::SYS_capset, &raw mut header, halves.as_ptr()) })
}

fn permitted() -> io::Result<Set> {
    let mut halves = [Half::default(); 2];
    let mut header = OWN;
    // SAFETY: the kernel writes at most one header and two halves, as version 3 says.
    done(unsafe { libc::syscall(libc::SYS_capget, &raw mut header, halves.as_mut_ptr()) })?;
    let [low, high] = halves.map(|half| u64::from(half.permitted));
    Ok(Set(high << 32 | low))
}

/// Up to the first number that the kernel does not know.
fn leave_bounding_set(kept: Set) {
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

    const TRACING: [Capability; 2] = [Capability::Bpf, Capability::Perfmon];

    fn set(of: &[Capability]) -> Set {
        of.iter().fold(Set::default(), |set, one| set.with(*one))
    }

    #[test]
    fn nothing_is_kept_that_the_process_does_not_have() {
        let kept = set(&TRACING).of(set(&[
            Capability::Bpf,
            Capability::Perfmon,
            Capability::Chown,
        ]));
        assert_eq!(kept, set(&TRACING));
        assert_eq!(set(&TRACING).of(Set::default()), Set::default());
    }

    #[test]
    fn sys_admin_is_kept_only_in_place_of_what_is_missing() {
        let admin = Capability::SysAdmin;
        assert_eq!(set(&TRACING).of(set(&[admin])), set(&[admin]));
        let all = set(&[admin, Capability::Bpf, Capability::Perfmon]);
        assert_eq!(set(&TRACING).of(all), set(&TRACING));
        let files = set(&[Capability::DacOverride]);
        assert_eq!(files.of(set(&[admin])), Set::default());
    }
}
