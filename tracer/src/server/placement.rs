//! What a process runs in: its container, its pod, the unit of its service. From the text of `/proc/PID/cgroup`.

/// What a process runs in, as far as its control groups say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Placement {
    /// The container's ID, 64 hexadecimal digits.
    pub(super) container: Option<String>,
    /// The UID of the pod in Kubernetes.
    pub(super) pod: Option<String>,
    /// The service of systemd.
    pub(super) unit: Option<String>,
}

impl Placement {
    /// Container runtimes name the control group by the container's ID, with a prefix and `.scope` where systemd manages
    /// it; the kubelet names that around it by the pod's UID.
    pub(crate) fn of(cgroups: &str) -> Self {
        let paths = cgroups
            .lines()
            .filter_map(|line| line.splitn(3, ':').nth(2));
        // The innermost first.
        let parts: Vec<_> = paths.flat_map(|path| path.rsplit('/')).collect();
        let first = |find: fn(&str) -> Option<String>| parts.iter().find_map(|part| find(part));
        Self {
            container: first(container),
            pod: first(pod),
            unit: first(unit),
        }
    }
}

/// `docker-ID.scope`, `cri-containerd-ID.scope`, `ID`.
fn container(part: &str) -> Option<String> {
    let name = part.strip_suffix(".scope").unwrap_or(part);
    let id = name.rsplit('-').next().unwrap_or(name);
    let is_id = id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then(|| id.to_owned())
}

/// `podUID`, `kubepods-burstable-podUID.slice`, which has underscores for hyphens.
fn pod(part: &str) -> Option<String> {
    let name = part.strip_suffix(".slice").unwrap_or(part);
    let uid = match name.strip_prefix("kubepods") {
        Some(rest) => rest.rsplit_once("-pod")?.1,
        None => name.strip_prefix("pod")?,
    };
    let uid = uid.replace('_', "-");
    let groups: Vec<_> = uid.split('-').map(str::len).collect();
    let digits = uid.bytes().filter(|byte| *byte != b'-');
    let is_uid = groups == [8, 4, 4, 4, 12] && digits.into_iter().all(|b| b.is_ascii_hexdigit());
    is_uid.then_some(uid)
}

fn unit(part: &str) -> Option<String> {
    let is_unit = part.ends_with(".service") && !part.starts_with("user@");
    is_unit.then(|| part.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "01234567-89ab-cdef-0123-456789abcdef";

    #[test]
    fn containers_pods_and_units_are_found() {
        let id = "0123456789abcdef".repeat(4);
        let uid = UID.replace('-', "_");
        let (container, pod) = (Some(id.as_str()), Some(UID));
        for (cgroups, expected) in [
            (
                format!("0::/system.slice/docker-{id}.scope\n"),
                (container, None, None),
            ),
            (
                format!(
                    "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{uid}.slice/cri-containerd-{id}.scope"
                ),
                (container, pod, None),
            ),
            (
                format!("0::/kubepods.slice/kubepods-pod{uid}.slice/crio-{id}.scope/container"),
                (container, pod, None),
            ),
            (
                format!("12:cpu:/kubepods/besteffort/pod{UID}/{id}\n1:name=systemd:/x"),
                (container, pod, None),
            ),
            // In a pod of static manifests the UID is a hash; it names no pod of the API.
            (
                format!("0::/kubepods/burstable/pod{}/{id}", &id[..32]),
                (container, None, None),
            ),
            (
                format!("0::/machine.slice/libpod-{id}.scope/container"),
                (container, None, None),
            ),
            (
                "0::/system.slice/vault.service\n".to_owned(),
                (None, None, Some("vault.service")),
            ),
            (
                "0::/user.slice/user-0.slice/user@0.service/session.scope".to_owned(),
                (None, None, None),
            ),
            ("0::/podium/pod-1".to_owned(), (None, None, None)),
            ("0::/\n".to_owned(), (None, None, None)),
            (String::new(), (None, None, None)),
        ] {
            let found = Placement::of(&cgroups);
            let found = (
                found.container.as_deref(),
                found.pod.as_deref(),
                found.unit.as_deref(),
            );
            assert_eq!(found, expected, "{cgroups}");
        }
    }
}
