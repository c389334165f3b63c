//! What the eBPF toolchain is: a Rust compiler that has a BPF `core`, and bpf-linker for its LLVM.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

/// A compiler that has, or can build, `core` for the BPF target.
#[derive(Clone)]
pub struct Compiler {
    pub rustc: PathBuf,
    /// Output of `rustc -vV`, which identifies the compiler.
    pub verbose_version: String,
    pub origin: String,
    /// Whether `core` is built from rust-src rather than shipped.
    pub build_std: bool,
    pub llvm_library: PathBuf,
}

impl Compiler {
    /// The release, as in `1.96.0`.
    pub fn release(&self) -> &str {
        field(&self.verbose_version, "release").unwrap_or("of unknown version")
    }

    pub fn llvm_major(&self) -> Result<u32> {
        llvm_major(&self.verbose_version)
            .with_context(|| format!("`{} -vV` names no LLVM version", self.rustc.display()))
    }
}

/// Compiler and linker, tried on a canary.
pub struct Toolchain {
    pub compiler: Compiler,
    /// bpf-linker, built for that compiler.
    pub linker: PathBuf,
}

impl Toolchain {
    /// `cargo build` for the BPF target of hosts of this architecture; the caller adds packages and the target directory.
    pub fn cargo_build(&self, arch: &str) -> Command {
        let mut command = cargo();
        command.args(["build", "--release", "--target", "bpfel-unknown-none"]);
        if self.compiler.build_std {
            command.arg("-Zbuild-std=core");
        }
        for wrapper in [
            "RUSTC_WRAPPER",
            "RUSTC_WORKSPACE_WRAPPER",
            "CARGO_BUILD_RUSTC_WRAPPER",
        ] {
            command.env_remove(wrapper);
        }
        command
            .env("RUSTC", &self.compiler.rustc)
            // The BPF target is tier 3: aya-ebpf and a shipped core rely on unstable features.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &self.linker)
            .env("CARGO_ENCODED_RUSTFLAGS", rust_flags(arch));
        command
    }
}

/// Flags of the eBPF object for agents on `arch`. The compiler hands `-Ctarget-cpu` to bpf-linker as
/// its `--cpu`, which therefore must not be given again; every kernel with BTF runs v3.
fn rust_flags(arch: &str) -> String {
    let cfg = format!("--cfg=bpf_target_arch=\"{arch}\"");
    let flags = [&cfg, "-Ctarget-cpu=v3", "-Cdebuginfo=2", "-Clink-arg=--btf"];
    [flags.join("\x1f"), path_remaps().join("\x1f")].join("\x1f")
}

/// What is built names files of the clone and of the crates as if these were in the same places everywhere.
pub fn path_remaps() -> Vec<String> {
    let home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(env::home_dir()?.join(".cargo")));
    let places = [(Some(workspace()), "/vault-tracer"), (home, "/cargo")];
    let places = places.into_iter();
    places
        .filter_map(|(from, to)| Some(format!("--remap-path-prefix={}={to}", from?.display())))
        .collect()
}

/// The cargo that runs this task, without the variables that `cargo run` sets for its child: they would cause rebuilds.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    let ours = |name: &OsStr| {
        let name = name.to_string_lossy();
        name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
    };
    for (name, _) in env::vars_os().filter(|(name, _)| ours(name)) {
        command.env_remove(name);
    }
    command.current_dir(workspace());
    command
}

/// The root of the clone: above the manifest that cargo runs (the first stage's), or the one this was compiled from.
pub fn workspace() -> PathBuf {
    let manifest =
        env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    let is_root = |directory: &&Path| directory.join("tracer-ebpf").is_dir();
    let root = Path::new(&manifest).ancestors().find(is_root);
    root.unwrap_or(Path::new(".")).to_path_buf()
}

/// The value of `name: value` in the output of `rustc -vV`.
fn field<'a>(verbose_version: &'a str, name: &str) -> Option<&'a str> {
    let of_line = |line: &'a str| line.strip_prefix(name)?.strip_prefix(':').map(str::trim);
    verbose_version.lines().find_map(of_line)
}

fn llvm_major(verbose_version: &str) -> Option<u32> {
    field(verbose_version, "LLVM version")?
        .split('.')
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERBOSE: &str = "rustc 1.96.0 (ac68faa20 2026-05-25) (built from a source tarball)\n\
        binary: rustc\nhost: x86_64-unknown-linux-gnu\nrelease: 1.96.0\nLLVM version: 22.1.8\n";

    #[test]
    fn the_llvm_version_is_read_from_the_verbose_version() {
        assert_eq!(llvm_major(VERBOSE), Some(22));
        assert_eq!(field(VERBOSE, "release"), Some("1.96.0"));
        assert_eq!(llvm_major("rustc 1.96.0\nbackend: cranelift\n"), None);
        assert_eq!(llvm_major("LLVM version: unknown"), None);
    }

    #[test]
    fn the_flags_name_the_architecture() {
        assert!(rust_flags("aarch64").starts_with("--cfg=bpf_target_arch=\"aarch64\"\x1f-C"));
    }
}
