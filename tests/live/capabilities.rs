//! What each capability of `probe::privilege::NEEDED` is for, on this kernel: the kernel is asked for what tracing does by a
//! thread that lacks one of them. `cargo xtask vm -- capabilities::` does so on others.

use std::{
    fmt::Write,
    fs::{self, File, Permissions},
    io,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use anyhow::{Context, Result, ensure};
use lab::{Lab, Tracer, tracer::agent_from_environment, wait};
use nix::{
    errno::Errno,
    libc::{self, c_int, c_long},
    sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit},
};
use tracer::{probe::privilege::NEEDED, sandbox::Privilege, server::goroutines::ProcessMemory};

use crate::outage::lab;

const NOBODY: u32 = 65534;
/// The default of most systems, bytes.
const LITTLE: u64 = 64 << 10;

/// What tracing does, and without which capabilities the kernel refuses it to who is not root.
const USES: [(&str, &[Privilege], Use); 5] = [
    ("make a ring buffer", &[Privilege::Bpf], |_| ring_buffer()),
    (
        "load a program for a tracepoint",
        &[Privilege::Bpf, Privilege::Perfmon],
        |_| program(),
    ),
    (
        "open the server's memory",
        &[Privilege::SysPtrace, Privilege::DacReadSearch],
        |server| {
            let opened = ProcessMemory::open(server.pid);
            opened.map(drop).map_err(|_| Errno::EACCES.into())
        },
    ),
    ("open its executable", &[Privilege::SysPtrace], |server| {
        File::open(format!("/proc/{}/exe", server.pid)).map(drop)
    }),
    (
        "read its audit file",
        &[Privilege::SysPtrace, Privilege::DacReadSearch],
        |server| File::open(&server.audit).map(drop),
    ),
];

type Use = fn(&Server) -> io::Result<()>;

struct Server {
    pid: i32,
    /// Through its descriptor, as the agent opens it.
    audit: PathBuf,
}

impl Server {
    /// `None` while it does not have its audit file open.
    fn of(lab: &Lab) -> Result<Option<Self>> {
        let pid = lab.server.pid().cast_signed();
        let file = lab.server.audit_file();
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd"))?.flatten();
        let mut paths = descriptors.map(|entry| entry.path());
        let audit = paths.find(|path| fs::read_link(path).is_ok_and(|to| to == file));
        Ok(audit.map(|audit| Self { pid, audit }))
    }

    /// What the kernel answers to an ordinary user with these capabilities. Anew where the server has opened its file again.
    fn answer(lab: &Lab, kept: &[Privilege], attempt: Use) -> Result<io::Result<()>> {
        let limit = Duration::from_secs(10);
        wait::until("a file that stays open", limit, || {
            let Some(server) = Self::of(lab)? else {
                return Ok(None);
            };
            let answer = as_nobody(kept, || attempt(&server))?;
            let is_gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
            Ok((!answer.as_ref().is_err_and(is_gone)).then_some(answer))
        })
    }
}

#[test]
fn each_capability_is_needed_for_what_the_kernel_refuses_without_it() -> Result<()> {
    let lab = lab()?;
    limit_locked_memory(RLIM_INFINITY)?;
    let mut table = String::from("without");
    for (what, ..) in USES {
        write!(table, " | {what}")?;
    }
    let all = NEEDED.map(|(_, privilege)| privilege);
    let without_one = NEEDED.map(|(name, privilege)| (name, Some(privilege)));
    for (name, dropped) in without_one.into_iter().chain([("none of these", None)]) {
        let kept: Vec<_> = all.into_iter().filter(|it| Some(*it) != dropped).collect();
        write!(table, "\n{name}")?;
        for (what, needed, attempt) in USES {
            let answer = Server::answer(&lab, &kept, attempt)?;
            let is_refused = answer.is_err();
            let answer = answer.map_or_else(|error| error.to_string(), |()| "done".to_owned());
            write!(table, " | {answer}")?;
            let expected = dropped.is_some_and(|dropped| needed.contains(&dropped));
            ensure!(
                is_refused == expected,
                "{what} without {name}: {answer}\n{table}"
            );
        }
    }
    println!("{table}");
    for (name, dropped) in NEEDED {
        let kept: Vec<_> = all.into_iter().filter(|it| *it != dropped).collect();
        let said = agent_says(lab.server.pid(), &kept, RLIM_INFINITY)?;
        let expected = format!("tracing needs {name}, which this process does not have");
        ensure!(said.contains(&expected), "without {name}: {said}");
        println!("the agent without {name}: {}", said.trim());
    }
    Ok(())
}

#[test]
fn an_ordinary_user_hears_of_the_limit_of_locked_memory_where_it_counts() -> Result<()> {
    let lab = lab()?;
    let all = NEEDED.map(|(_, privilege)| privilege);
    let said = agent_says(lab.server.pid(), &all, LITTLE)?;
    limit_locked_memory(LITTLE)?;
    let counts = as_nobody(&all, ring_buffer)?.is_err();
    println!("locked memory counts: {counts}; the agent: {}", said.trim());
    ensure!(
        said.contains("RLIMIT_MEMLOCK is 64 kB") == counts,
        "{counts}: {said}"
    );
    ensure!(counts || said.contains("tracing PID"), "{said}");
    Ok(())
}

/// What it prints, as a user of these capabilities, until it is attached or ends.
fn agent_says(pid: u32, kept: &[Privilege], locked: u64) -> Result<String> {
    let directory = tempfile::tempdir()?;
    let own = directory.path().join("vault-tracer");
    // Where the agent was built others may have no access.
    fs::copy(agent_from_environment()?, &own)?;
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
    chown(directory.path(), Some(NOBODY), Some(NOBODY))?;
    let mut command = Command::new(own);
    command.args(["trace", "--pid", &pid.to_string(), "--duration", "1s"]);
    command.current_dir(Path::new("/"));
    let set = bits(kept);
    let become_user = move || {
        limit_locked_memory(locked)?;
        leave_root(set)?;
        for number in (0..u64::BITS).filter(|number| set >> number & 1 == 1) {
            // SAFETY: takes numbers only.
            done(c_long::from(unsafe {
                libc::prctl(
                    libc::PR_CAP_AMBIENT,
                    libc::PR_CAP_AMBIENT_RAISE,
                    number,
                    0,
                    0,
                )
            }))?;
        }
        Ok(())
    };
    // SAFETY: system calls on values; nothing is allocated between fork and exec.
    unsafe { command.pre_exec(become_user) };
    let trace = Tracer::spawn(&mut command)?.finish()?;
    Ok(trace.terminal + &trace.stderr)
}

/// Does this in a thread of its own, whose user is nobody and has these capabilities.
fn as_nobody<T: Send>(kept: &[Privilege], work: impl FnOnce() -> T + Send) -> Result<T> {
    let set = bits(kept);
    thread::scope(|scope| {
        let inside = scope.spawn(move || leave_root(set).map(|()| work()));
        inside
            .join()
            .expect("it does not panic")
            .context("cannot leave root")
    })
}

/// Or to as much as this process may have itself.
fn limit_locked_memory(bytes: u64) -> nix::Result<()> {
    let (_, most) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    setrlimit(Resource::RLIMIT_MEMLOCK, bytes.min(most), bytes.min(most))
}

fn bits(set: &[Privilege]) -> u64 {
    set.iter().fold(0, |bits, one| bits | 1 << *one as u8)
}

/// For this thread, by the system calls themselves: the C library's functions change all threads.
fn leave_root(set: u64) -> io::Result<()> {
    // SAFETY: these take numbers; `capset` reads a header and two halves, as version 3 has them.
    unsafe {
        done(c_long::from(libc::prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0, 0)))?;
        done(libc::syscall(libc::SYS_setgroups, 0, 0))?;
        done(libc::syscall(libc::SYS_setresgid, NOBODY, NOBODY, NOBODY))?;
        done(libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY))?;
        let header: [u32; 2] = [0x2008_0522, 0];
        let half = |shift: u32| [(set >> shift) as u32; 3];
        let halves = [half(0), half(32)];
        done(libc::syscall(
            libc::SYS_capset,
            header.as_ptr(),
            halves.as_ptr(),
        ))
    }
}

fn done(result: c_long) -> io::Result<()> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// `BPF_MAP_CREATE` of a megabyte (`include/uapi/linux/bpf.h`).
fn ring_buffer() -> io::Result<()> {
    const BPF_MAP_CREATE: c_int = 0;
    const BPF_MAP_TYPE_RINGBUF: u32 = 27;
    bpf(
        BPF_MAP_CREATE,
        &[BPF_MAP_TYPE_RINGBUF, 0, 0, 1 << 20, 0, 0, 0, 0],
    )
}

/// `BPF_PROG_LOAD` of `return 0`.
fn program() -> io::Result<()> {
    const BPF_PROG_LOAD: c_int = 5;
    const BPF_PROG_TYPE_RAW_TRACEPOINT: u32 = 17;
    // r0 = 0; exit
    let code: [u64; 2] = [0xb7, 0x95];
    let halves = |at: usize| [at as u32, (at as u64 >> 32) as u32];
    let [code_low, code_high] = halves(code.as_ptr() as usize);
    let [license_low, license_high] = halves(c"GPL".as_ptr() as usize);
    let attributes = [
        BPF_PROG_TYPE_RAW_TRACEPOINT,
        code.len() as u32,
        code_low,
        code_high,
        license_low,
        license_high,
        0,
        0,
    ];
    bpf(BPF_PROG_LOAD, &attributes)
}

fn bpf(command: c_int, attributes: &[u32; 8]) -> io::Result<()> {
    let size = size_of_val(attributes);
    // SAFETY: the kernel reads so many bytes, and what they point to.
    let made = unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_ptr(), size) };
    done(made)?;
    // SAFETY: it is ours, and nobody has it yet.
    unsafe { libc::close(made as c_int) };
    Ok(())
}
