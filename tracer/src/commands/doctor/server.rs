//! The server's build, as far as a trace depends on it.

use std::io;

use anyhow::Result;
use serde::Serialize;

use crate::server::{
    Target,
    find::{self, Selector},
    go::LayoutSource,
    goroutines::{GoroutineReader, ProcessMemory},
};

/// Result of the search for a server.
#[derive(Debug)]
pub(super) enum Found {
    ServerCheck(Box<ServerCheck>),
    /// None, for this reason.
    Not(String),
}

/// A server that was found.
#[derive(Debug, Serialize)]
pub(super) struct ServerCheck {
    pub(super) pid: i32,
    pub(super) exe: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) go_version: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) module: Option<String>,
    /// Source of the offset of goroutine IDs; absent if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) goroutine_ids: Option<&'static str>,
    /// Whether the stacks of its goroutines can be read.
    pub(super) stacks: bool,
    /// Problems.
    pub(super) warnings: Vec<String>,
}

/// Finds the server.
pub(super) fn find(selector: &Selector) -> Found {
    match inspect(selector) {
        Ok(server) => Found::ServerCheck(Box::new(server)),
        Err(error) => Found::Not(format!("{error:#}")),
    }
}

fn inspect(selector: &Selector) -> Result<ServerCheck> {
    let (target, reader) = Target::inspect(&find::find(selector)?)?;
    let stacks = read_stacks(target.pid, reader);
    let mut warnings = target.go.warnings;
    warnings.extend(stacks.as_ref().err().map(|error| {
        format!("requests that queue behind a stalled one, or wait for a name, cannot be told: {error:#}")
    }));
    Ok(ServerCheck {
        pid: target.pid,
        exe: target.exe.display().to_string(),
        go_version: target.go.version,
        module: target.go.module,
        goroutine_ids: target.go.layout_source.map(|source| match source {
            LayoutSource::Dwarf => "its debugging information",
            LayoutSource::Table => "a table of Go's versions",
        }),
        stacks: stacks.is_ok(),
        warnings,
    })
}

/// Samples all goroutines once, as a trace does during a hang.
fn read_stacks(pid: i32, reader: Result<GoroutineReader>) -> Result<()> {
    let reader = reader?;
    let memory = ProcessMemory::open(pid)?;
    reader.sample(&memory).map(drop).map_err(|error| {
        if error.kind() == io::ErrorKind::PermissionDenied {
            anyhow::anyhow!("this process may not read its memory ({error})")
        } else {
            error.into()
        }
    })
}
