//! The first process of a guest of `cargo xtask vm`: mounts file systems, loads modules, runs the command of the plan,
//! reports the outcome, and powers off.

use std::{
    fs::{self, File, OpenOptions},
    io::Write,
    os::fd::AsRawFd,
    path::Path,
    process::{Command, ExitStatus, Stdio},
    time::Instant,
};

use anyhow::{Context, Result};
use lab::guest::{PLAN, Plan, REPORTS, Report};
use nix::{
    errno::Errno,
    libc,
    mount::{MsFlags, mount},
    sys::utsname,
};

/// File systems and mount points. Some kernels lack some of them; tests that need one fail.
const MOUNTS: [(&str, &str); 9] = [
    ("devtmpfs", "/dev"),
    ("proc", "/proc"),
    ("sysfs", "/sys"),
    ("tmpfs", "/run"),
    ("tmpfs", "/tmp"),
    ("bpf", "/sys/fs/bpf"),
    ("cgroup2", "/sys/fs/cgroup"),
    ("debugfs", "/sys/kernel/debug"),
    ("tracefs", "/sys/kernel/tracing"),
];

fn main() {
    if let Err(error) = work() {
        let error = format!("{error:#}");
        println!("\ninit: {error}");
        let _ = open_reports().and_then(|to| report(&to, &Report::Broken { error }));
    }
    end();
}

fn work() -> Result<()> {
    // The firmware prints escape codes without a line end.
    println!("\ninit: mounting");
    for (kind, at) in MOUNTS {
        if let Err(error) = mount_at(kind, at) {
            println!("init: {error:#}");
        }
    }
    let reports = open_reports()?;
    report(&reports, &booted()?)?;
    let plan = fs::read(PLAN).with_context(|| format!("cannot read {PLAN}"))?;
    let plan: Plan = serde_json::from_slice(&plan).context("the plan is no plan")?;
    load_all(&plan.modules, &reports)?;
    run(&plan, &reports)
}

fn mount_at(kind: &str, at: &str) -> Result<()> {
    fs::create_dir_all(at).with_context(|| format!("cannot create {at}"))?;
    mount(Some(kind), at, Some(kind), MsFlags::empty(), None::<&str>)
        .with_context(|| format!("cannot mount {kind} at {at}"))
}

fn open_reports() -> Result<File> {
    let file = OpenOptions::new().write(true).open(REPORTS);
    file.with_context(|| format!("cannot open {REPORTS}"))
}

/// On the console as well.
fn report(mut to: &File, report: &Report) -> Result<()> {
    let line = report.to_line();
    println!("{line}");
    writeln!(to, "{line}").with_context(|| format!("cannot write to {REPORTS}"))
}

fn booted() -> Result<Report> {
    let kernel = utsname::uname().context("uname")?;
    let uptime = fs::read_to_string("/proc/uptime")?;
    let seconds = uptime.split(' ').next().and_then(|s| s.parse::<f64>().ok());
    Ok(Report::Booted {
        release: kernel.release().to_string_lossy().into_owned(),
        uptime_ms: (seconds.context("/proc/uptime holds no number")? * 1e3) as u64,
    })
}

/// A module that fails may not be needed, so it is only reported.
fn load_all(modules: &[String], reports: &File) -> Result<()> {
    for path in modules {
        if let Err(error) = load(path) {
            let (path, error) = (path.clone(), format!("{error:#}"));
            report(reports, &Report::ModuleFailed { path, error })?;
        }
    }
    Ok(())
}

/// `init_module(2)`: since 5.17 the kernel can unpack a module itself, where it was built to.
const MODULE_INIT_COMPRESSED_FILE: libc::c_int = 4;

fn load(path: &str) -> Result<()> {
    let file = File::open(path)?;
    let packed = Path::new(path).extension().is_some_and(|e| e != "ko");
    let flags = if packed {
        MODULE_INIT_COMPRESSED_FILE
    } else {
        0
    };
    // SAFETY: the descriptor is open, and the parameters are a C string.
    let result = unsafe {
        libc::syscall(
            libc::SYS_finit_module,
            file.as_raw_fd(),
            c"".as_ptr(),
            flags,
        )
    };
    Errno::result(result).map(drop).map_err(Into::into)
}

fn run(plan: &Plan, reports: &File) -> Result<()> {
    let (program, arguments) = plan.command.split_first().context("nothing to run")?;
    let began = Instant::now();
    let status: ExitStatus = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(&plan.environment)
        .stdin(Stdio::null())
        .stdout(reports.try_clone()?)
        .stderr(reports.try_clone()?)
        .status()
        .with_context(|| format!("cannot run {program}"))?;
    let ended = Report::Ended {
        status: status.code(),
        took_ms: began.elapsed().as_millis() as u64,
    };
    report(reports, &ended)
}

/// Lets the serial ports finish, then ends QEMU.
fn end() -> ! {
    for port in ["/dev/console", REPORTS] {
        if let Ok(port) = OpenOptions::new().write(true).open(port) {
            let _ = nix::sys::termios::tcdrain(&port);
        }
    }
    let _ = nix::sys::reboot::reboot(nix::sys::reboot::RebootMode::RB_POWER_OFF);
    loop {
        std::thread::park();
    }
}
