//! Foreign OTLP servers: gRPC's own Python, and the collector Rotel. `cargo xtask test` installs both; where they are
//! missing, a line says so.

use std::{
    env,
    io::{self, BufRead, BufReader, Write},
    iter,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use test_support::replays;

use crate::{
    agent::{Agent, LIMIT, command, expected, spans, wait_until},
    fake::{BOTH, Fake, Speaks},
};

/// The variable with the path of the collector, set by `cargo xtask test`.
const ROTEL: &str = "VAULT_TRACER_ROTEL";

/// Exit code of `serve_otlp.py` without its packages.
const NO_PACKAGE: i32 = 77;

fn not_run(test: &str, why: &str) -> Result<()> {
    // `eprintln!` is not shown for a test that passes.
    Ok(writeln!(io::stderr(), "\nNOT RUN: {test} {why}\n")?)
}

fn python() -> Command {
    let mut python = Command::new("python3");
    python.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/serve_otlp.py"));
    python
}

/// A server in Python.
struct Python {
    child: Child,
    /// Read continuously: a server that cannot print does not answer.
    lines: Receiver<String>,
    input: Option<ChildStdin>,
    ports: Value,
}

impl Python {
    /// `None` without Python or its packages.
    fn start() -> Result<Option<Self>> {
        let child = python()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = match child {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            child => child?,
        };
        let mut lines = BufReader::new(child.stdout.take().context("not piped")?);
        let input = child.stdin.take();
        let mut ports = String::new();
        if lines.read_line(&mut ports)? == 0 {
            let code = child.wait()?.code();
            ensure!(
                code == Some(NO_PACKAGE),
                "the server in Python ended: {code:?}"
            );
            return Ok(None);
        }
        let ports = serde_json::from_str(&ports)?;
        let (read, got) = mpsc::channel();
        thread::spawn(move || {
            let mut lines = lines.lines().map_while(Result::ok);
            lines.try_for_each(|line| read.send(line))
        });
        let lines = got;
        Ok(Some(Self {
            child,
            lines,
            input,
            ports,
        }))
    }

    fn url(&self, speaks: Speaks) -> String {
        format!("http://127.0.0.1:{}", self.ports[speaks.name()])
    }

    fn next(&self, count: usize) -> Result<Vec<String>> {
        let next = || Ok(self.lines.recv_timeout(LIMIT)?);
        iter::repeat_with(next).take(count).collect()
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        self.input.take();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The trace file of a recording, as Python reads it.
fn read_by_python(case: &str) -> Result<Vec<String>> {
    let mut agent = Command::new(env!("CARGO_BIN_EXE_vault-tracer"));
    agent.arg("replay").arg(replays::recording(case));
    agent.args(["--quiet", "--format", "otlp", "--output", "-"]);
    let mut agent = agent.stdout(Stdio::piped()).spawn()?;
    let file = agent.stdout.take().context("not piped")?;
    let read = python().arg("read").stdin(file).output()?;
    ensure!(agent.wait()?.success(), "no trace of {case}");
    ensure!(
        read.status.success(),
        "{}",
        String::from_utf8_lossy(&read.stderr)
    );
    let lines = String::from_utf8(read.stdout)?;
    Ok(lines.lines().map(str::to_owned).collect())
}

#[test]
fn grpcs_own_python_gets_the_spans_of_the_file() -> Result<()> {
    let Some(server) = Python::start()? else {
        return not_run(
            "grpcs_own_python_gets_the_spans_of_the_file",
            "needs python3 with grpcio and opentelemetry-proto (pip install grpcio opentelemetry-proto)",
        );
    };
    for case in replays::names()? {
        let expected = read_by_python(&case)?;
        ensure!(!expected.is_empty(), "no spans of {case}");
        for speaks in BOTH {
            let mut agent = command(&case, &server.url(speaks));
            let ended = Agent::start(agent.args(["--otlp-protocol", speaks.name()]))?.ended()?;
            assert_eq!((ended.code, &*ended.said), (Some(0), ""), "{case}");
            let got = server.next(expected.len())?;
            assert!(got == expected, "{case} by {speaks:?}");
        }
    }
    Ok(())
}

/// The running collector.
struct Rotel {
    child: Child,
    grpc: SocketAddr,
    http: SocketAddr,
}

impl Rotel {
    /// Forwards to another collector. Its ports may be taken by others between the choice and the start.
    fn start(program: &Path, to: &Fake) -> Result<Self> {
        for _ in 0..10 {
            if let Some(rotel) = Self::try_to_start(program, to)? {
                return Ok(rotel);
            }
        }
        bail!("Rotel ends at once")
    }

    /// `None` if it ends at once.
    fn try_to_start(program: &Path, to: &Fake) -> Result<Option<Self>> {
        let free = || TcpListener::bind("127.0.0.1:0")?.local_addr();
        let (grpc, http) = (free()?, free()?);
        let child = Command::new(program)
            .arg("start")
            .args(["--otlp-grpc-endpoint", &grpc.to_string()])
            .args(["--otlp-http-endpoint", &http.to_string()])
            .args(["--exporter", "otlp", "--otlp-exporter-protocol", "http"])
            .args(["--otlp-exporter-endpoint", &to.url()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let mut rotel = Self { child, grpc, http };
        let listens = |address| TcpStream::connect(address).is_ok();
        let mut ended = false;
        wait_until("Rotel listens", || {
            ended = rotel.child.try_wait().is_ok_and(|status| status.is_some());
            ended || (listens(grpc) && listens(http))
        })?;
        Ok((!ended).then_some(rotel))
    }

    fn url(&self, speaks: Speaks) -> String {
        match speaks {
            Speaks::Grpc => format!("http://{}", self.grpc),
            Speaks::Http => format!("http://{}", self.http),
        }
    }
}

impl Drop for Rotel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_real_collector_forwards_the_spans_of_the_file() -> Result<()> {
    let Some(program) = env::var_os(ROTEL).map(PathBuf::from) else {
        return not_run(
            "a_real_collector_forwards_the_spans_of_the_file",
            &format!(
                "needs the collector Rotel: {ROTEL}=/path/to/rotel-agent (cargo xtask test gets it)"
            ),
        );
    };
    for speaks in BOTH {
        let end = Fake::new(Speaks::Http, &[])?;
        let rotel = Rotel::start(&program, &end)?;
        let mut all = Vec::new();
        for case in ["convoy", "lost-entries", "no-listener", "zero-window"] {
            let mut agent = command(case, &rotel.url(speaks));
            let ended = Agent::start(agent.args(["--otlp-protocol", speaks.name()]))?.ended()?;
            assert_eq!((ended.code, &*ended.said), (Some(0), ""), "{case}");
            all.extend(expected(case)?);
            wait_until("Rotel has forwarded", || {
                spans(end.taken()).len() >= all.len()
            })?;
        }
        assert!(spans(end.taken()) == all, "{speaks:?}");
    }
    Ok(())
}
