//! Package managers, by what they are asked to do.

use anyhow::Result;

use crate::output;

/// Where the guest has the packages.
const DIRECTORY: &str = "/vm/packages";

/// Debian's RPM has another for each user.
const DATABASE: &str = "--dbpath=/var/lib/rpm";

pub(crate) struct Manager {
    /// Of its files: `old.deb`, and `new.deb` for the upgrade.
    pub(crate) ending: &'static str,
    install: &'static [&'static str],
    /// Several commands.
    remove: &'static [&'static [&'static str]],
    /// What is left by the rules of such packages: a changed configuration, logs.
    pub(crate) stays: &'static [&'static str],
}

pub(crate) const MANAGERS: &[Manager] = &[
    Manager {
        ending: "deb",
        install: &["dpkg", "--install"],
        remove: &[
            &["dpkg", "--remove", "vault-tracer"],
            &["dpkg", "--purge", "vault-tracer"],
        ],
        stays: &[],
    },
    // On a Debian root: what it requires is not in RPM's own database.
    Manager {
        ending: "rpm",
        install: &["rpm", DATABASE, "--upgrade", "--nodeps"],
        remove: &[&["rpm", DATABASE, "--erase", "vault-tracer"]],
        stays: &["/etc/default/vault-tracer.rpmsave", "/var/log/vault-tracer"],
    },
];

impl Manager {
    /// Installs `old`, or upgrades to `new`.
    pub(crate) fn install(&self, package: &str) -> Result<()> {
        let file = format!("{DIRECTORY}/{package}.{}", self.ending);
        output(&[self.install, &[&file]].concat()).map(drop)
    }

    /// Says what was done with its package.
    pub(crate) fn done(&self, what: &str) {
        println!("{}: {what}", self.ending);
    }

    pub(crate) fn remove(&self) -> Result<()> {
        let mut commands = self.remove.iter();
        commands.try_for_each(|command| output(command).map(drop))
    }
}
