//! An image from scratch, as a tar file with an OCI layout (`opencontainers/image-spec`, `image-layout.md`): `podman load`, `skopeo
//! copy oci-archive:`. It has the executable, the libraries that that needs, and nothing else.

use std::{fs, path::Path};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{LIMIT, Machine, Release, VERSION, sha256};
use crate::{libraries, ui::Step};

/// Where the executable is.
const ENTRYPOINT: &str = "/usr/bin/vault-tracer";

pub fn make(
    release: &Release,
    machine: Machine,
    tree: &Path,
    into: &Path,
    step: &Step,
) -> Result<()> {
    let work = tempfile::tempdir()?;
    let (root, layout) = (work.path().join("root"), work.path().join("layout"));
    files_of(machine, tree, &root, step)?;
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let tar = work.path().join("layer.tar");
    step.output("image", release.tar(&root, &tar).arg("."), LIMIT)?;
    let contents = sha256(&fs::read(&tar)?);
    let mut gzip = release.program("gzip");
    step.output("image", gzip.args(["-9", "--no-name"]).arg(&tar), LIMIT)?;
    let layer = fs::read(work.path().join("layer.tar.gz"))?;
    let layer = blob(
        &blobs,
        "application/vnd.oci.image.layer.v1.tar+gzip",
        &layer,
    )?;
    let configuration = json!({
        "architecture": machine.debian,
        "os": "linux",
        "config": { "Entrypoint": [ENTRYPOINT], "Env": ["PATH=/usr/bin"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{contents}")] },
    });
    let kind = "application/vnd.oci.image.config.v1+json";
    let configuration = blob(&blobs, kind, &serde_json::to_vec(&configuration)?)?;
    let kind = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({
        "schemaVersion": 2, "mediaType": kind, "config": configuration, "layers": [layer],
    });
    let mut manifest = blob(&blobs, kind, &serde_json::to_vec(&manifest)?)?;
    let name = format!("vault-tracer:{VERSION}");
    manifest["annotations"] = json!({ "org.opencontainers.image.ref.name": name });
    let index = json!({
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [manifest],
    });
    fs::write(layout.join("index.json"), serde_json::to_vec(&index)?)?;
    fs::write(
        layout.join("oci-layout"),
        r#"{"imageLayoutVersion":"1.0.0"}"#,
    )?;
    let image = into.join(format!("vault-tracer-{VERSION}-{}.oci.tar", machine.arch));
    let mut tar = release.tar(&layout, &image);
    let packed = tar.args(["blobs", "index.json", "oci-layout"]);
    step.output("image", packed, LIMIT).map(drop)
}

/// Writes a blob and returns its descriptor.
fn blob(blobs: &Path, kind: &str, bytes: &[u8]) -> Result<Value> {
    let digest = sha256(bytes);
    fs::write(blobs.join(&digest), bytes)?;
    Ok(json!({ "mediaType": kind, "digest": format!("sha256:{digest}"), "size": bytes.len() }))
}

/// The executable, the libraries that it needs, and their loader.
fn files_of(machine: Machine, tree: &Path, root: &Path, step: &Step) -> Result<()> {
    let executable = tree.join(&ENTRYPOINT[1..]);
    let mut files = libraries::of(machine, &[&executable], step)?;
    files.insert(ENTRYPOINT.to_owned(), executable);
    for (path, file) in files {
        let to = root.join(path.trim_start_matches('/'));
        fs::create_dir_all(to.parent().context("no directory")?)?;
        fs::copy(file, to)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::workspace;

    #[test]
    fn the_daemon_set_starts_what_the_image_has() -> Result<()> {
        let path = workspace().join("contrib/kubernetes/daemonset.yaml");
        let manifest = fs::read_to_string(path)?;
        let has = |line: &str| manifest.lines().any(|l| l.trim() == line);
        assert!(has(&format!("image: vault-tracer:{VERSION}")));
        assert!(has(&format!("- {ENTRYPOINT}")));
        Ok(())
    }
}
