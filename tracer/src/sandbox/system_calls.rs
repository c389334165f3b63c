//! System calls that this process never makes, and from now on cannot make (`seccomp(2)`).

use std::{io, process};

use nix::libc::{self, c_long, sock_filter};

/// By classic BPF on `struct seccomp_data` (`include/uapi/linux/seccomp.h`).
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
/// Lower half of the first argument, on the machines of the agent.
const FIRST_ARGUMENT: u32 = 16;
/// `AUDIT_ARCH_*` (`include/uapi/linux/audit.h`).
const NATIVE: u32 = if cfg!(target_arch = "x86_64") {
    0xc000_003e
} else {
    0xc000_00b7
};

/// What no command of the agent does, and what somebody would who got hold of it.
const FORBIDDEN: &[c_long] = &[
    // Other programs.
    libc::SYS_execve,
    libc::SYS_execveat,
    // Other processes: their memory is read, nothing of them is changed.
    libc::SYS_ptrace,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_kill,
    libc::SYS_tkill,
    libc::SYS_rt_sigqueueinfo,
    libc::SYS_rt_tgsigqueueinfo,
    libc::SYS_pidfd_send_signal,
    libc::SYS_pidfd_getfd,
    // Other users and namespaces.
    libc::SYS_setuid,
    libc::SYS_setgid,
    libc::SYS_setreuid,
    libc::SYS_setregid,
    libc::SYS_setresuid,
    libc::SYS_setresgid,
    libc::SYS_setgroups,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_chroot,
    libc::SYS_pivot_root,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    // With CAP_DAC_READ_SEARCH, the way out of a container.
    libc::SYS_open_by_handle_at,
    // The system.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_acct,
    libc::SYS_quotactl,
    // Parts of the kernel that attackers like and the agent does not use.
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_fanotify_init,
    libc::SYS_personality,
];

/// By which files are opened.
const OPENING: &[c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    libc::SYS_openat,
    libc::SYS_openat2,
];

/// Makes these fail with `EPERM`, and those of another machine's calling convention with `ENOSYS`.
pub(super) fn forbid() -> io::Result<()> {
    let mut program = program(FORBIDDEN);
    program.extend(own_threads(process::id()));
    install(program)
}

/// Makes opening files fail with `EPERM`, in this thread for as long as it lives.
pub(super) fn forbid_opening() -> io::Result<()> {
    install(program(OPENING))
}

/// What the program leaves unanswered is allowed.
fn install(mut program: Vec<sock_filter>) -> io::Result<()> {
    program.push(answer(libc::SECCOMP_RET_ALLOW));
    let filter = libc::sock_fprog {
        len: u16::try_from(program.len()).unwrap_or(u16::MAX),
        filter: program.as_mut_ptr(),
    };
    let no_flags = 0_u32;
    // SAFETY: the kernel copies `len` instructions, which are there.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            no_flags,
            &raw const filter,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// Classic BPF, in the order in which it runs.
fn program(forbidden: &[c_long]) -> Vec<sock_filter> {
    let mut program = vec![
        load(ARCHITECTURE),
        skip_if(libc::BPF_JEQ, NATIVE, 1),
        answer(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32),
        load(NUMBER),
    ];
    if cfg!(target_arch = "x86_64") {
        // Numbers of x32 (`__X32_SYSCALL_BIT`) are the same calls again.
        program.push(skip_unless(libc::BPF_JGE, 1 << 30, 1));
        program.push(answer(libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32));
    }
    for number in forbidden {
        program.push(skip_unless(libc::BPF_JEQ, *number as u32, 1));
        program.push(answer(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32));
    }
    program
}

/// `tgkill` signals threads of this process alone: `abort(3)` does so.
fn own_threads(process: u32) -> [sock_filter; 4] {
    [
        skip_unless(libc::BPF_JEQ, libc::SYS_tgkill as u32, 3),
        load(FIRST_ARGUMENT),
        skip_if(libc::BPF_JEQ, process, 1),
        answer(libc::SECCOMP_RET_ERRNO | libc::EPERM as u32),
    ]
}

fn load(offset: u32) -> sock_filter {
    instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, offset, 0, 0)
}

/// Skips instructions if the comparison with what was loaded holds.
fn skip_if(comparison: u32, with: u32, count: u8) -> sock_filter {
    instruction(libc::BPF_JMP | comparison | libc::BPF_K, with, count, 0)
}

/// The same if it does not.
fn skip_unless(comparison: u32, with: u32, count: u8) -> sock_filter {
    instruction(libc::BPF_JMP | comparison | libc::BPF_K, with, 0, count)
}

fn answer(value: u32) -> sock_filter {
    instruction(libc::BPF_RET | libc::BPF_K, value, 0, 0)
}

fn instruction(code: u32, k: u32, jt: u8, jf: u8) -> sock_filter {
    sock_filter {
        code: code as u16,
        jt,
        jf,
        k,
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use nix::{errno::Errno, sys::prctl};

    use super::*;

    /// With arguments that none of them takes: were one let through, it would say so and do nothing.
    #[test]
    fn each_of_these_is_forbidden_and_others_are_not() {
        let inside = || {
            prctl::set_no_new_privs().expect("no privilege is needed");
            forbid().expect("this kernel has filters");
            let answer = |number| {
                // SAFETY: no pointer, descriptor, process or number among these is valid.
                let result = unsafe { libc::syscall(number, -1, -1, -1, -1, -1, -1) };
                Errno::result(result).map(drop)
            };
            for number in FORBIDDEN {
                assert_eq!(answer(*number), Err(Errno::EPERM), "{number}");
            }
            assert_eq!(answer(libc::SYS_tgkill), Err(Errno::EPERM));
            // SAFETY: no signal is sent.
            let own = unsafe { libc::syscall(libc::SYS_tgkill, process::id(), libc::gettid(), 0) };
            assert_eq!(own, 0);
            assert_eq!(answer(libc::SYS_close), Err(Errno::EBADF));
            // SAFETY: takes nothing.
            assert!(unsafe { libc::syscall(libc::SYS_getpid) } > 0);
            // x32's `getpid`.
            #[cfg(target_arch = "x86_64")]
            assert_eq!(answer(libc::SYS_getpid | 1 << 30), Err(Errno::ENOSYS));
        };
        let ended = thread::spawn(inside).join();
        assert!(ended.is_ok(), "a call was not answered as expected");
    }
}
