//! `cargo xtask fuzz`: the targets of `tracer/src/fuzz`, compiled with coverage counters, each for as long as is asked for; then
//! the table of `docs/fuzzing.md`.

use std::{
    fmt::Write,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail, ensure};
use jiff::Timestamp;
use serde::Deserialize;

use crate::{
    build,
    setup::{cargo, workspace},
    ui::{self, Captured, Step},
};

/// Counters at each edge between blocks, for all crates: flags of the stable compiler, and of LLVM
/// (<https://clang.llvm.org/docs/SanitizerCoverage.html>). LLVM's linker would discard the counters.
const FLAGS: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3 \
     -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Clink-arg=-Wl,-z,nostart-stop-gc";

/// A cold build on a small machine.
const BUILD_LIMIT: Duration = Duration::from_hours(1);
/// Beyond the time that was asked for: seeds, and shrinking what was found.
const MORE: Duration = Duration::from_mins(10);

/// Names of the tests that are targets begin with this.
const TARGETS: &str = "fuzz::targets::";

/// Between these the page has its table.
const PAGE: &str = "docs/fuzzing.md";
const BEGIN: &str = "<!-- made by: cargo xtask fuzz -->\n";
const END: &str = "<!-- end -->\n";

#[derive(clap::Args)]
pub struct FuzzOptions {
    /// Run each target for so many seconds; two at once
    #[arg(long, value_name = "N", default_value = "60")]
    pub seconds: u64,
    /// Begin with this seed [default: the time]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Write the table of docs/fuzzing.md
    #[arg(long)]
    update: bool,
    /// Only targets with this in their name
    target: Option<String>,
}

impl FuzzOptions {
    /// All targets in about this time.
    pub fn short(seconds: u64) -> Self {
        Self {
            seconds,
            seed: None,
            update: false,
            target: None,
        }
    }
}

/// What a target writes about its run.
#[derive(Deserialize)]
struct Outcome {
    target: String,
    reads: String,
    written_by: String,
    seconds: f64,
    inputs: u64,
    corpus: usize,
    edges: Option<usize>,
    memory_limit: String,
    peak_bytes: usize,
    slowest_ms: f64,
    findings: Vec<String>,
}

pub fn run(options: &FuzzOptions) -> Result<()> {
    let program = program()?;
    let seed = options
        .seed
        .unwrap_or_else(|| Timestamp::now().as_second().unsigned_abs());
    let directory = workspace().join("target/fuzz");
    fs::create_dir_all(&directory)?;
    let names = targets(&program, options.target.as_deref().unwrap_or_default())?;
    let seconds = options.seconds;
    eprintln!(
        "fuzz: {} targets for {seconds} s each, seed {seed}",
        names.len()
    );
    let run = Run {
        program: &program,
        variable: format!("{seconds} {seed} {}", directory.display()),
        limit: Duration::from_secs(seconds) + MORE,
        directory: &directory,
    };
    let outcomes = run.all(&names)?;
    let table = table(&outcomes);
    print!("{table}");
    if options.update {
        let made = format!("Seed {seed}, {} s each.\n\n{table}", options.seconds);
        update(&workspace().join(PAGE), &made)?;
    }
    let failed: Vec<_> = outcomes
        .iter()
        .filter(|of| !of.findings.is_empty())
        .collect();
    for outcome in &failed {
        println!("{}:\n  {}", outcome.target, outcome.findings.join("\n  "));
    }
    ensure!(
        failed.is_empty(),
        "fuzz: {} of {} targets failed; the inputs are in {}",
        failed.len(),
        outcomes.len(),
        directory.join("findings").display()
    );
    Ok(())
}

/// Compiles the unit tests of the agent with counters.
fn program() -> Result<PathBuf> {
    ui::begin("fuzz", "compiling the targets with coverage counters");
    let mut build = cargo();
    build.args(["test", "--locked", "--package", "vault-tracer", "--lib"]);
    build.args(["--profile", "fuzz", "--no-run"]);
    // With a target of their own, build scripts and macros are compiled without counters.
    build.arg("--target").arg(host()?);
    build
        .arg("--target-dir")
        .arg(workspace().join("target/fuzz-build"));
    build.arg("--message-format=json-render-diagnostics");
    build.env("RUSTFLAGS", FLAGS);
    let step = Step::new("fuzz", "targets");
    let messages = step.output("compiling them", &mut build, BUILD_LIMIT)?;
    let program = build::executables(&messages).remove("tracer");
    program.context("cargo built the targets, but named no executable")
}

/// The machine that the compiler runs on, as it names it.
fn host() -> Result<String> {
    let mut rustc = Command::new("rustc");
    let said = Step::new("fuzz", "host").output("asking rustc", rustc.arg("-vV"), MORE)?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).context("rustc names no host")
}

/// Those with this word in their names.
fn targets(program: &Path, word: &str) -> Result<Vec<String>> {
    let mut list = Command::new(program);
    list.args(["--list", "--format=terse"]);
    let listed = Step::new("fuzz", "targets").output("listing them", &mut list, MORE)?;
    let tests = listed
        .lines()
        .filter_map(|line| line.strip_suffix(": test"));
    let names = tests.filter_map(|name| name.strip_prefix(TARGETS));
    let names: Vec<_> = names
        .filter(|name| name.contains(word))
        .map(str::to_owned)
        .collect();
    ensure!(!names.is_empty(), "no target has a name with {word}");
    Ok(names)
}

struct Run<'a> {
    program: &'a Path,
    variable: String,
    limit: Duration,
    directory: &'a Path,
}

impl Run<'_> {
    /// As many at once as there are processors.
    fn all(&self, names: &[String]) -> Result<Vec<Outcome>> {
        let waiting = Mutex::new(names.iter());
        let at_once = thread::available_parallelism().map_or(1, usize::from);
        let next = || waiting.lock().ok().and_then(|mut names| names.next());
        let work = || {
            let outcomes = std::iter::from_fn(next).map(|name| self.one(name));
            outcomes.collect::<Result<Vec<_>>>()
        };
        let ended = thread::scope(|scope| {
            let workers: Vec<_> = (0..at_once).map(|_| scope.spawn(work)).collect();
            let joined = workers.into_iter().map(|worker| {
                let ended = worker.join();
                ended.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            });
            joined.collect::<Result<Vec<_>>>()
        })?;
        let mut outcomes: Vec<_> = ended.into_iter().flatten().collect();
        outcomes.sort_by_key(|of| names.iter().position(|name| *name == of.target));
        Ok(outcomes)
    }

    fn one(&self, name: &str) -> Result<Outcome> {
        let begun = Instant::now();
        let result = self.directory.join(format!("{name}.json"));
        drop(fs::remove_file(&result));
        let mut command = Command::new(self.program);
        command.args(["--exact", &format!("{TARGETS}{name}")]);
        command.env("VAULT_TRACER_FUZZ", &self.variable);
        command.current_dir(workspace().join("tracer"));
        let mut captured = Captured::new(&mut command)?;
        let status = Step::silent(name, &mut command, self.limit)?;
        let Ok(text) = fs::read_to_string(&result) else {
            bail!(
                "{name} ended ({status}) in the middle: its input is {}\n{}{}",
                self.directory.join(format!("{name}.input")).display(),
                captured.stdout()?,
                captured.stderr()?
            );
        };
        let outcome: Outcome = serde_json::from_str(&text)?;
        let found = outcome.findings.len();
        let (inputs, seconds) = (outcome.inputs, begun.elapsed().as_secs());
        eprintln!("fuzz: {name}: {inputs} inputs in {seconds} s, {found} findings");
        Ok(outcome)
    }
}

fn table(outcomes: &[Outcome]) -> String {
    let mut table = String::from(
        "| target | reads | written by | inputs | edges | corpus | most memory | its limit | slowest | findings |\n|---|---|---|--:|--:|--:|--:|---|--:|--:|\n",
    );
    for of in outcomes {
        let edges = of
            .edges
            .map_or_else(|| "not counted".to_owned(), |edges| edges.to_string());
        let _ = writeln!(
            table,
            "| `{}` | {} | {} | {} | {edges} | {} | {} kB | {} | {:.0} ms | {} |",
            of.target,
            of.reads,
            of.written_by,
            of.inputs,
            of.corpus,
            of.peak_bytes.div_ceil(1 << 10),
            of.memory_limit,
            of.slowest_ms,
            of.findings.len()
        );
    }
    let inputs: u64 = outcomes.iter().map(|of| of.inputs).sum();
    let seconds: f64 = outcomes.iter().map(|of| of.seconds).sum();
    let _ = writeln!(
        table,
        "\n{inputs} inputs in {seconds:.0} s of all targets together."
    );
    table
}

fn update(page: &Path, made: &str) -> Result<()> {
    let text =
        fs::read_to_string(page).with_context(|| format!("cannot read {}", page.display()))?;
    let parts = text.split_once(BEGIN).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(END)?;
        Some((before, after))
    });
    let (before, after) = parts.with_context(|| format!("{PAGE} has no place for its table"))?;
    fs::write(page, format!("{before}{BEGIN}{made}{END}{after}"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_keeps_what_is_around_its_table() -> Result<()> {
        let page = tempfile::NamedTempFile::new()?;
        fs::write(page.path(), format!("a\n{BEGIN}old\n{END}b\n"))?;
        update(page.path(), "new\n")?;
        assert_eq!(
            fs::read_to_string(page.path())?,
            format!("a\n{BEGIN}new\n{END}b\n")
        );
        let own = fs::read_to_string(workspace().join(PAGE))?;
        assert!(own.contains(BEGIN) && own.contains(END));
        Ok(())
    }
}
