//! `cargo xtask lab`: the reproduction step by step, by hand. The lab's processes are detached and found
//! again through a state file.

use std::{
    fs::{self, DirBuilder, File},
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use lab::{
    Client, Endpoint, Family, Fault, Namespace, Network, fault, log_server,
    process::Identity,
    scenario::{self, BIG_REQUEST, PORT},
    server, sockets, wait,
};
use serde::{Deserialize, Serialize};

const DIRECTORY: &str = "/run/vault-tracer-lab";
const NAME: &str = "vt-lab";
const FAMILY: Family = Family::V4;
const LISTEN_LIMIT: Duration = Duration::from_secs(10);

/// The steps. Those between `up` and `down` can be repeated in any order.
#[derive(Clone, Copy, Subcommand)]
pub enum LabCommand {
    /// Start OpenBao with a file and a socket audit device, and a log server on another host
    Up,
    /// Drop what the Vault host sends to the log server (the firewall's OUTPUT, tcp/1515)
    Drop,
    /// Send requests until the audit socket's send buffer is full and one hangs
    Fill,
    /// Remove the firewall rule
    Flush,
    /// What is up, whether the rule is on, and what the audit socket has not got rid of
    Status,
    /// Stop everything; does nothing when nothing is up
    Down,
    /// The log server itself
    #[command(hide = true)]
    LogServer {
        /// Where it listens
        #[arg(long)]
        listen: SocketAddr,
    },
}

/// Runs a step. `bao` gives the OpenBao program, for the one step that needs it.
pub fn run(command: LabCommand, bao: &dyn Fn() -> Result<PathBuf>) -> Result<()> {
    if let LabCommand::LogServer { listen } = command {
        return log_server::serve(Endpoint::Tcp(listen));
    }
    wait::catch_interrupts()?;
    match command {
        LabCommand::Up => up(&bao()?),
        LabCommand::Drop => drop_packets(),
        LabCommand::Fill => fill(),
        LabCommand::Flush => flush(),
        LabCommand::Status => status(),
        LabCommand::Down | LabCommand::LogServer { .. } => down(),
    }
}

/// What was started, as far as it got.
#[derive(Default, Serialize, Deserialize)]
struct State {
    log_address: Option<SocketAddr>,
    log_server: Option<Identity>,
    server: Option<Identity>,
}

impl State {
    fn path() -> PathBuf {
        Path::new(DIRECTORY).join("state.json")
    }

    /// Nothing if the lab is not up.
    fn load() -> Result<Option<Self>> {
        let path = Self::path();
        if !path.exists() {
            return Ok(None);
        }
        let read = || anyhow::Ok(serde_json::from_str(&fs::read_to_string(&path)?)?);
        let state = read();
        state
            .map(Some)
            .with_context(|| format!("cannot read the lab's state in {}", path.display()))
    }

    /// Whole or not at all: a crash must not leave half a state behind.
    fn save(&self) -> Result<()> {
        let draft = Path::new(DIRECTORY).join("state.json.new");
        fs::write(&draft, serde_json::to_string_pretty(self)?)
            .and_then(|()| fs::rename(&draft, Self::path()))
            .with_context(|| format!("cannot save the lab's state in {DIRECTORY}"))
    }
}

/// A lab that is up.
struct Up {
    server: Identity,
    log_server: Identity,
    log_address: SocketAddr,
    vault: Namespace,
}

impl Up {
    fn find() -> Result<Self> {
        let state =
            State::load()?.context("the lab is not up: start it with `cargo xtask lab up`")?;
        let (Some(server), Some(log_server), Some(log_address)) =
            (state.server, state.log_server, state.log_address)
        else {
            bail!("the lab did not come up completely: clear it away with `cargo xtask lab down`");
        };
        Ok(Self {
            server,
            log_server,
            log_address,
            vault: Namespace::open(&namespaces()[0])?,
        })
    }

    fn client(&self) -> Client {
        Client::new(
            &self.vault,
            SocketAddr::new(FAMILY.loopback(), server::PORT),
            server::TOKEN,
        )
    }
}

fn namespaces() -> [String; 2] {
    [format!("{NAME}-vault"), format!("{NAME}-log0")]
}

fn up(bao: &Path) -> Result<()> {
    if State::path().exists() || Namespace::open(&namespaces()[0]).is_ok() {
        bail!(
            "the lab, or what is left of one, is up already: see `cargo xtask lab status`, or take it down with `cargo xtask lab down`"
        );
    }
    // What is left of a failure, or of Ctrl-C, would be in the way next time.
    let state = start(bao).or_else(|error| down().and(Err(error)))?;
    explain(&state, bao);
    Ok(())
}

fn start(bao: &Path) -> Result<State> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(DIRECTORY)
        .with_context(|| format!("cannot create {DIRECTORY}: the lab needs root"))?;
    let network = Network::create_named(NAME, 1)?;
    let log_address = network.logs[0].port(FAMILY, PORT);
    let mut state = State {
        log_address: Some(log_address),
        ..State::default()
    };
    state.log_server = Some(start_log_server(&network.logs[0].namespace, log_address)?);
    state.save()?;
    let server =
        scenario::classic(bao, log_address).start_detached(&network.vault, Path::new(DIRECTORY))?;
    state.server = Some(server);
    state.save()?;
    network.keep();
    Ok(state)
}

/// This program again, in the log host.
fn start_log_server(host: &Namespace, listen: SocketAddr) -> Result<Identity> {
    let log = File::create(Path::new(DIRECTORY).join("log-server.log"))?;
    let mut command =
        host.command(std::env::current_exe().context("cannot find the running xtask")?);
    command.args(["lab", "log-server", "--listen", &listen.to_string()]);
    command
        .stdin(std::process::Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log);
    let process = Identity::spawn_detached("the log server", &mut command)?;
    let listening = wait::until("the log server to listen", LISTEN_LIMIT, || {
        let sockets = sockets::tcp(process.pid)?;
        Ok(sockets
            .iter()
            .any(|socket| socket.local == listen)
            .then_some(process))
    });
    // Nobody would know of it: it is not in the state yet.
    listening.or_else(|error| process.stop().and(Err(error)))
}

fn explain(state: &State, bao: &Path) {
    let (pid, log) = (
        state.server.map_or(0, |server| server.pid),
        state.log_address.map(|log| log.to_string()),
    );
    let (log, [vault, _]) = (log.unwrap_or_default(), namespaces());
    let address = SocketAddr::new(FAMILY.loopback(), server::PORT);
    let token = server::TOKEN;
    println!(
        "lab: OpenBao runs as pid {pid} in the network namespace {vault}, its files are in {DIRECTORY}
lab: it writes its audit log to the file {DIRECTORY}/audit.log and to the socket tcp {log}
lab: inside the namespace VAULT_ADDR is http://{address} and VAULT_TOKEN is {token}

Trace it, in another terminal:
    cargo xtask run -- --pid {pid} --output trace.jsonl

Send a request, as root:
    time ip netns exec {vault} env VAULT_ADDR=http://{address} VAULT_TOKEN={token} {bao} secrets list

Break it and mend it:
    cargo xtask lab drop     the firewall drops tcp/{PORT}; requests are still fast
    cargo xtask lab fill     requests until the send buffer is full; from then on each hangs for 8 s
    cargo xtask lab flush    the rule is gone; requests are fast again
    cargo xtask lab down     stop everything",
        bao = bao.display()
    );
}

fn drop_packets() -> Result<()> {
    let lab = Up::find()?;
    if fault::rules(&lab.vault)?.is_some() {
        println!("lab: the rule is on already");
        return Ok(());
    }
    Fault::drop_output(PORT).apply(&lab.vault)?.keep();
    println!(
        "lab: the Vault host now drops what it sends to tcp/{PORT}; undo it with `cargo xtask lab flush`"
    );
    Ok(())
}

fn fill() -> Result<()> {
    let lab = Up::find()?;
    println!("lab: GET {BIG_REQUEST} until one takes longer than 1 s");
    let requests = scenario::fill(&lab.client())
        .context("the send buffer was not filled (first `cargo xtask lab drop`)")?;
    if let Some(last) = requests.last() {
        let seconds = last.duration.as_secs_f64();
        println!(
            "lab: request {} took {seconds:.2} s, from client port {}",
            requests.len(),
            last.local_port
        );
    }
    Ok(())
}

fn flush() -> Result<()> {
    fault::flush(&Up::find()?.vault)?;
    println!("lab: no rule is on");
    Ok(())
}

fn status() -> Result<()> {
    if State::load()?.is_none() {
        println!("lab: not up; `cargo xtask lab up` starts it");
        return Ok(());
    }
    let lab = Up::find()?;
    println!("OpenBao       {}", liveness(lab.server));
    println!("log server    {}", liveness(lab.log_server));
    let rule = if fault::rules(&lab.vault)?.is_some() {
        "on"
    } else {
        "off"
    };
    println!("drop rule     {rule}");
    if !lab.server.alive() {
        return Ok(()); // its sockets are gone with it
    }
    for socket in sockets::tcp_to(lab.server.pid, lab.log_address)? {
        let (state, queue) = (format!("{:?}", socket.state), socket.send_queue);
        println!(
            "audit socket  {} -> {}  {state}, {queue} bytes not acknowledged",
            socket.local, socket.remote
        );
    }
    Ok(())
}

fn liveness(process: Identity) -> String {
    let state = if process.alive() { "alive" } else { "gone" };
    format!("{state}, pid {}", process.pid)
}

fn down() -> Result<()> {
    let state = State::load()?.unwrap_or_default();
    for process in [state.server, state.log_server].into_iter().flatten() {
        process.stop()?;
    }
    for name in namespaces() {
        if let Ok(namespace) = Namespace::open(&name) {
            namespace.delete_on_drop();
        }
    }
    match fs::remove_dir_all(DIRECTORY) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {DIRECTORY}"))
        }
        _ => {
            println!("lab: nothing is up");
            Ok(())
        }
    }
}
