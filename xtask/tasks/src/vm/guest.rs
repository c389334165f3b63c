//! The files of a guest: its init, the agent, the live tests, OpenBao, the lab's programs, each with its libraries, and the
//! kernel modules that the lab needs.

use std::{
    collections::BTreeMap,
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context, Result};
use lab::guest::{PLAN, Plan};

use super::kernels::Kernel;
use crate::{
    build::{TESTED, executables},
    dist::GLIBC,
    libraries,
    machine::Machine,
    setup::{self, cargo},
    ui::Step,
};

const LIMIT: Duration = Duration::from_mins(1);

/// In the order of loading. A module that a kernel does not have is built in, or not needed.
const MODULES: [&str; 11] = [
    "nfnetlink",
    "libcrc32c",
    "nf_tables",
    "nft_counter",
    "nf_reject_ipv4",
    "nf_reject_ipv6",
    "nft_reject",
    "nft_reject_ipv4",
    "nft_reject_ipv6",
    "nft_reject_inet",
    "veth",
];

/// For look-ups of the lab's processes; there is no name server.
const FILES: [(&str, &str); 4] = [
    ("/etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    (
        "/etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files\n",
    ),
    ("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\n"),
    ("/etc/group", "root:x:0:\n"),
];

/// Passed on: the probes that the agent attaches where a test does not choose.
const PROBES: &str = "VAULT_TRACER_PROBES";

const PATH: &str = "/usr/sbin:/usr/bin";

/// The programs and libraries of every guest, by their paths in it.
pub struct GuestFiles(BTreeMap<String, PathBuf>);

impl GuestFiles {
    /// Finds them and their libraries. `tests`: executables that cargo built, `live` and `vm-init`.
    pub fn new(machine: Machine, agent: &Path, tests: &BTreeMap<String, PathBuf>) -> Result<Self> {
        let built = |name: &str| {
            let path = tests.get(name).cloned();
            path.with_context(|| format!("cargo built no {name}"))
        };
        let files = [
            ("/init".to_owned(), built("vm-init")?),
            ("/vm/vault-tracer".to_owned(), agent.to_owned()),
            ("/vm/bao".to_owned(), bao(machine)?),
            ("/vm/live".to_owned(), built("live")?),
            ("/usr/sbin/ip".to_owned(), lab_program("ip", machine)?),
            ("/usr/sbin/nft".to_owned(), lab_program("nft", machine)?),
        ];
        let programs: Vec<_> = files.iter().map(|(_, file)| file.as_path()).collect();
        let mut all = libraries::of(machine, &programs, &Step::new("vm", "libraries"))?;
        all.extend(files);
        Ok(Self(all))
    }

    /// Writes the initramfs of a guest with this kernel that runs `tests`. It is not compressed: unpacking under
    /// emulation takes longer than reading.
    pub fn pack(&self, kernel: &Kernel, tests: &[String], initramfs: &Path) -> Result<()> {
        let root = tempfile::tempdir().context("no temporary directory")?;
        for (path, file) in &self.0 {
            symlink(file, place(root.path(), path)?)?;
        }
        for (path, text) in FILES {
            fs::write(place(root.path(), path)?, text)?;
        }
        let modules = add_modules(kernel, root.path())?;
        let plan = serde_json::to_string(&plan(modules, tests))?;
        fs::write(place(root.path(), PLAN)?, plan)?;
        archive(root.path(), initramfs)
    }
}

/// Adds what the lab needs of a kernel; returns the paths in the guest, in the order of loading.
pub fn add_modules(kernel: &Kernel, root: &Path) -> Result<Vec<String>> {
    let modules = MODULES.iter().filter_map(|name| kernel.module(name));
    let added = modules.map(|module| {
        let name = module.file_name().unwrap_or_default().display();
        let path = format!("/vm/modules/{name}");
        symlink(module, place(root, &path)?)?;
        Ok(path)
    });
    added.collect()
}

/// Writes an initramfs of what is below `root`.
pub fn archive(root: &Path, initramfs: &Path) -> Result<()> {
    let mut cpio = Command::new("sh");
    cpio.args(["-c", PACK]).arg(initramfs).current_dir(root);
    let step = Step::new("vm", "guest");
    step.output("packing the initramfs", &mut cpio, LIMIT)
        .map(drop)
}

/// `$0` is the archive. Links are followed, and everything belongs to root.
const PACK: &str = "find . -print0 | cpio --null --create --format=newc --dereference --owner=0:0 --quiet > \"$0\"";

/// The path below `root` of a path in the guest, whose directory is created.
pub fn place(root: &Path, path: &str) -> Result<PathBuf> {
    let place = root.join(path.trim_start_matches('/'));
    fs::create_dir_all(place.parent().unwrap_or(root))?;
    Ok(place)
}

fn plan(modules: Vec<String>, tests: &[String]) -> Plan {
    let options = ["/vm/live", "--test-threads=1", "--show-output", "--exact"];
    let command = options.map(str::to_owned).into_iter();
    let mut environment = BTreeMap::from([
        ("PATH", PATH.to_owned()),
        ("HOME", "/root".to_owned()),
        ("VAULT_TRACER_AGENT", "/vm/vault-tracer".to_owned()),
        ("VAULT_TRACER_BAO", "/vm/bao".to_owned()),
    ]);
    environment.extend(env::var(PROBES).ok().map(|probes| (PROBES, probes)));
    Plan {
        modules,
        command: command.chain(tests.iter().cloned()).collect(),
        environment: environment
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
    }
}

/// The server: the one that a variable names, if it can run in the guest.
fn bao(machine: Machine) -> Result<PathBuf> {
    if machine.is_here() {
        return setup::OPENBAO.executable();
    }
    setup::OPENBAO.executable_for(machine)
}

/// One of the lab's programs: this host's, or Debian's.
fn lab_program(name: &str, machine: Machine) -> Result<PathBuf> {
    if machine.is_here() {
        let path = setup::find_program(name);
        return path.with_context(|| format!("no {name} in PATH"));
    }
    let root = setup::debian_root(machine)?;
    let mut places = ["bin", "sbin", "usr/bin", "usr/sbin"]
        .iter()
        .map(|directory| root.join(directory).join(name));
    let path = places.find(|path| path.is_file());
    path.with_context(|| format!("no {name} in {}", root.display()))
}

/// The live tests, and the first process of their guests.
pub const TESTS: [&str; 4] = ["--test", "live", "--example", "vm-init"];

/// Builds what runs in guests, by cargo's options that select it: the executables by name.
pub fn build(machine: Machine, selection: &[&str]) -> Result<BTreeMap<String, PathBuf>> {
    let mut build = if machine.is_here() {
        let mut build = cargo();
        build.arg("build");
        build
    } else {
        setup::zigbuild(machine, GLIBC, &setup::compiler_for(machine)?)?
    };
    build.arg("--locked").args(TESTED).args(selection);
    build.arg("--message-format=json-render-diagnostics");
    let messages = Step::new("vm", "guest").output(
        "compiling what runs there",
        &mut build,
        Duration::from_mins(30),
    )?;
    Ok(executables(&messages))
}
