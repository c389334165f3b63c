//! The server's build, as far as a trace depends on it.

use std::io;

use anyhow::Result;
use serde::Serialize;

use crate::server::{
    Target,
    find::{self, Selector},
    generation::{self, GenerationFacts, Product, Version},
    go::{GoFacts, LayoutSource},
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
    /// `Vault` or `OpenBao`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) product: Option<String>,
    /// `2.1.0-beta1`; absent if it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) version: Option<String>,
    /// How it audits; absent if unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) generation: Option<GenerationFacts>,
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
    let memory = ProcessMemory::open(target.pid);
    let seen = Seen::of(&target.go, reader.as_ref().ok(), memory.as_ref().ok());
    let doubts = reader.as_ref().ok().and_then(GoroutineReader::doubts);
    let stacks = read_stacks(memory, reader);
    let mut warnings = target.go.warnings;
    warnings.extend(stacks.as_ref().err().map(|error| {
        format!("requests that queue for a device, and waits for a name look-up, are not seen: {error:#}")
    }));
    warnings.extend(doubts);
    warnings.extend(seen.untried());
    Ok(ServerCheck {
        pid: target.pid,
        exe: target.exe.display().to_string(),
        go_version: target.go.version,
        module: target.go.module,
        product: seen.product.map(|product| product.to_string()),
        version: seen.version,
        generation: seen.generation,
        goroutine_ids: target.go.layout_source.map(|source| match source {
            LayoutSource::Dwarf => "its debugging information",
            LayoutSource::Table => "a table of Go's versions",
        }),
        stacks: stacks.is_ok(),
        warnings,
    })
}

/// What the server is.
struct Seen {
    product: Option<Product>,
    /// As the server writes it.
    version: Option<String>,
    generation: Option<GenerationFacts>,
}

impl Seen {
    /// From its build information, its functions and its memory; it is not run.
    fn of(go: &GoFacts, reader: Option<&GoroutineReader>, memory: Option<&ProcessMemory>) -> Self {
        let product = go.module.as_deref().and_then(Product::of_module);
        let own = reader
            .zip(memory)
            .and_then(|(reader, memory)| reader.version(memory));
        let of_module = go.module_version.as_deref();
        let of_module = of_module.filter(|version| version.parse::<Version>().is_ok());
        let of_module = of_module.map(|version| version.trim_start_matches('v').to_owned());
        let version = own.or(of_module).filter(|_| product.is_some());
        let marks = reader
            .map(GoroutineReader::marks)
            .cloned()
            .unwrap_or_default();
        let number = version.as_deref().and_then(|version| version.parse().ok());
        let generation = generation::decide(product, number, &marks);
        Self {
            product,
            version,
            generation: generation.map(generation::Generation::facts),
        }
    }

    fn untried(&self) -> Option<String> {
        let version = self.version.as_deref()?.parse().ok()?;
        generation::untried(self.product?, version)
    }
}

/// Samples all goroutines once, as a trace does during a hang.
fn read_stacks(memory: Result<ProcessMemory>, reader: Result<GoroutineReader>) -> Result<()> {
    let reader = reader?;
    reader.sample(&memory?).map(drop).map_err(|error| {
        if error.kind() == io::ErrorKind::PermissionDenied {
            anyhow::anyhow!("this process may not read its memory ({error})")
        } else {
            error.into()
        }
    })
}
