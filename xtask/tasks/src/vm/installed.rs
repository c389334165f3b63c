//! `cargo xtask dist --install-check`: the packages on hosts with systemd. Each root of Debian is booted, and
//! `tests/vm/installed` does there what an operator does.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use lab::guest::{PLAN, Plan, REPORTS};

use super::{
    guest::{self, add_modules, archive, place},
    kernels::{self, Kernel, source},
    qemu::{self, Serial},
    report::GuestReport,
};
use crate::{
    dist::{self, DistOptions, ENDINGS},
    libraries,
    machine::Machine,
    setup::{self, cached},
    ui::Step,
};

/// A release of Debian, and its kernel. The oldest has glibc 2.31 and systemd 247.
const HOSTS: [(&str, &str); 2] = [("bullseye", "5.10"), ("bookworm", "6.1")];

/// Beside what is essential: the service manager, RPM, what the lab calls.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,rpm,iproute2,nftables,kmod";

/// The first process; and what nobody reads there.
const HOOKS: [&str; 2] = [
    r#"ln -s lib/systemd/systemd "$1/init""#,
    r#"rm -rf "$1"/usr/share/doc/* "$1"/usr/share/locale/* "$1"/usr/share/man/* "$1"/var/lib/apt/lists/*"#,
];

const ROOT_LIMIT: Duration = Duration::from_mins(15);

/// The example of `tests` that does what an operator does.
const CHECK: &str = "vm-installed";

const SYSTEMD: &str = "/etc/systemd/system";

/// It runs with the libraries of this host, which may be newer than those of the guest.
const UNIT: &str = "[Unit]
Description=The check of the packages
After=basic.target
SuccessAction=poweroff-force
FailureAction=poweroff-force

[Service]
Type=oneshot
TimeoutStartSec=infinity
Environment=HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin
ExecStart=/vm/lib/@LOADER@ --library-path /vm/lib /vm/vm-installed /vm/bao
StandardOutput=tty
StandardError=inherit
TTYPath=@REPORTS@
";

/// Instead of the usual target, whose services are not needed.
const TARGET: &str = "[Unit]
Description=The check, and what it needs
Requires=basic.target install-check.service
";

/// The task: builds the release, and has its packages installed where that is asked for.
pub fn release(options: &DistOptions) -> Result<()> {
    let release = dist::run(options)?;
    if options.install_check {
        check(&release)?;
    }
    Ok(())
}

/// Installs, upgrades and removes the packages on each host.
fn check(release: &Path) -> Result<()> {
    setup::require(&setup::for_guests(Machine::HERE))?;
    setup::require(setup::DEBIAN_ROOT)?;
    let work = tempfile::tempdir_in(setup::workspace().join("target"))?;
    let extra = work.path().join("extra");
    for (packages, name) in [
        (dist::packages_in(release, dist::VERSION), "old"),
        (dist::newer(&work.path().join("newer"))?, "new"),
    ] {
        for (package, ending) in packages.iter().zip(ENDINGS) {
            let (is_there, arch) = (package.exists(), Machine::HERE.debian);
            ensure!(
                is_there,
                "only the packages for {arch} can be installed here"
            );
            symlink(
                package,
                place(&extra, &format!("/vm/packages/{name}.{ending}"))?,
            )?;
        }
    }
    add_programs(&extra)?;
    for (suite, kernel) in HOSTS {
        let kernel = super::choice(kernel).map_err(anyhow::Error::msg)?;
        let kernel = kernels::get(&kernel, Machine::HERE, false)?;
        let initramfs = work.path().join("initramfs");
        pack(&root(suite)?, &kernel, &extra, &initramfs)?;
        run(suite, &kernel, &initramfs, work.path()).with_context(|| suite)?;
    }
    Ok(())
}

/// OpenBao, and what does the work.
fn add_programs(extra: &Path) -> Result<()> {
    let built = guest::build(Machine::HERE, &["--example", CHECK])?;
    let check = built.get(CHECK).context("cargo built no check")?;
    let libraries = libraries::of(Machine::HERE, &[check], &Step::new("vm", "libraries"))?;
    let name = |path: &Path| path.file_name().unwrap_or_default().display().to_string();
    let is_loader = |library: &&PathBuf| name(library).starts_with("ld-");
    let loader = libraries.values().find(is_loader).context("no loader")?;
    let unit = UNIT
        .replace("@LOADER@", &name(loader))
        .replace("@REPORTS@", REPORTS);
    for library in libraries.values() {
        symlink(
            library,
            place(extra, &format!("/vm/lib/{}", name(library)))?,
        )?;
    }
    symlink(check, place(extra, &format!("/vm/{CHECK}"))?)?;
    symlink(setup::OPENBAO.executable()?, place(extra, "/vm/bao")?)?;
    for (file, text) in [
        ("install-check.service", &*unit),
        ("default.target", TARGET),
    ] {
        fs::write(place(extra, &format!("{SYSTEMD}/{file}"))?, text)?;
    }
    Ok(())
}

/// An initramfs is a sequence of archives.
fn pack(root: &Path, kernel: &Kernel, extra: &Path, initramfs: &Path) -> Result<()> {
    let modules = extra.join("vm/modules");
    if modules.exists() {
        fs::remove_dir_all(modules)?;
    }
    let plan = Plan {
        modules: add_modules(kernel, extra)?,
        ..Plan::default()
    };
    fs::write(place(extra, PLAN)?, serde_json::to_string(&plan)?)?;
    let more = initramfs.with_extension("extra");
    archive(extra, &more)?;
    fs::copy(root, initramfs)?;
    let mut initramfs = File::options().append(true).open(initramfs)?;
    io::copy(&mut File::open(more)?, &mut initramfs)?;
    Ok(())
}

fn run(suite: &str, kernel: &Kernel, initramfs: &Path, directory: &Path) -> Result<()> {
    let serial = Serial::in_directory(directory, suite);
    let started = Instant::now();
    let ended = qemu::run(kernel, initramfs, &serial);
    let text = Serial::read(&serial.reports);
    let has_passed = ended.is_ok() && GuestReport::parse(&text).status == Some(0);
    if has_passed {
        eprintln!("{}", text.trim_end());
    } else {
        super::show(&serial);
    }
    ended.context("the guest did not come to an end")?;
    ensure!(has_passed, "the check of the packages failed");
    let (name, seconds) = (kernel.name, started.elapsed().as_secs_f64());
    eprintln!("dist: {suite}, Linux {name}: installed, upgraded, removed ({seconds:.0} s)");
    Ok(())
}

/// A root of Debian with systemd and both package managers, as an archive that a kernel unpacks. No root is needed to make it.
fn root(suite: &str) -> Result<PathBuf> {
    let directory = cached(
        &format!("Debian {suite}"),
        &format!("root-{suite}-{}", Machine::HERE.arch),
        "with systemd and rpm",
        "see that Debian's mirror can be reached and run this again",
        |path, step| make_root(suite, path, step),
    )?;
    Ok(directory.join("root.cpio"))
}

fn make_root(suite: &str, path: &Path, step: &Step) -> Result<()> {
    let tar = path.join("root.tar");
    let mut bootstrap = Command::new("mmdebstrap");
    bootstrap
        .args(["--variant=minbase", "--quiet"])
        .arg(format!("--include={PACKAGES}"))
        .args(HOOKS.map(|hook| format!("--customize-hook={hook}")))
        .args([suite, &tar.to_string_lossy()])
        .arg(source(Machine::HERE, "debian", suite, step)?);
    step.output(
        "installing Debian into a directory",
        &mut bootstrap,
        ROOT_LIMIT,
    )?;
    let mut convert = Command::new("bsdtar");
    convert
        .args(["--create", "--format=newc", "--file"])
        .arg(path.join("root.cpio"))
        .arg(format!("@{}", tar.display()));
    step.output("packing it", &mut convert, ROOT_LIMIT)?;
    Ok(fs::remove_file(tar)?)
}
