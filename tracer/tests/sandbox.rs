//! The agent's sandbox, tried from inside: what must fail does, and worked before; what tracing needs works.

use std::{
    env, fs,
    io::{self, IoSlice, IoSliceMut},
    process::{Command, id},
    thread,
};

use nix::{
    errno::Errno,
    libc,
    sched::{CloneFlags, unshare},
    sys::{
        prctl,
        resource::{Resource, getrlimit},
        signal::kill,
        uio::{RemoteIoVec, process_vm_readv, process_vm_writev},
    },
    unistd::Pid,
};
use tracer::probe::privilege;

/// Set in a process of this test's own, which enters the sandbox.
const INSIDE: &str = "VAULT_TRACER_TEST_INSIDE";

/// What must fail, by name.
type Attempt = (&'static str, fn() -> io::Result<()>);

const ATTEMPTS: [Attempt; 8] = [
    ("start a program", || {
        Command::new("true").status().map(drop)
    }),
    ("write to a process", || {
        let (mut target, from) = ([0_u8; 1], [1_u8; 1]);
        let to = remote(&mut target);
        Ok(process_vm_writev(own(), &[IoSlice::new(&from)], &[to]).map(drop)?)
    }),
    ("send a signal", || Ok(kill(own(), None)?)),
    ("queue a signal", || {
        let nothing = libc::sigval {
            sival_ptr: std::ptr::null_mut(),
        };
        // SAFETY: takes numbers only; signal 0 is none.
        Ok(Errno::result(unsafe { libc::sigqueue(own().as_raw(), 0, nothing) }).map(drop)?)
    }),
    ("signal a thread of another process", || {
        let other = nix::unistd::getppid().as_raw();
        // SAFETY: takes numbers only; signal 0 is none.
        let result = unsafe { libc::syscall(libc::SYS_tgkill, other, other, 0) };
        Ok(Errno::result(result).map(drop)?)
    }),
    ("leave a namespace", || Ok(unshare(CloneFlags::CLONE_FS)?)),
    ("change the personality", || {
        // SAFETY: this value asks, and changes nothing.
        Ok(Errno::result(unsafe { libc::personality(0xffff_ffff) }).map(drop)?)
    }),
    ("dump core", || {
        let allowed = getrlimit(Resource::RLIMIT_CORE)?.1 > 0 && prctl::get_dumpable()?;
        allowed.then_some(()).ok_or_else(|| Errno::EPERM.into())
    }),
];

fn own() -> Pid {
    Pid::from_raw(id() as i32)
}

fn remote(bytes: &mut [u8]) -> RemoteIoVec {
    RemoteIoVec {
        base: bytes.as_mut_ptr() as usize,
        len: bytes.len(),
    }
}

#[test]
fn what_an_intruder_would_do_fails() {
    let outside = answers();
    for (what, answer) in &outside {
        // A system that limits core dumps is none that this test can change.
        assert!(answer == "done" || *what == "dump core", "{what}: {answer}");
    }
    let inside = Command::new(env::current_exe().expect("this test"))
        .args(["--exact", "inside", "--nocapture"])
        .env(INSIDE, "")
        .output()
        .expect("this test again");
    let text = String::from_utf8_lossy(&inside.stdout);
    assert!(inside.status.success(), "{text}");
    for (what, _) in ATTEMPTS {
        let line = format!("{what}: Operation not permitted (os error 1)");
        assert!(text.contains(&line), "{what}: {text}");
    }
}

/// Does nothing in the test's own process.
#[test]
fn inside() {
    if env::var_os(INSIDE).is_none() {
        return;
    }
    privilege::sandbox().enter();
    for (what, answer) in answers() {
        println!("{what}: {answer}");
    }
    let status = fs::read_to_string("/proc/thread-self/status").expect("still readable");
    for line in ["NoNewPrivs:\t1", "Seccomp:\t2", "CapInh:\t0000000000000000"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    // What tracing does goes on: reading memory, further threads, which are in the sandbox too.
    let (mut source, mut read) = ([7_u8; 1], [0_u8; 1]);
    let from = remote(&mut source);
    process_vm_readv(own(), &mut [IoSliceMut::new(&mut read)], &[from]).expect("memory is read");
    assert_eq!(read, source);
    let thread = thread::spawn(|| Command::new("true").status().is_err());
    assert!(thread.join().expect("a thread"), "a thread is free");
}

fn answers() -> Vec<(&'static str, String)> {
    let answer = |attempt: fn() -> io::Result<()>| match attempt() {
        Ok(()) => "done".to_owned(),
        Err(error) => error.to_string(),
    };
    ATTEMPTS
        .map(|(what, attempt)| (what, answer(attempt)))
        .into()
}
