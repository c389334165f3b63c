//! The service as systemd has it.

use std::{fs, net::SocketAddr, path::Path};

use anyhow::{Context, Result, ensure};
use lab::{Lab, prometheus, tracer, wait};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use serde_json::Value;

use crate::{LIMIT, output};

const UNIT: &str = "vault-tracer.service";
/// Of its files.
const DIRECTORY: &str = "/var/log/vault-tracer";
const TRACE: &str = "/var/log/vault-tracer/trace.jsonl";
const METRICS: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9464);

/// `CAP_BPF`, `CAP_PERFMON`, `CAP_SYS_PTRACE`, `CAP_DAC_READ_SEARCH`, by their numbers.
const CAPABILITIES: [u8; 4] = [39, 38, 19, 2];

/// A minute is long to wait for. And the kernel logs which system calls the unit's filter would refuse.
const SHORT_WATCHDOG: &str =
    "[Service]\nWatchdogSec=15s\nSystemCallFilter=\nSystemCallLog=~@FILTER@\n";
const FILTER: &str = "SystemCallFilter=";
const INSTALLED: &str = "/usr/lib/systemd/system/vault-tracer.service";
const DROP_IN: &str = "/run/systemd/system/vault-tracer.service.d";

pub(crate) fn control(verb: &str) -> Result<()> {
    output(&["systemctl", verb, UNIT])
        .map(drop)
        .with_context(|| {
            let journal = output(&["journalctl", "--no-pager", "--unit", UNIT]);
            journal.unwrap_or_else(|error| error.to_string())
        })
}

/// A property, by its name.
pub(crate) fn get(name: &str) -> Result<String> {
    let property = format!("--property={name}");
    let value = output(&["systemctl", "show", "--value", &property, UNIT])?;
    Ok(value.trim().to_owned())
}

fn pid() -> Result<i32> {
    Ok(get("MainPID")?.parse()?)
}

/// The unit has nothing that this systemd does not know.
pub(crate) fn verify() -> Result<()> {
    let complaints = output(&["systemd-analyze", "--man=no", "verify", UNIT])?;
    let of_ours = complaints
        .lines()
        .filter(|line| line.contains("vault-tracer"));
    let of_ours: Vec<_> = of_ours.collect();
    ensure!(of_ours.is_empty(), "{of_ours:?}");
    Ok(())
}

/// How exposed it is, in systemd's words.
pub(crate) fn exposure() -> Result<String> {
    let table = output(&["systemd-analyze", "security", "--no-pager", UNIT])?;
    let last = table.lines().rfind(|line| !line.trim().is_empty());
    Ok(last.context("no result")?.trim().to_owned())
}

/// No root, and no capability but those of the unit.
pub(crate) fn check_privileges() -> Result<()> {
    let status = fs::read_to_string(format!("/proc/{}/status", pid()?))?;
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim).with_context(|| format!("no {name}"))
    };
    let user = value("Uid:")?;
    ensure!(!user.starts_with("0\t"), "it runs as root: {user}");
    let bounding = u64::from_str_radix(value("CapBnd:")?, 16)?;
    let allowed = CAPABILITIES.iter().fold(0, |set, number| set | 1 << number);
    ensure!(
        bounding == allowed,
        "capabilities {bounding:x}, not {allowed:x}"
    );
    Ok(())
}

/// Waits until the hang is in the journal, the trace and the metrics; returns what the journal says.
pub(crate) fn wait_for_hang(lab: &Lab) -> Result<String> {
    let device = lab.log_address().to_string();
    wait::until("the hang in the trace", LIMIT, || {
        let hangs = records("hang")?;
        let hang = hangs
            .into_iter()
            .find(|hang| hang["device"]["address"] == *device);
        Ok(hang.filter(|hang| hang["request"]["path"] == "sys/mounts"))
    })?;
    wait::until("the hang in the metrics", LIMIT, || {
        let text = prometheus::get(METRICS, "/metrics", &[])?;
        let counts = text
            .lines()
            .any(|line| line.starts_with("vault_tracer_hangs_total{"));
        Ok(counts.then_some(()))
    })?;
    let recording = fs::read_dir(DIRECTORY)?.flatten().any(|file| {
        let name = file.file_name();
        name.to_string_lossy().starts_with("hang-")
    });
    ensure!(recording, "no recording by the flight recorder");
    let invocation = format!("_SYSTEMD_INVOCATION_ID={}", get("InvocationID")?);
    wait::until("the hang in the journal", LIMIT, || {
        let text = output(&["journalctl", "--no-pager", "--output=cat", &invocation])?;
        let is_there = text.contains(&device) && text.contains("BLOCKED");
        Ok(is_there.then_some(text))
    })
}

/// Records of a type in the trace file.
pub(crate) fn records(kind: &str) -> Result<Vec<Value>> {
    let all = tracer::records(&fs::read_to_string(TRACE)?)?;
    Ok(all
        .into_iter()
        .filter(|record| record["type"] == kind)
        .collect())
}

/// As logrotate does it.
pub(crate) fn rotate() -> Result<()> {
    fs::rename(TRACE, format!("{TRACE}.1"))?;
    control("reload")?;
    wait::until("the new file", LIMIT, || {
        let exists = Path::new(TRACE).exists();
        Ok((exists && !records("session")?.is_empty()).then_some(()))
    })
}

/// Stops the process, as a bug could, until the watchdog has it replaced.
pub(crate) fn freeze() -> Result<()> {
    fs::create_dir_all(DROP_IN)?;
    let unit = fs::read_to_string(INSTALLED)?;
    let filter = unit.lines().find_map(|line| line.strip_prefix(FILTER));
    let drop_in = SHORT_WATCHDOG.replace("@FILTER@", filter.context("no filter")?);
    fs::write(Path::new(DROP_IN).join("watchdog.conf"), drop_in)?;
    output(&["systemctl", "daemon-reload"])?;
    let pid = pid()?;
    kill(Pid::from_raw(pid), Signal::SIGSTOP)?;
    wait_until_active(&pid.to_string())?;
    ensure!(
        get("NRestarts")? == "1",
        "restarted {} times",
        get("NRestarts")?
    );
    let log = output(&["dmesg"])?;
    let refused = log.lines().find(|line| is_logged_call(line));
    ensure!(refused.is_none(), "the unit's filter refuses: {refused:?}");
    fs::remove_dir_all(DROP_IN)?;
    output(&["systemctl", "daemon-reload"]).map(drop)
}

/// `AUDIT_SECCOMP` of `linux/audit.h`.
fn is_logged_call(line: &str) -> bool {
    line.contains("type=1326") && line.contains("comm=\"vault-tracer\"")
}

/// Waits until another process than `old` is ready.
pub(crate) fn wait_until_active(old: &str) -> Result<()> {
    wait::until("the service to be restarted", LIMIT, || {
        let (state, pid) = (get("ActiveState")?, get("MainPID")?);
        Ok((state == "active" && pid != old && pid != "0").then_some(()))
    })
}
