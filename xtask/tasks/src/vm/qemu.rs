//! One run of QEMU, with software emulation: nested virtualisation is rare where CI runs, and with
//! `-accel kvm:tcg` a KVM that fails does not fall back.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Result, ensure};

use super::kernels::Kernel;
use crate::{machine::Machine, ui::Step};

/// For the boot, and for each test: on an idle host these take 10 to 50 seconds. All of a guest has no limit, since a busy host
/// would reach it.
const LIMIT: Duration = Duration::from_mins(10);
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

/// Runs a guest until it powers itself off. So it ends after a panic too: whether the tests passed, its reports say.
pub fn run(kernel: &Kernel, initramfs: &Path, serial: &Serial) -> Result<()> {
    let mut qemu = command(kernel, initramfs, serial);
    let step = Step::new("vm", kernel.name);
    let written = || serial.written();
    let status = step.wait_while_it_writes("running the guest", &mut qemu, LIMIT, written)?;
    ensure!(status.success(), "QEMU ended with {status}");
    Ok(())
}

fn command(kernel: &Kernel, initramfs: &Path, serial: &Serial) -> Command {
    let mut qemu = Command::new(format!("qemu-system-{}", kernel.machine.arch));
    let file = |path: &Path| format!("file:{}", path.display());
    let console = if kernel.machine == Machine::ARM64 {
        // One that servers have. Its board has one serial port of its own.
        qemu.args(["-machine", "virt,gic-version=3", "-cpu", "neoverse-n1"]);
        qemu.arg("-chardev")
            .arg(format!("file,id=reports,path={}", serial.reports.display()));
        qemu.args(["-serial", &file(&serial.console)]);
        qemu.args(["-device", "pci-serial,chardev=reports"]);
        "ttyAMA0"
    } else {
        qemu.args(["-cpu", "max"]);
        qemu.args(["-serial", &file(&serial.console)]);
        qemu.args(["-serial", &file(&serial.reports)]);
        "ttyS0"
    };
    // One thread for both processors. With a thread each, one may still run what QEMU translated before the other patched that
    // code: Linux 7.3.4 met the breakpoint of a patch that was over, and panicked (QEMU 7.2).
    qemu.args(["-accel", "tcg,thread=single", "-smp", "2", "-m", "3G"])
        .args(["-display", "none", "-monitor", "none", "-nic", "none"])
        .arg("-no-reboot")
        .arg("-kernel")
        .arg(&kernel.image)
        .arg("-initrd")
        .arg(initramfs)
        .arg("-append")
        .arg(format!("console={console} panic=-1 quiet"))
        .stdin(Stdio::null());
    qemu
}
