//! The API on a Unix socket, which tells no port of a client.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::request_id;
use crate::truth;

/// Longer than any hang the lab makes.
const TIMEOUT: Duration = Duration::from_mins(2);

/// GET on a connection of its own.
pub fn get_over_unix(socket: &Path, token: &str, path: &str) -> Result<truth::Client> {
    let stream = UnixStream::connect(socket);
    let mut stream = stream.with_context(|| format!("cannot connect to {}", socket.display()))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let head = format!("GET {path} HTTP/1.1\r\nHost: lab\r\nConnection: close\r\n");
    let started = Instant::now();
    write!(stream, "{head}X-Vault-Token: {token}\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let took = started.elapsed();
    let begin = answer.windows(4).position(|four| four == b"\r\n\r\n");
    let body = &answer[begin.context("no answer")? + 4..];
    Ok(truth::Client {
        id: Some(request_id(body).context("an answer without an id")?),
        port: None,
        took,
    })
}
