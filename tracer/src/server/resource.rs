//! Where a server runs, as resource attributes of OpenTelemetry: found out, and as the operator says it
//! (<https://opentelemetry.io/docs/specs/otel/resource/sdk/>, `OTEL_RESOURCE_ATTRIBUTES`).

use std::{collections::BTreeMap, env};

use tracer_proc::Process;

use super::placement::Placement;

/// Attributes of this kind that are taken, and the length of each, bytes.
const MOST: usize = 64;
const LONGEST: usize = 1024;

/// In which variables a pod finds its name and its namespace: those of the Helm charts of Vault and `OpenBao`, and those
/// that are customary for the downward API.
const POD_NAMES: [&str; 3] = ["VAULT_K8S_POD_NAME", "BAO_K8S_POD_NAME", "POD_NAME"];
const NAMESPACES: [&str; 3] = ["VAULT_K8S_NAMESPACE", "BAO_K8S_NAMESPACE", "POD_NAMESPACE"];
const NODES: [&str; 2] = ["NODE_NAME", "K8S_NODE_NAME"];

/// The attributes of a running server.
pub(crate) fn attributes(pid: i32) -> BTreeMap<String, String> {
    let server = Process::new(pid);
    let placement = Placement::of(&server.cgroups().unwrap_or_default());
    let of_server = |name: &str| server.variable(name).ok().flatten();
    let own = |name: &str| env::var(name).ok();
    let mut all = found(&placement, of_server, own);
    match own("OTEL_RESOURCE_ATTRIBUTES").map(|text| parse(&text)) {
        Some(Ok(given)) => all.extend(given),
        Some(Err(why)) => log::warn!("OTEL_RESOURCE_ATTRIBUTES is ignored: {why}"),
        None => {}
    }
    let service = own("OTEL_SERVICE_NAME").filter(|name| !name.is_empty());
    all.extend(service.map(|name| ("service.name".to_owned(), name)));
    all
}

/// The name of the pod that a server runs in.
pub(super) fn pod_name(pid: i32) -> Option<String> {
    let server = Process::new(pid);
    let placement = Placement::of(&server.cgroups().unwrap_or_default());
    let of_server = |name: &str| server.variable(name).ok().flatten();
    found(&placement, of_server, |_| None).remove("k8s.pod.name")
}

/// `of_server`: a variable of its environment; `own`: one of the agent's, which runs on the same node.
fn found(
    placement: &Placement,
    of_server: impl Fn(&str) -> Option<String>,
    own: impl Fn(&str) -> Option<String>,
) -> BTreeMap<String, String> {
    let first = |of: &dyn Fn(&str) -> Option<String>, names: &[&str]| {
        let mut values = names.iter().filter_map(|name| of(name));
        values.find(|value| !value.is_empty())
    };
    // Every container of a pod has this one.
    let is_in_pod = placement.pod.is_some() || of_server("KUBERNETES_SERVICE_HOST").is_some();
    let in_pod = |value: Option<String>| value.filter(|_| is_in_pod);
    let pod = first(&of_server, &POD_NAMES);
    // The kubelet names the host of a pod by the pod, unless that has the node's network.
    let pod = pod.or_else(|| in_pod(of_server("HOSTNAME")));
    let node = first(&of_server, &NODES).or_else(|| first(&own, &NODES));
    let attributes = [
        ("container.id", placement.container.clone()),
        ("k8s.pod.uid", placement.pod.clone()),
        ("k8s.pod.name", in_pod(pod)),
        ("k8s.namespace.name", in_pod(first(&of_server, &NAMESPACES))),
        ("k8s.node.name", in_pod(node)),
    ];
    let known = attributes.into_iter();
    known
        .filter_map(|(name, value)| Some((name.to_owned(), value?)))
        .collect()
}

/// `key=value,key=value`, with percent-encoded values. As the specification says, an error discards all.
fn parse(text: &str) -> Result<Vec<(String, String)>, String> {
    let pairs = text
        .split(',')
        .map(str::trim)
        .filter(|pair| !pair.is_empty());
    let parsed: Result<Vec<_>, _> = pairs
        .map(|pair| {
            let (key, value) = pair.split_once('=').ok_or("expected key=value")?;
            let (key, value) = (key.trim(), value.trim());
            if key.is_empty() {
                return Err("a key is empty");
            }
            let value = decoded(value).ok_or("a value is not percent-encoded as UTF-8")?;
            if key.len() + value.len() > LONGEST {
                return Err("an attribute is longer than 1024 bytes");
            }
            Ok((key.to_owned(), value))
        })
        .collect();
    let parsed = parsed.map_err(str::to_owned)?;
    if parsed.len() > MOST {
        return Err(format!("more than {MOST} attributes"));
    }
    Ok(parsed)
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend(parts.next()?.bytes());
    for part in parts {
        let digits = part.get(..2)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        bytes.extend(part[2..].bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of<'a>(variables: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'a {
        |name| {
            let mut named = variables.iter().filter(|(own, _)| *own == name);
            named.next().map(|(_, value)| (*value).to_owned())
        }
    }

    fn shown(all: &BTreeMap<String, String>) -> Vec<String> {
        all.iter()
            .map(|(key, value)| format!("{key}={value}"))
            .collect()
    }

    #[test]
    fn a_pod_is_named_by_its_own_variables_and_the_node_by_the_agents() {
        let placement = Placement {
            container: Some("c".to_owned()),
            pod: Some("u".to_owned()),
            unit: None,
        };
        let server = [
            ("HOSTNAME", "host-of-node"),
            ("VAULT_K8S_POD_NAME", "vault-0"),
            ("VAULT_K8S_NAMESPACE", "secrets"),
            ("VAULT_TOKEN", "s.secret"),
        ];
        let all = found(
            &placement,
            of(&server),
            of(&[("NODE_NAME", "n1"), ("POD_NAME", "own")]),
        );
        let expected = [
            "container.id=c",
            "k8s.namespace.name=secrets",
            "k8s.node.name=n1",
            "k8s.pod.name=vault-0",
            "k8s.pod.uid=u",
        ];
        assert_eq!(shown(&all), expected);
        let all = found(&placement, of(&server[..1]), of(&[]));
        let expected = [
            "container.id=c",
            "k8s.pod.name=host-of-node",
            "k8s.pod.uid=u",
        ];
        assert_eq!(shown(&all), expected);
    }

    #[test]
    fn outside_of_a_pod_nothing_is_said_of_one() {
        let server = [("HOSTNAME", "host"), ("POD_NAME", "no"), ("NODE_NAME", "n")];
        let none = Placement::default();
        assert_eq!(shown(&found(&none, of(&server), of(&server))), [""; 0]);
        // The control groups of a sidecar's neighbour cannot be seen.
        let in_pod = [server[0], ("KUBERNETES_SERVICE_HOST", "10.0.0.1")];
        let all = found(&none, of(&in_pod), of(&[]));
        assert_eq!(shown(&all), ["k8s.pod.name=host"]);
    }

    #[test]
    fn attributes_are_parsed_or_ignored_whole() {
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        let expected = vec![pair("a.b", "x y,z"), pair("c", ""), pair("d", "e=f")];
        assert_eq!(parse(" a.b=x%20y%2Cz , c=, d=e=f,"), Ok(expected));
        assert_eq!(parse(""), Ok(Vec::new()));
        for wrong in ["a", "=b", "a=%zz", "a=%f", "a=%ff", "a=b,c", "a=%+1"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(parse(&format!("a={}", "x".repeat(LONGEST))).is_err());
        assert!(parse(&"a=b,".repeat(MOST + 1)).is_err());
    }
}
