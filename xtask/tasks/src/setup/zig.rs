//! zig, as a C compiler and linker that knows older releases of glibc, and cargo-zigbuild, which puts it in their place.

use std::{env, fs, path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, Result};

use super::{
    cache::{cached, make_executable},
    pypi::{Program, Wheel},
    target::TargetCompiler,
};
use crate::{machine::Machine, ui::Step};

const VERSION: &str = "0.17.0";

const ZIG: Wheel = Wheel {
    what: "zig 0.17.0 (101 MB)",
    requirement: "ziglang==0.17.0 \
        --hash=sha256:97079827064a7492cce5541ceb438ae8003ce1e54e399676da2d62fb7a5dc08b \
        --hash=sha256:d2804f94f54f7fcf8169f4b212a619ad688a4e2e6592e976f0cf2e58e2cd8af3\n",
};

pub const ZIGBUILD: Program = Program {
    title: "cargo-zigbuild",
    version: "0.24.0",
    wheel: Wheel {
        what: "cargo-zigbuild 0.24.0 (2 MB)",
        requirement: "cargo-zigbuild==0.24.0 \
            --hash=sha256:484412e39e4c6039474535ce97ee75a22bab22d58233056f8ec8a8f9034bb957 \
            --hash=sha256:6942e4320f7b05d8fb29e0a8ce5670bcbb3d254275100b85b5b7c86552f9a744\n",
    },
    path: "cargo_zigbuild-0.24.0.data/scripts/cargo-zigbuild",
    variable: "VAULT_TRACER_CARGO_ZIGBUILD",
    version_argument: "--version",
};

const LIMIT: Duration = Duration::from_mins(1);

/// `cargo-zigbuild zigbuild` without arguments but the target, linked against this release of glibc.
pub fn zigbuild(machine: Machine, glibc: &str, compiler: &TargetCompiler) -> Result<Command> {
    let mut command = Command::new(ZIGBUILD.executable()?);
    command
        .args(["zigbuild", "--target"])
        .arg(format!("{}.{glibc}", machine.target))
        .current_dir(super::workspace())
        .env("RUSTC", &compiler.rustc)
        .env("CARGO_ZIGBUILD_ZIG_PATH", zig()?);
    Ok(command)
}

fn zig() -> Result<PathBuf> {
    let directory = cached(
        "zig",
        &format!("zig-{VERSION}-{}", env::consts::ARCH),
        format_args!("{VERSION} from PyPI"),
        "see that PyPI can be reached and run this again",
        |path, step: &Step| {
            ZIG.get(path, step, |unpacked| {
                let kept = path.join("ziglang");
                fs::rename(unpacked.join("ziglang"), &kept).context("the wheel has no ziglang")?;
                make_executable(&kept.join("zig"))
            })?;
            let mut version = Command::new(path.join("ziglang/zig"));
            step.output("trying it", version.arg("version"), LIMIT)
                .map(drop)
        },
    )?;
    Ok(directory.join("ziglang/zig"))
}
