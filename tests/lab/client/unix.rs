//! The API on a Unix socket, which tells no port of a client.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::without_processor;
use crate::truth;

/// Longer than any hang the lab makes.
const TIMEOUT: Duration = Duration::from_mins(2);

/// GET on a connection of its own.
pub fn get_over_unix(socket: &Path, token: &str, path: &str) -> Result<truth::Client> {
    let stream = UnixStream::connect(socket);
    let mut stream = stream.with_context(|| format!("cannot connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n");
    let before = without_processor();
    let started = Instant::now();
    write!(stream, "{head}X-Vault-Token: {token}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let took = started.elapsed();
    // The body may come in chunks, but the id is at its beginning.
    let answer = String::from_utf8_lossy(&answer);
    let id = answer
        .split_once("\"request_id\":\"")
        .and_then(|(_, rest)| rest.get(..36));
    Ok(truth::Client {
        id: Some(id.context("an answer without an id")?.to_owned()),
        port: None,
        worked: Duration::ZERO,
        starved: without_processor().saturating_sub(before),
        took,
    })
}
