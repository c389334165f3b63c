//! What tells one server of a host from another: its ports, its configuration, its container or unit.

use super::{placement::Placement, process::Process, sockets};

/// `PID 7: vault server, ports 8200 and 8201, config /etc/vault.hcl, unit vault.service`.
pub(crate) fn describe(process: &Process) -> String {
    let mut words = vec![format!("PID {}: {}", process.pid, process.shown())];
    let sockets = sockets::open_sockets(process.pid).unwrap_or_default();
    let listening = sockets.iter().filter(|socket| socket.listening);
    words.extend(ports(listening.map(|socket| socket.local.port()).collect()));
    let configs = configs(&process.command).map(|path| path.escape_debug().to_string());
    words.extend(configs.map(|path| format!("config {path}")));
    let cgroups = tracer_proc::Process::new(process.pid).cgroups();
    words.extend(supervisor(&Placement::of(&cgroups.unwrap_or_default())));
    words.join(", ")
}

fn ports(mut ports: Vec<u16>) -> Option<String> {
    ports.sort_unstable();
    ports.dedup();
    let ports: Vec<_> = ports.iter().map(u16::to_string).collect();
    match ports.as_slice() {
        [] => None,
        [port] => Some(format!("port {port}")),
        ports => Some(format!("ports {}", ports.join(" and "))),
    }
}

/// Files or directories given by `-config`.
fn configs(command: &[String]) -> impl Iterator<Item = &str> {
    let following = command.iter().skip(1).map(String::as_str).chain([""]);
    command.iter().zip(following).filter_map(|(word, next)| {
        let option = word.strip_prefix("--").or_else(|| word.strip_prefix('-'))?;
        match option.split_once('=') {
            Some(("config", path)) => Some(path),
            None if option == "config" => Some(next),
            _ => None,
        }
    })
}

/// The container or the unit of the service.
fn supervisor(placement: &Placement) -> Option<String> {
    if let Some(id) = &placement.container {
        return Some(format!("container {}", &id[..12]));
    }
    let unit = placement.unit.as_deref()?;
    Some(format!("unit {}", unit.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_container_is_named_before_a_unit() {
        let id = "0123456789abcdef".repeat(4);
        for (cgroups, expected) in [
            (
                format!("0::/system.slice/vault.service/{id}"),
                Some("container 0123456789ab"),
            ),
            (
                "0::/system.slice/vault.service\n".to_owned(),
                Some("unit vault.service"),
            ),
            ("0::/\n".to_owned(), None),
        ] {
            let named = supervisor(&Placement::of(&cgroups));
            assert_eq!(named.as_deref(), expected, "{cgroups}");
        }
    }

    #[test]
    fn configurations_are_named_and_nothing_else_of_the_command_line() {
        let line = "vault server -config=/a.hcl --config /b -dev-root-token-id=s -config";
        let command: Vec<_> = line.split(' ').map(str::to_owned).collect();
        assert_eq!(configs(&command).collect::<Vec<_>>(), ["/a.hcl", "/b", ""]);
    }

    #[test]
    fn ports_are_listed_once() {
        assert_eq!(
            ports(vec![8201, 8200, 8200]).as_deref(),
            Some("ports 8200 and 8201")
        );
        assert_eq!(ports(vec![8200]).as_deref(), Some("port 8200"));
        assert_eq!(ports(Vec::new()), None);
    }
}
