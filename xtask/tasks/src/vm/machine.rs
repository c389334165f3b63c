//! One run of QEMU, with software emulation: nested virtualisation is rare where CI runs, and with
//! `-accel kvm:tcg` a KVM that fails does not fall back.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Result, bail};

use super::kernels::Kernel;
use crate::ui::Step;

/// For the boot, and for each test: on an idle host these take 10 to 50 seconds. All of a guest has no limit, since a busy host
/// would reach it.
const LIMIT: Duration = Duration::from_mins(10);
/// Exit statuses of QEMU's `isa-debug-exit`, see `tests/vm/init.rs`.
const PASSED: i32 = 33;
const FAILED: i32 = 35;

/// The files a guest's serial ports are written to.
pub struct Serial {
    /// Output of the kernel and init.
    pub console: PathBuf,
    /// Output of the tests, and reports.
    pub reports: PathBuf,
}

impl Serial {
    pub fn in_directory(directory: &Path, kernel: &str) -> Self {
        let file = |kind: &str| directory.join(format!("{kernel}.{kind}.log"));
        Self {
            console: file("console"),
            reports: file("reports"),
        }
    }

    /// Bytes in both. libtest writes the name of each test when it begins, and how it ended.
    fn written(&self) -> u64 {
        let files = [&self.console, &self.reports].map(fs::metadata);
        files.into_iter().flatten().map(|file| file.len()).sum()
    }

    /// The text of one of them, with `\n` for `\r\n`.
    pub fn read(path: &Path) -> String {
        let bytes = fs::read(path).unwrap_or_default();
        String::from_utf8_lossy(&bytes).replace('\r', "")
    }
}

/// Runs a guest to its end. Returns whether its init says that the tests passed.
pub fn run(kernel: &Kernel, initramfs: &Path, serial: &Serial) -> Result<bool> {
    let mut qemu = command(kernel, initramfs, serial);
    let step = Step::new("vm", kernel.name);
    let written = || serial.written();
    let status = step.wait_while_it_writes("running the guest", &mut qemu, LIMIT, written)?;
    match status.code() {
        Some(PASSED) => Ok(true),
        Some(FAILED) => Ok(false),
        // A panic, or a boot that did not reach init.
        _ => bail!("QEMU ended with {status}"),
    }
}

fn command(kernel: &Kernel, initramfs: &Path, serial: &Serial) -> Command {
    let file = |path: &Path| format!("file:{}", path.display());
    let mut qemu = Command::new("qemu-system-x86_64");
    // One thread for both processors. With a thread each, one may still run what QEMU translated before the other patched that
    // code: Linux 7.3.4 met the breakpoint of a patch that was over, and panicked (QEMU 7.2).
    qemu.args([
        "-accel",
        "tcg,thread=single",
        "-cpu",
        "max",
        "-smp",
        "2",
        "-m",
        "2G",
    ])
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
