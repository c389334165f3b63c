//! Architectures that the agent supports.

use std::env::consts;

/// An architecture, by its names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Of Rust, RPM, QEMU and Python's wheels.
    pub arch: &'static str,
    /// Of Debian and OCI.
    pub debian: &'static str,
    pub target: &'static str,
}

pub const MACHINES: [Machine; 2] = [Machine::X86_64, Machine::ARM64];

impl Machine {
    pub const X86_64: Self = Self {
        arch: "x86_64",
        debian: "amd64",
        target: "x86_64-unknown-linux-gnu",
    };
    pub const ARM64: Self = Self {
        arch: "aarch64",
        debian: "arm64",
        target: "aarch64-unknown-linux-gnu",
    };
    /// That of this host.
    pub const HERE: Self = if cfg!(target_arch = "aarch64") {
        Self::ARM64
    } else {
        Self::X86_64
    };

    pub fn is_here(self) -> bool {
        self.arch == consts::ARCH
    }

    /// By either name, for the command line.
    pub fn named(name: &str) -> Result<Self, String> {
        let mut machines = MACHINES.into_iter();
        let found = machines.find(|machine| [machine.arch, machine.debian].contains(&name));
        found.ok_or_else(|| format!("one of {}", MACHINES.map(|m| m.debian).join(", ")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_names_are_taken() {
        for machine in MACHINES {
            assert_eq!(Machine::named(machine.arch), Ok(machine));
            assert_eq!(Machine::named(machine.debian), Ok(machine));
            assert!(machine.target.starts_with(machine.arch));
        }
        assert_eq!(
            Machine::named("riscv64").unwrap_err(),
            "one of amd64, arm64"
        );
        assert!(Machine::HERE.is_here());
    }
}
