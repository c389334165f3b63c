//! One run of QEMU, with software emulation: nested virtualisation is rare where CI runs, and with
//! `-accel kvm:tcg` a KVM that fails does not fall back.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};

use super::kernels::Kernel;
use crate::ui::Step;

/// A guest takes 1 to 2 minutes; the emulation of a busy host may be three times slower.
const LIMIT: Duration = Duration::from_mins(5);
/// Of `isa-debug-exit`, from what the guest's init writes.
const PASSED: i32 = 33;
const FAILED: i32 = 35;

/// The files a guest's serial ports are written to.
pub struct Serial {
    /// Of the kernel and init.
    pub console: PathBuf,
    /// Of the tests and what they report.
    pub reports: PathBuf,
}

impl Serial {
    /// Of this kernel's guest, in a directory.
    pub fn in_directory(directory: &Path, kernel: &str) -> Self {
        let file = |kind: &str| directory.join(format!("{kernel}.{kind}.log"));
        Self {
            console: file("console"),
            reports: file("reports"),
        }
    }

    /// What was written to one of them; `\r\n` as `\n`.
    pub fn read(path: &Path) -> String {
        let bytes = fs::read(path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }
}

/// How a guest ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// Init says that the tests passed.
    Passed,
    /// Init says that they did not.
    Failed,
    /// Neither: a panic, or a boot that did not come to init.
    Crashed(String),
}

/// Runs a guest to its end. Returns how, and how long it took.
pub fn run(kernel: &Kernel, initramfs: &Path, serial: &Serial) -> Result<(End, Duration)> {
    let started = Instant::now();
    let step = Step::new("vm", kernel.name);
    let mut qemu = command(kernel, initramfs, serial);
    let status = step.wait("running the guest", &mut qemu, LIMIT);
    let end = match status {
        Ok(status) => match status.code() {
            Some(PASSED) => End::Passed,
            Some(FAILED) => End::Failed,
            _ => End::Crashed(format!("QEMU ended with {status}")),
        },
        Err(error) => End::Crashed(format!("{error:#}")),
    };
    // A QEMU that does not start says why on its standard error, which is ours.
    fs::metadata(&serial.console).context("QEMU did not start")?;
    Ok((end, started.elapsed()))
}

fn command(kernel: &Kernel, initramfs: &Path, serial: &Serial) -> Command {
    let file = |path: &Path| format!("file:{}", path.display());
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(["-accel", "tcg", "-cpu", "max", "-smp", "2", "-m", "2G"])
        .args(["-display", "none", "-monitor", "none", "-nic", "none"])
        .arg("-no-reboot")
        .args(["-serial", &file(&serial.console)])
        .args(["-serial", &file(&serial.reports)])
        .args(["-device", "isa-debug-exit,iobase=0xf4,iosize=0x04"])
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initramfs)
        .args(["-append", "console=ttyS0 panic=-1 quiet"])
        .stdin(Stdio::null());
    qemu
}
