//! `cargo xtask lab`: the reproduction step by step, by hand. The processes are detached and found again through a state
//! file.

use std::{
    fs::{self, DirBuilder, File},
    net::SocketAddr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result, ensure};
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
    /// Show what is up, whether the rule is on, and the unacknowledged bytes of the audit socket
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

/// The lab that was started, as far as it got.
#[derive(Serialize, Deserialize)]
struct LabState {
    log_address: SocketAddr,
    log_server: Identity,
    server: Option<Identity>,
}

impl LabState {
    fn path() -> PathBuf {
        Path::new(DIRECTORY).join("state.json")
    }

    fn load() -> Result<Option<Self>> {
        let path = Self::path();
        if !path.exists() {
            return Ok(None);
        }
        let read = || anyhow::Ok(serde_json::from_str(&fs::read_to_string(&path)?)?);
        read().with_context(|| format!("cannot read the lab's state in {}", path.display()))
    }

    /// Atomic, so that a crash cannot leave half a state behind.
    fn save(&self) -> Result<()> {
        let draft = Path::new(DIRECTORY).join("state.json.new");
        fs::write(&draft, serde_json::to_string_pretty(self)?)
            .and_then(|()| fs::rename(&draft, Self::path()))
            .with_context(|| format!("cannot save the lab's state in {DIRECTORY}"))
    }
}

/// The network namespace of the Vault host of a lab that is up.
fn vault_host() -> Result<Namespace> {
    ensure!(
        LabState::path().exists(),
        "the lab is not up: start it with `cargo xtask lab up`"
    );
    Namespace::open(&namespaces()[0])
}

fn namespaces() -> [String; 2] {
    [format!("{NAME}-vault"), format!("{NAME}-log0")]
}

fn up(bao: &Path) -> Result<()> {
    ensure!(
        !LabState::path().exists() && Namespace::open(&namespaces()[0]).is_err(),
        "a lab, or a part of one, is up already: see `cargo xtask lab status`, or take it down with `cargo xtask lab down`"
    );
    // A partial lab, also after Ctrl-C, would prevent the next `up`.
    start(bao).or_else(|error| down().and(Err(error)))
}

fn start(bao: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(DIRECTORY)
        .with_context(|| format!("cannot create {DIRECTORY}: the lab needs root"))?;
    let network = Network::create_named(NAME, 1)?;
    let log_address = network.logs[0].port(FAMILY, PORT);
    let mut state = LabState {
        log_address,
        log_server: start_log_server(&network.logs[0].namespace, log_address)?,
        server: None,
    };
    state.save()?;
    let server =
        scenario::classic(bao, log_address).start_detached(&network.vault, Path::new(DIRECTORY))?;
    state.server = Some(server);
    state.save()?;
    network.keep();
    explain(server.pid, log_address, bao);
    Ok(())
}

/// Runs this program in the log host.
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
    // The state, by which `down` would find it, is not saved yet.
    listening.or_else(|error| process.stop().and(Err(error)))
}

fn explain(pid: u32, log: SocketAddr, bao: &Path) {
    let [vault, _] = namespaces();
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
    let vault = vault_host()?;
    if fault::rules(&vault)?.is_some() {
        println!("lab: the rule is on already");
        return Ok(());
    }
    Fault::drop_output(PORT).apply(&vault)?.keep();
    println!(
        "lab: the Vault host now drops what it sends to tcp/{PORT}; undo it with `cargo xtask lab flush`"
    );
    Ok(())
}

fn fill() -> Result<()> {
    let address = SocketAddr::new(FAMILY.loopback(), server::PORT);
    let client = Client::new(&vault_host()?, address, server::TOKEN);
    println!("lab: GET {BIG_REQUEST} until one takes longer than 1 s");
    let requests = scenario::fill(&client)
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
    fault::flush(&vault_host()?)?;
    println!("lab: no rule is on");
    Ok(())
}

fn status() -> Result<()> {
    let Some(state) = LabState::load()? else {
        println!("lab: not up; `cargo xtask lab up` starts it");
        return Ok(());
    };
    let server = state
        .server
        .context("the lab did not come up completely: clear it away with `cargo xtask lab down`")?;
    let rule = fault::rules(&vault_host()?)?.map_or("off", |_| "on");
    println!("OpenBao       {}", liveness(server));
    println!("log server    {}", liveness(state.log_server));
    println!("drop rule     {rule}");
    if !server.alive() {
        return Ok(()); // its sockets are gone with it
    }
    for socket in sockets::tcp_to(server.pid, state.log_address)? {
        let (tcp_state, queue) = (format!("{:?}", socket.state), socket.send_queue);
        println!(
            "audit socket  {} -> {}  {tcp_state}, {queue} bytes not acknowledged",
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
    if let Some(state) = LabState::load()? {
        for process in [state.server, Some(state.log_server)].into_iter().flatten() {
            process.stop()?;
        }
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
