//! What the agent's ways of probing hang on here, by what it says itself.

use std::{collections::BTreeMap, path::Path};

use anyhow::Result;
use lab::wait;
use serde_json::Value;

use super::{
    observer::Observer,
    variants::{How, Variant},
};

/// Each way's hooks, as KIND:HOOK, or why it cannot be had.
pub struct Ways(BTreeMap<&'static str, Result<Vec<String>, String>>);

impl Ways {
    /// Attaches the agent once by each way that one of the variants takes.
    pub fn find(agent: &Path, pid: u32, variants: &[Variant]) -> Result<Self> {
        let mut found = BTreeMap::new();
        for way in variants.iter().filter_map(way) {
            if !found.contains_key(way) {
                found.insert(way, hooks(agent, way, pid));
                wait::check_interrupt()?;
            }
        }
        Ok(Self(found))
    }

    /// Why a variant cannot run, if its way cannot be had.
    pub fn obstacle(&self, variant: &Variant) -> Option<&str> {
        self.0[way(variant)?].as_ref().err().map(String::as_str)
    }

    /// What a way hangs on; nothing where it cannot be had.
    pub fn hooks(&self, way: &str) -> &[String] {
        self.0[way].as_deref().unwrap_or_default()
    }
}

fn way(variant: &Variant) -> Option<&'static str> {
    match variant.how {
        How::Agent { probes, .. } | How::Empty { probes } => Some(probes),
        How::Nothing | How::Peer(_) => None,
    }
}

fn hooks(agent: &Path, way: &str, pid: u32) -> Result<Vec<String>, String> {
    let attached = Observer::agent(agent, way, false, pid).map_err(|error| format!("{error:#}"))?;
    let trace = attached.trace();
    let probes = trace
        .first()
        .and_then(|session| session["probes"].as_array());
    let hook = |probe: &Value| {
        let (kind, hook) = (probe["kind"].as_str()?, probe["hook"].as_str()?);
        Some(format!("{kind}:{hook}"))
    };
    let hooks: Option<Vec<_>> = probes.and_then(|probes| probes.iter().map(hook).collect());
    hooks.ok_or_else(|| "the agent's trace does not say what it is attached to".to_owned())
}
