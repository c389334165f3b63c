//! Whether a process is the server that another one was: the same, started again. The decision is a pure function.

use std::{net::SocketAddr, path::PathBuf};

use tracer_proc::Process as ProcProcess;

use super::{placement::Placement, process::Process, resource, sockets};

/// What a server is known by beyond its process ID.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    /// When it was started: clock ticks since the boot.
    started: u64,
    exe: PathBuf,
    command: Vec<String>,
    placement: Placement,
    /// The name of its pod, which a pod of a stateful set keeps.
    pod_name: Option<String>,
    /// Inode number of its network namespace.
    netns: Option<u64>,
    /// Where it listens.
    listening: Vec<SocketAddr>,
}

impl Identity {
    /// Of a process that runs. `None` if it has ended.
    pub(crate) fn of(process: &Process) -> Option<Self> {
        let observed = ProcProcess::new(process.pid);
        let sockets = sockets::open_sockets(process.pid).unwrap_or_default();
        let listening = sockets.iter().filter(|socket| socket.listening);
        Some(Self {
            started: observed.stat().ok()?.start_time,
            exe: process.exe.clone(),
            command: process.command.clone(),
            placement: Placement::of(&observed.cgroups().unwrap_or_default()),
            pod_name: resource::pod_name(process.pid),
            netns: observed.namespace("net").ok(),
            listening: listening.map(|socket| socket.local).collect(),
        })
    }

    /// When it was started: clock ticks since the boot.
    pub(crate) fn started(&self) -> u64 {
        self.started
    }

    /// As it will listen, where it is the server that this one was and does not listen yet.
    pub(crate) fn after(mut self, ended: &Self) -> Self {
        if self.listening.is_empty() && self.netns == ended.netns {
            self.listening.clone_from(&ended.listening);
        }
        self
    }

    /// Whether it accepts connections.
    pub(crate) fn listens(&self) -> bool {
        !self.listening.is_empty()
    }

    /// Whether it is the same process, whatever it listens on meanwhile.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.started == other.started && self.runs_the_same(other)
    }

    /// Whether this process is the server `ended`, started again. `beside`: servers that ran when it ended.
    pub(crate) fn succeeds(&self, ended: &Self, beside: &[Self]) -> bool {
        if self.started <= ended.started || beside.iter().any(|other| other.is_same(self)) {
            return false;
        }
        // One that ran beside it is another server, and so is that one when it is started again.
        let is_others = beside.iter().any(|other| {
            self.started > other.started && self.likeness(other) > self.likeness(ended)
        });
        match self.likeness(ended) {
            Likeness::Other => false,
            Likeness::Command => {
                !is_others && !beside.iter().any(|other| other.runs_the_same(ended))
            }
            Likeness::Listens | Likeness::Place => !is_others,
        }
    }

    fn likeness(&self, other: &Self) -> Likeness {
        match self.is_in_place_of(other) {
            Some(true) => return Likeness::Place,
            Some(false) => return Likeness::Other,
            None => {}
        }
        let is_same_network = self.netns.is_some() && self.netns == other.netns;
        let mut listening = self.listening.iter();
        if is_same_network && listening.any(|address| other.listening.contains(address)) {
            Likeness::Listens
        } else if self.runs_the_same(other) {
            Likeness::Command
        } else {
            Likeness::Other
        }
    }

    fn runs_the_same(&self, other: &Self) -> bool {
        (&self.exe, &self.command) == (&other.exe, &other.command)
    }

    /// Whether what supervises both says that they are the same; `None` if it says nothing.
    fn is_in_place_of(&self, other: &Self) -> Option<bool> {
        let (own, others) = (&self.placement, &other.placement);
        let same = |own: &Option<String>, other: &Option<String>| {
            let (own, other) = (own.as_ref()?, other.as_ref()?);
            Some(own == other)
        };
        let is_same_pod = same(&own.pod, &others.pod)
            .filter(|is_same| *is_same)
            .or(same(&self.pod_name, &other.pod_name));
        let is_same_container = same(&own.container, &others.container).filter(|is| *is);
        is_same_container
            .or(is_same_pod)
            .or(same(&own.pod, &others.pod))
            .or(same(&own.unit, &others.unit))
    }
}

/// How much of one server is in another, ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Likeness {
    Other,
    /// The executable and the command line.
    Command,
    /// An address on which both listen.
    Listens,
    /// The container, the pod or the unit.
    Place,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `vault server -config=/etc/a.hcl`, started at this time, with no place and no address.
    fn server(config: &str, started: u64) -> Identity {
        Identity {
            started,
            exe: "/usr/bin/vault".into(),
            command: ["vault", "server", config].map(str::to_owned).to_vec(),
            netns: Some(1),
            ..Identity::default()
        }
    }

    fn listens(mut server: Identity, port: u16) -> Identity {
        server.listening.push(([0, 0, 0, 0], port).into());
        server
    }

    fn in_unit(mut server: Identity, unit: &str) -> Identity {
        server.placement.unit = Some(unit.to_owned());
        server
    }

    fn in_pod(mut server: Identity, uid: &str, name: Option<&str>) -> Identity {
        server.placement.pod = Some(uid.to_owned());
        server.pod_name = name.map(str::to_owned);
        server
    }

    fn in_container(mut server: Identity, id: &str) -> Identity {
        server.placement.container = Some(id.to_owned());
        server
    }

    fn upgraded(mut server: Identity) -> Identity {
        server.exe = "/opt/vault-2/vault".into();
        server.command[0] = "/opt/vault-2/vault".to_owned();
        server
    }

    fn elsewhere(mut server: Identity) -> Identity {
        server.netns = Some(2);
        server
    }

    type Case = (&'static str, Identity, Vec<Identity>, Identity, bool);

    fn check(cases: impl IntoIterator<Item = Case>) {
        for (what, ended, beside, candidate, expected) in cases {
            assert_eq!(candidate.succeeds(&ended, &beside), expected, "{what}");
        }
    }

    fn a() -> Identity {
        server("a", 10)
    }

    fn b() -> Identity {
        server("b", 11)
    }

    #[test]
    fn only_the_same_server_started_again_is_a_successor() {
        check([
            ("started again", a(), vec![], server("a", 20), true),
            ("beside another", a(), vec![b()], server("a", 20), true),
            ("the other one", a(), vec![b()], b(), false),
            (
                "the other one, started again",
                a(),
                vec![b()],
                server("b", 20),
                false,
            ),
            ("an unknown one", a(), vec![], server("c", 20), false),
            ("started before", a(), vec![], server("a", 9), false),
            (
                "by the same command as the other one: not known which",
                a(),
                vec![server("a", 11)],
                server("a", 20),
                false,
            ),
            (
                "the same, by its port",
                listens(a(), 8200),
                vec![listens(server("a", 11), 8300)],
                listens(server("a", 20), 8200),
                true,
            ),
            (
                "the other one started again, by its port",
                listens(a(), 8200),
                vec![listens(server("a", 11), 8300)],
                listens(server("a", 20), 8300),
                false,
            ),
            (
                "an upgrade on the same port",
                listens(a(), 8200),
                vec![],
                listens(upgraded(server("a", 20)), 8200),
                true,
            ),
            (
                "an upgrade that does not listen yet",
                listens(a(), 8200),
                vec![],
                upgraded(server("a", 20)),
                false,
            ),
            (
                "another server on the same port of another network namespace",
                listens(a(), 8200),
                vec![],
                elsewhere(listens(upgraded(server("a", 20)), 8200)),
                false,
            ),
        ]);
    }

    #[test]
    fn a_unit_a_pod_or_a_container_is_a_server_of_its_own() {
        check([
            (
                "an upgrade in the same unit",
                in_unit(a(), "vault.service"),
                vec![],
                in_unit(upgraded(server("c", 20)), "vault.service"),
                true,
            ),
            (
                "the same command in another unit",
                in_unit(a(), "vault-a.service"),
                vec![in_unit(a(), "vault-b.service")],
                in_unit(server("a", 20), "vault-b.service"),
                false,
            ),
            (
                "by hand, after its unit",
                in_unit(a(), "vault.service"),
                vec![],
                server("a", 20),
                true,
            ),
            (
                "the container of a pod, started again",
                in_container(in_pod(a(), "u1", None), "c1"),
                vec![],
                in_container(in_pod(server("a", 20), "u1", None), "c2"),
                true,
            ),
            (
                "a pod of a stateful set, made anew",
                in_pod(a(), "u1", Some("vault-0")),
                vec![in_pod(a(), "u2", Some("vault-1"))],
                in_pod(server("a", 20), "u3", Some("vault-0")),
                true,
            ),
            (
                "the other pod of a stateful set, made anew",
                in_pod(a(), "u1", Some("vault-0")),
                vec![in_pod(a(), "u2", Some("vault-1"))],
                in_pod(server("a", 20), "u3", Some("vault-1")),
                false,
            ),
            (
                "a pod without a name, made anew",
                in_pod(a(), "u1", None),
                vec![],
                in_pod(server("a", 20), "u3", None),
                false,
            ),
            (
                "a container, started again",
                in_container(a(), "c1"),
                vec![in_container(server("a", 11), "c2")],
                in_container(server("a", 20), "c1"),
                true,
            ),
            (
                "a container, made anew",
                in_container(a(), "c1"),
                vec![],
                elsewhere(in_container(server("a", 20), "c3")),
                true,
            ),
            (
                "one of two like containers, made anew: not known which",
                in_container(a(), "c1"),
                vec![in_container(server("a", 11), "c2")],
                in_container(server("a", 20), "c3"),
                false,
            ),
        ]);
    }

    #[test]
    fn this_process_does_not_succeed_itself() {
        let me = Process::observe(&ProcProcess::myself()).expect("running");
        let me = Identity::of(&me).expect("running");
        assert!(me.started > 0 && me.netns.is_some());
        assert!(!me.succeeds(&me, &[]));
    }
}
