//! The preflight on machines that lack something: made by `setpriv`, `unshare` and a small file system, as root. Without
//! root a line says that they were not run.

use std::{
    env, fs,
    io::{self, Write},
    path::PathBuf,
    process::{self, Command},
    time::{Duration, Instant},
};

/// It promises 5 seconds, on a machine that is not overloaded; this is one that may be, and less than what never ends would take.
const LIMIT: Duration = Duration::from_secs(20);

const RECORDING: &str = "or see a recording, without tracing: cargo xtask run --demo --recorded";

/// What `xtask run --demo` says on a machine that is changed by `change`, a command that runs another.
fn lines(test: &str, change: &[&str], cache: Option<&PathBuf>) -> Option<Vec<String>> {
    let mut attempt = Command::new(change[0]);
    let works = attempt.args(&change[1..]).arg("true").output();
    if !works.is_ok_and(|output| output.status.success()) {
        // `eprintln!` is not shown for a test that passes.
        let why = change.join(" ");
        let line = format!("\nNOT RUN: {test}: `{why}` does not work here\n");
        io::stderr().write_all(line.as_bytes()).unwrap();
        return None;
    }
    let mut command = Command::new("timeout");
    command.arg("30").args(change);
    command.arg(env!("CARGO_BIN_EXE_xtask"));
    command.args(["run", "--demo"]);
    if let Some(cache) = cache {
        command.env("VAULT_TRACER_CACHE", cache.join("cache"));
        command.env("CARGO_HOME", cache.join("cargo"));
    }
    let started = Instant::now();
    let output = command.output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(started.elapsed() < LIMIT, "{:?}", started.elapsed());
    Some(said.lines().map(str::to_owned).collect())
}

fn with<'a>(lines: &'a [String], begin: &str) -> &'a str {
    let found = lines.iter().find(|line| line.starts_with(begin));
    found.unwrap_or_else(|| panic!("no line begins with {begin}: {lines:#?}"))
}

/// A directory that is removed again.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("vault-tracer-preflight-{name}-{}", process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[test]
fn a_container_without_privileges_is_told_at_once() {
    let setpriv = ["setpriv", "--bounding-set", "-sys_admin,-bpf,-perfmon"];
    let Some(said) = lines("a_container_without_privileges", &setpriv, None) else {
        return;
    };
    let bpf = with(&said, "error: bpf():");
    assert!(
        bpf.contains("CAP_BPF") && bpf.contains("--privileged"),
        "{bpf}"
    );
    with(&said, "error: network namespaces:");
    assert_eq!(said.last().unwrap(), RECORDING);
}

#[test]
fn root_of_a_container_s_own_users_is_told_at_once() {
    let unshare = ["unshare", "--user", "--map-root-user"];
    if let Some(said) = lines("root_of_a_container_s_own_users", &unshare, None) {
        assert!(with(&said, "error: bpf():").contains("a container's own users"));
    }
}

#[test]
fn without_a_network_the_sources_that_are_needed_are_named() {
    let empty = Directory::new("network");
    let unshare = ["unshare", "--net"];
    let Some(said) = lines("without_a_network", &unshare, Some(&empty.0)) else {
        return;
    };
    // One that has no answer yet, on a busy machine, is left out, but not both.
    let line = with(&said, "error: network: ");
    assert!(
        line.contains("crates.io") || line.contains("PyPI"),
        "{line}"
    );
    // The recording needs crates too.
    assert!(!said.contains(&RECORDING.to_owned()), "{said:#?}");
}

#[test]
fn without_room_the_room_is_named() {
    let disk = Directory::new("disk");
    let place = disk.0.display().to_string();
    let mount = "mount -t tmpfs -o size=8m none \"$0\" && exec \"$@\"";
    let words = ["unshare", "--mount", "sh", "-c", mount, &place];
    if let Some(said) = lines("without_room", &words, Some(&disk.0)) {
        let line = with(&said, "error: disk:");
        assert!(
            line.contains("MB are free") && line.contains(&place),
            "{line}"
        );
        // Nor is the network asked: cargo and pip would only say that the disk is full.
        let asked = said.iter().find(|line| line.contains("network"));
        assert_eq!(asked, None);
    }
}
