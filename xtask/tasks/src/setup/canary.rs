//! A toolchain is checked by compiling and linking five lines of eBPF like the real programs. Version numbers do not
//! show whether it works.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result, ensure};

use super::toolchain::Toolchain;
use crate::ui::Step;

const LIMIT: Duration = Duration::from_mins(5);

const MANIFEST: &str = r#"
[package]
name = "canary"
version = "0.0.0"
edition = "2024"
[workspace]
"#;

const SOURCE: &str = r#"
#![no_std]
#![no_main]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }
#[unsafe(no_mangle)]
#[unsafe(link_section = "raw_tracepoint/canary")]
extern "C" fn canary(context: *mut core::ffi::c_void) -> u32 { context.is_null().into() }
"#;

pub fn check(toolchain: &Toolchain, directory: &Path, step: &Step) -> Result<()> {
    let project = directory.join("canary");
    fs::create_dir_all(project.join("src"))?;
    fs::write(project.join("Cargo.toml"), MANIFEST)?;
    fs::write(project.join("src/main.rs"), SOURCE)?;
    let mut build = toolchain.cargo_build(std::env::consts::ARCH);
    build
        .current_dir(&project)
        .arg("--target-dir")
        .arg(project.join("target"));
    step.output("compiling a canary for BPF", &mut build, LIMIT)?;
    let object = fs::read(project.join("target/bpfel-unknown-none/release/canary"))
        .context("the canary was built, but no object is there")?;
    ensure!(is_bpf_object(&object), "the canary is not an eBPF object");
    fs::remove_dir_all(project).context("cannot remove the canary")
}

/// Whether this is a 64-bit little-endian ELF file for `EM_BPF`.
pub fn is_bpf_object(file: &[u8]) -> bool {
    file.starts_with(b"\x7fELF\x02\x01") && file.get(18..20) == Some(&247_u16.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elf(class: u8, data: u8, machine: u8) -> Vec<u8> {
        let mut file = b"\x7fELF".to_vec();
        file.extend([class, data, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, machine, 0]);
        file
    }

    #[test]
    fn only_bpf_objects_pass() {
        assert!(is_bpf_object(&elf(2, 1, 247)));
        assert!(!is_bpf_object(&elf(2, 1, 62)), "x86-64");
        assert!(!is_bpf_object(&elf(2, 2, 247)), "big endian");
        assert!(!is_bpf_object(&elf(2, 1, 247)[..19]), "cut short");
        assert!(!is_bpf_object(b"BC\xc0\xde"), "bitcode");
    }
}
