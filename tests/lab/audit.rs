//! Audit devices, as the server's configuration declares them or its API enables them.

use std::fmt::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

/// Where a log server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// TCP.
    Tcp(SocketAddr),
    /// UDP.
    Udp(SocketAddr),
    /// A Unix stream socket.
    Unix(PathBuf),
    /// TCP at a name, `host:port`, which the server must look up first.
    TcpName(String),
}

impl Endpoint {
    /// The device's `socket_type`.
    pub fn socket_type(&self) -> &'static str {
        match self {
            Self::Tcp(_) | Self::TcpName(_) => "tcp",
            Self::Udp(_) => "udp",
            Self::Unix(_) => "unix",
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) | Self::Udp(address) => address.fmt(to),
            Self::Unix(path) => path.display().fmt(to),
            Self::TcpName(name) => to.write_str(name),
        }
    }
}

/// One `audit` block.
#[derive(Debug, Clone)]
pub struct AuditDevice {
    kind: &'static str,
    name: String,
    options: Vec<(String, String)>,
}

impl AuditDevice {
    /// A file device writing to `path`.
    pub fn file(name: &str, path: &Path) -> Self {
        Self::new("file", name).option("file_path", &path.to_string_lossy())
    }

    /// A socket device.
    pub fn socket(name: &str, to: &Endpoint) -> Self {
        Self::new("socket", name)
            .option("address", &to.to_string())
            .option("socket_type", to.socket_type())
    }

    /// An HTTP device.
    pub fn http(name: &str, to: SocketAddr) -> Self {
        Self::new("http", name).option("uri", &format!("http://{to}/audit"))
    }

    /// A device that writes to the syslog daemon.
    pub fn syslog(name: &str) -> Self {
        Self::new("syslog", name)
    }

    fn new(kind: &'static str, name: &str) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            options: Vec::new(),
        }
    }

    /// Any other option: `write_timeout`, `log_raw`, `prefix`, ...
    #[must_use]
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.options.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The path of a file device.
    pub(crate) fn file_path(&self) -> Option<PathBuf> {
        self.options
            .iter()
            .find(|(name, _)| name == "file_path")
            .map(|(_, path)| path.into())
    }

    /// Whether it is one that only `OpenBao` has.
    pub(crate) fn is_http(&self) -> bool {
        self.kind == "http"
    }

    /// The path and the body of the request that enables it.
    pub(crate) fn to_api(&self) -> (String, Value) {
        let options: Map<_, _> = self
            .options
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        let body = json!({ "type": self.kind, "options": options });
        (format!("/v1/sys/audit/{}", self.name), body)
    }

    /// The block in the server's configuration language.
    pub(crate) fn to_hcl(&self) -> String {
        let mut block = format!("audit {:?} {:?} {{\n  options {{\n", self.kind, self.name);
        for (name, value) in &self.options {
            writeln!(block, "    {name} = {value:?}").expect("writing to a string cannot fail");
        }
        block + "  }\n}\n"
    }
}

/// `request.id` of an audit entry, which may have a prefix before its `{`.
pub fn request_id(line: &[u8]) -> Option<String> {
    let start = line.iter().position(|&byte| byte == b'{')?;
    let entry: Value = serde_json::from_slice(&line[start..]).ok()?;
    entry["request"]["id"].as_str().map(ToOwned::to_owned)
}
