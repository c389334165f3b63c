//! The service and the manifest: their command lines are the agent's, and they give the privileges that it asks for.

use std::{collections::BTreeMap, fs};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::{Value, json};
use test_support::documentation::root;
use tracer::{
    cli::{Cli, Command, TraceArgs},
    probe::privilege::NEEDED,
};

use crate::yaml;

fn read(name: &str) -> Result<String> {
    let path = root().join("contrib").join(name);
    fs::read_to_string(&path).with_context(|| format!("no {}", path.display()))
}

fn trace(words: &[&str]) -> Result<TraceArgs> {
    match Cli::try_parse_from(words)?.command {
        Command::Trace(args) => Ok(*args),
        other => anyhow::bail!("{other:?}"),
    }
}

/// `Key=value` by key; sections are left out, since none of ours has a key of another.
fn unit() -> Result<BTreeMap<String, String>> {
    let text = read("systemd/vault-tracer.service")?;
    let lines = text.lines().filter(|line| !line.starts_with(['#', '[']));
    let pairs = lines.filter_map(|line| line.split_once('='));
    let mut keys = BTreeMap::new();
    for (key, value) in pairs {
        let before = keys.insert(key.to_owned(), value.to_owned());
        ensure!(before.is_none(), "{key} is there twice");
    }
    Ok(keys)
}

#[test]
fn the_service_runs_a_trace_with_the_options_of_its_file() -> Result<()> {
    let keys = unit()?;
    let defaults = read("systemd/vault-tracer.default")?;
    let options = defaults
        .lines()
        .find_map(|line| line.strip_prefix("OPTIONS=\"")?.strip_suffix('"'));
    let line = keys["ExecStart"].replace("$OPTIONS", options.context("no options")?);
    let words: Vec<_> = line.split(' ').collect();
    assert_eq!(words[0], "/usr/bin/vault-tracer");
    let args = trace(&words)?;
    let output = args.output.output.context("no output")?;
    let directory = format!("/var/log/{}", keys["LogsDirectory"]);
    assert!(output.starts_with(&directory), "{}", output.display());
    assert!(args.files.rotate_size.is_some() && args.server.process.is_some());
    assert_eq!(keys["Type"], "notify");
    assert_eq!(keys["ExecReload"], "/bin/sh -c 'kill -HUP $MAINPID'");
    Ok(())
}

#[test]
fn the_service_has_the_capabilities_that_tracing_needs_and_no_other() -> Result<()> {
    let keys = unit()?;
    let needed = NEEDED.map(|(name, _)| name).join(" ");
    assert_eq!(keys["AmbientCapabilities"], needed);
    assert_eq!(keys["CapabilityBoundingSet"], needed);
    assert_eq!(keys["NoNewPrivileges"], "yes");
    // A drop-in shows what that refuses.
    let logged = format!("SystemCallLog=~{}\n", keys["SystemCallFilter"]);
    assert!(read("../docs/service.md")?.contains(&logged));
    assert_eq!(keys["ProtectSystem"], "strict");
    let user = format!("u {} -", keys["User"]);
    assert!(read("systemd/vault-tracer.sysusers")?.contains(&user));
    Ok(())
}

#[test]
fn the_daemon_set_runs_a_trace_with_its_privileges_and_volumes() -> Result<()> {
    let manifest = yaml::parse(&read("kubernetes/daemonset.yaml")?)?;
    assert_eq!(manifest["apiVersion"], "apps/v1");
    assert_eq!(manifest["kind"], "DaemonSet");
    let template = &manifest["spec"]["template"];
    let selected = &manifest["spec"]["selector"]["matchLabels"];
    assert_eq!(*selected, template["metadata"]["labels"]);
    let pod = &template["spec"];
    assert_eq!(pod["hostPID"], true);
    let [container] = pod["containers"]
        .as_array()
        .context("no containers")?
        .as_slice()
    else {
        anyhow::bail!("several containers");
    };
    let words = |list: &Value| -> Result<Vec<String>> { Ok(serde_json::from_value(list.clone())?) };
    let line = [words(&container["command"])?, words(&container["args"])?].concat();
    let line: Vec<_> = line.iter().map(String::as_str).collect();
    let args = trace(&line)?;

    let needed = NEEDED.map(|(name, _)| name.trim_start_matches("CAP_"));
    let security = &container["securityContext"];
    assert_eq!(
        security["capabilities"],
        json!({"drop": ["ALL"], "add": needed})
    );
    assert_eq!(security["readOnlyRootFilesystem"], true);

    let metrics = args.metrics.context("no metrics")?;
    assert_eq!(container["ports"][0]["containerPort"], metrics.port());
    let output = args.output.output.context("no output")?;
    let mounts = container["volumeMounts"].as_array().context("no mounts")?;
    let holds_output = |mount: &&Value| {
        let path = mount["mountPath"].as_str();
        path.is_some_and(|path| output.starts_with(path)) && mount["readOnly"].is_null()
    };
    assert!(
        mounts.iter().any(|mount| holds_output(&mount)),
        "{mounts:?}"
    );
    let volumes = pod["volumes"].as_array().context("no volumes")?;
    for mount in mounts {
        let volume = volumes.iter().any(|volume| volume["name"] == mount["name"]);
        ensure!(volume, "no volume for {mount}");
    }
    Ok(())
}
