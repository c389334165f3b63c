//! Whose server an executable is, and how its audit devices are declared.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

use crate::audit::AuditDevice;
use crate::client::Client;

/// Whose server it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Product {
    /// Devices are declared in the configuration.
    OpenBao,
    /// Devices are enabled by the API.
    Vault,
}

impl Product {
    /// Asks the program, which says its version too.
    pub fn ask(program: &Path) -> Result<(Self, String)> {
        let context = || format!("cannot run `{} version`", program.display());
        let mut command = Command::new(program);
        let output = command.arg("version").output().with_context(context)?;
        let text = String::from_utf8_lossy(&output.stdout);
        let line = text.lines().next().unwrap_or_default().trim();
        let product = Self::of(line).with_context(|| {
            format!(
                "{} is neither Vault nor OpenBao: its version is {line:?}",
                program.display()
            )
        })?;
        Ok((product, line.to_owned()))
    }

    /// By the first word of `Vault v1.14.2 (...), built ...`.
    fn of(version: &str) -> Option<Self> {
        match version.split_whitespace().next()? {
            "OpenBao" => Some(Self::OpenBao),
            "Vault" => Some(Self::Vault),
            _ => None,
        }
    }

    /// How the device's writes are attributed to a request on a server of this version: by the request's own
    /// goroutine, or by the goroutine of a sink, which descends from it.
    pub(super) fn usual_tie(self, version: &str) -> &'static str {
        let number = version.split_whitespace().nth(1).unwrap_or_default();
        let mut parts = number.trim_start_matches('v').split('.').map(str::parse);
        let mut part = || parts.next().and_then(|part: Result<u32, _>| part.ok());
        match (self, (part(), part())) {
            (Self::Vault, version) if version >= (Some(1), Some(15)) => "lineage",
            _ => "goroutine",
        }
    }

    /// Lines of the server's configuration that declare these devices.
    pub(crate) fn stanzas(self, devices: &[AuditDevice]) -> String {
        match self {
            Self::OpenBao => devices.iter().map(AuditDevice::to_hcl).collect(),
            // Vault refuses the option `prefix` by default since 1.20.
            Self::Vault => "disable_mlock = true\nallow_audit_log_prefixing = true\n".to_owned(),
        }
    }

    /// Enables the devices that could not be declared; `root` has the root token.
    pub(crate) fn enable(self, devices: &[AuditDevice], root: &Client) -> Result<()> {
        if self == Self::OpenBao {
            return Ok(());
        }
        for device in devices {
            let (path, body) = device.to_api();
            let answer = root.put(&path, &body)?;
            let text = String::from_utf8_lossy(&answer.body);
            ensure!(answer.status < 300, "{path}: {} {text}", answer.status);
        }
        Ok(())
    }

    /// Fails for what this product has not.
    pub(crate) fn require(self, devices: &[AuditDevice]) -> Result<()> {
        if self == Self::Vault && devices.iter().any(AuditDevice::is_http) {
            bail!("Vault has no HTTP device");
        }
        Ok(())
    }
}
