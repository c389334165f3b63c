//! What the agent keeps of its privileges while it traces, and that four capabilities are enough.

use std::{
    fs,
    io::IoSlice,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::Path,
    process::Command,
    thread,
};

use anyhow::{Context, Result, ensure};
use lab::{Process, Tracer, scenario::BIG_REQUEST, tracer::agent_from_environment};
use nix::{
    errno::Errno,
    libc,
    sys::{
        signal::{Signal, kill},
        uio::{RemoteIoVec, process_vm_writev},
    },
    unistd::Pid,
};
use tracer::probe::privilege;

use crate::outage::{attach, lab};

const NOBODY: u32 = 65534;
const NEEDED: &str = "+bpf,+perfmon,+sys_ptrace,+dac_read_search";
/// Their bits: 39, 38, 19 and 2.
const KEPT: u64 = 1 << 39 | 1 << 38 | 1 << 19 | 1 << 2;

/// `CAP_SYS_ADMIN`, 21, which is taken up while the uprobe is attached.
const RESERVED: u64 = 1 << 21;

#[test]
fn the_agent_keeps_four_capabilities_and_needs_no_more() -> Result<()> {
    let lab = lab()?;
    let root = attach(&lab, &[])?;
    let directory = tempfile::tempdir()?;
    let user = attach_as_user(lab.server.pid(), directory.path())?;
    lab.client.get(BIG_REQUEST)?;
    let fault = lab.drop_output()?;
    lab.fill()?;
    fault.lift()?;
    is_confined(root.pid(), RESERVED)?;
    is_confined(user.pid(), 0)?;
    let (root, user) = (root.stop()?, user.stop()?);
    ensure!(user.status.success(), "{}", user.stderr);
    let trace = fs::read_to_string(directory.path().join("trace.jsonl"))?;
    let hangs = |text: &str| text.matches(r#"{"type":"hang""#).count();
    ensure!(hangs(&root.text) == 1, "{}", root.text);
    ensure!(hangs(&trace) == 1, "{trace}: {}", user.stderr);
    Ok(())
}

/// The kernel's rights decide about what no filter of system calls can see: which file is opened.
#[test]
fn who_gets_hold_of_the_agent_cannot_change_a_process_of_another_user() -> Result<()> {
    let mut sleep = Command::new("sleep");
    let other = Process::spawn("another user's", sleep.arg("60").uid(NOBODY).gid(NOBODY))?;
    let pid = other.pid().cast_signed();
    let at = format!("/proc/{pid}/mem");
    let may = move |write: bool| {
        fs::OpenOptions::new()
            .read(!write)
            .write(write)
            .open(&at)
            .is_ok()
    };
    ensure!(may(true), "root may write before");
    let inside = move || {
        privilege::sandbox().enter();
        let stop = |request| {
            // SAFETY: neither takes an address.
            let result = unsafe { libc::ptrace(request, pid, 0, 0) };
            Errno::result(result).map(drop)
        };
        let remote = RemoteIoVec {
            base: 0x1000,
            len: 1,
        };
        let written = process_vm_writev(Pid::from_raw(pid), &[IoSlice::new(&[0])], &[remote]);
        [
            ("stop it", stop(libc::PTRACE_ATTACH) == Err(Errno::EPERM)),
            ("seize it", stop(libc::PTRACE_SEIZE) == Err(Errno::EPERM)),
            ("write to it", written == Err(Errno::EPERM)),
            (
                "end it",
                kill(Pid::from_raw(pid), Signal::SIGKILL) == Err(Errno::EPERM),
            ),
            ("open its memory to write", !may(true)),
            ("read its memory, which tracing does", may(false)),
        ]
    };
    let answers = thread::spawn(inside).join().expect("it does not panic");
    for (what, as_expected) in answers {
        ensure!(as_expected, "{what}");
    }
    Ok(())
}

/// As systemd starts a service with `User=` and `AmbientCapabilities=`.
fn attach_as_user(pid: u32, directory: &Path) -> Result<Tracer> {
    // Where the agent was built others may have no access.
    let own = directory.join("vault-tracer");
    fs::copy(agent_from_environment()?, &own)?;
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))?;
    chown(directory, Some(NOBODY), Some(NOBODY))?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]);
    command.args(["--inh-caps", NEEDED, "--ambient-caps", NEEDED, "--"]);
    command.arg(own).args(["trace", "--pid", &pid.to_string()]);
    command.arg("--output").arg(directory.join("trace.jsonl"));
    Tracer::attach_by(command.current_dir("/"))
}

/// All its threads, and its limits.
fn is_confined(pid: u32, reserved: u64) -> Result<()> {
    for thread in fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end meanwhile.
        let Ok(status) = fs::read_to_string(thread?.path().join("status")) else {
            continue;
        };
        let field = |name: &str| -> Result<u64> {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let digits = line.with_context(|| format!("no {name} in {status}"))?;
            Ok(u64::from_str_radix(digits.trim_matches([':', '\t']), 16)?)
        };
        ensure!(field("CapEff")? == KEPT, "{status}");
        ensure!(field("CapPrm")? == KEPT | reserved, "{status}");
        ensure!(field("CapInh")? == 0 && field("CapAmb")? == 0, "{status}");
        ensure!(
            field("NoNewPrivs")? == 1 && field("Seccomp")? == 2,
            "{status}"
        );
    }
    let limits = fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let core = limits
        .lines()
        .find(|line| line.starts_with("Max core file size"));
    let core = core.context("no limit of core dumps")?;
    ensure!(core.split_whitespace().nth(4) == Some("0"), "{core}");
    Ok(())
}
