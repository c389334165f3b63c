//! Embeds the eBPF object that `cargo xtask build` made. Without it the agent still builds, so that
//! `cargo test` needs no eBPF toolchain, and says at run time what it lacks.

use std::{env, path::Path};

const OBJECT: &str = "VAULT_TRACER_EBPF_OBJECT";

fn main() {
    println!("cargo::rustc-check-cfg=cfg(ebpf_object)");
    println!("cargo::rerun-if-env-changed={OBJECT}");
    let Ok(path) = env::var(OBJECT) else { return };
    assert!(
        Path::new(&path).is_file(),
        "{OBJECT}={path}: no such file; `cargo xtask build` makes it"
    );
    println!("cargo::rerun-if-changed={path}");
    println!("cargo::rustc-cfg=ebpf_object");
    println!("cargo::rustc-env={OBJECT}={path}");
}
