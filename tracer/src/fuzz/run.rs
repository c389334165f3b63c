//! Runs a target: shortly with the unit tests, for as long as is asked for by `cargo xtask fuzz`.

use std::{
    any::Any,
    cell::RefCell,
    collections::BTreeMap,
    env, fs,
    hash::{DefaultHasher, Hash, Hasher},
    panic::{self, AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    process,
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;
use nix::time::{ClockId, clock_gettime};
use serde::Serialize;

use super::{
    Target, allocations,
    coverage::Coverage,
    mutate::{mutated, shrunk},
};

/// `seconds`, `seed`, `directory` of a run of `cargo xtask fuzz`, by spaces.
const VARIABLE: &str = "VAULT_TRACER_FUZZ";
/// With the unit tests.
const SHORT: Duration = Duration::from_millis(500);
/// Most processor time for one input.
const LONGEST: Duration = Duration::from_secs(2);
/// After which an input is given up, and the process with it.
const STUCK: Duration = Duration::from_mins(1);
/// Most inputs that are mutated further.
const KEPT: usize = 4000;
/// After which a target is not run any further.
const MOST_FINDINGS: usize = 10;

/// What `cargo xtask fuzz` makes its table of.
#[derive(Serialize)]
struct Outcome<'a> {
    target: &'a str,
    reads: &'a str,
    written_by: &'a str,
    seconds: f64,
    inputs: u64,
    corpus: usize,
    /// Of the code that has counters.
    edges: Option<usize>,
    memory_limit: String,
    peak_bytes: usize,
    slowest_ms: f64,
    findings: Vec<&'a String>,
}

/// What one input took.
struct Cost {
    peak: usize,
    time: Duration,
}

struct Run<'t> {
    target: &'t Target,
    corpus: Vec<Vec<u8>>,
    coverage: Option<Coverage>,
    inputs: u64,
    most: Cost,
    /// An input of each kind.
    findings: BTreeMap<String, Vec<u8>>,
    /// Where findings and new inputs are kept.
    directory: Option<PathBuf>,
}

/// The corpus, and mutations of it until the time is over. Panics if there is a finding.
pub(super) fn run(target: &Target) {
    let Ok(text) = env::var(VARIABLE) else {
        let mut run = Run::new(target, None);
        run.until(Instant::now() + SHORT, Rng::with_seed(0));
        return run.assert();
    };
    let mut words = text.splitn(3, ' ');
    let mut word = || words.next().expect("seconds, seed, directory");
    let seconds = Duration::from_secs(word().parse().expect("seconds"));
    let seed = word().parse().expect("a seed");
    let directory = PathBuf::from(word());
    remember_panics();
    let mut run = Run::new(target, Some(directory.clone()));
    watch(directory.join(format!("{}.input", target.name)));
    run.until(Instant::now() + seconds, Rng::with_seed(seed));
    run.report(&directory, seconds);
    run.assert();
}

/// Inputs that were tried, those of shrinking too.
static TRIED: AtomicU64 = AtomicU64::new(0);

/// Ends the process if one input takes for ever.
fn watch(input: PathBuf) {
    thread::spawn(move || {
        loop {
            let before = TRIED.load(Ordering::Relaxed);
            thread::sleep(STUCK);
            if TRIED.load(Ordering::Relaxed) == before {
                eprintln!("one input takes for ever: {}", input.display());
                process::abort();
            }
        }
    });
}

impl<'t> Run<'t> {
    fn new(target: &'t Target, directory: Option<PathBuf>) -> Self {
        let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/fuzz/corpus");
        let found = directory.as_ref().map(|directory| directory.join("corpus"));
        let directories = [Some(committed), found];
        let files = directories.into_iter().flatten();
        let files = files.flat_map(|at| files_of(&at.join(target.name)));
        let mut run = Self {
            target,
            corpus: (target.seeds)().into_iter().chain(files).collect(),
            coverage: directory
                .is_some()
                .then(Coverage::of_this_program)
                .flatten(),
            inputs: 0,
            most: Cost {
                peak: 0,
                time: Duration::ZERO,
            },
            findings: BTreeMap::new(),
            directory,
        };
        assert!(!run.corpus.is_empty(), "{} has no seeds", target.name);
        for input in run.corpus.clone() {
            run.take(&input);
        }
        run
    }

    fn until(&mut self, deadline: Instant, mut rng: Rng) {
        let Target { words, limits, .. } = self.target;
        while Instant::now() < deadline && self.findings.len() < MOST_FINDINGS {
            let input = mutated(&mut rng, &self.corpus, words, limits.input);
            if self.take(&input) && self.corpus.len() < KEPT {
                self.keep("corpus", &input);
                self.corpus.push(input);
            }
        }
    }

    /// Whether it reached something new.
    fn take(&mut self, input: &[u8]) -> bool {
        if let Some(directory) = &self.directory {
            // What is there after an abort is the input that led to it.
            let at = directory.join(format!("{}.input", self.target.name));
            fs::write(at, input).expect("written");
        }
        self.inputs += 1;
        if let Some(coverage) = &mut self.coverage {
            coverage.reset();
        }
        match tried(self.target, input) {
            Ok(cost) => {
                self.most.peak = self.most.peak.max(cost.peak);
                self.most.time = self.most.time.max(cost.time);
            }
            Err(finding) if !self.findings.contains_key(&finding) => {
                let is_same =
                    |input: &[u8]| tried(self.target, input).err().as_ref() == Some(&finding);
                let input = shrunk(input.to_vec(), is_same);
                self.keep("findings", &input);
                self.findings.insert(finding, input);
            }
            Err(_) => {}
        }
        self.coverage.as_mut().is_some_and(Coverage::is_new)
    }

    /// Writes it to a file of its own.
    fn keep(&self, kind: &str, input: &[u8]) {
        if let Some(directory) = &self.directory {
            let at = directory.join(kind).join(self.target.name);
            fs::create_dir_all(&at).expect("made");
            fs::write(at.join(name(input)), input).expect("written");
        }
    }

    fn report(&self, directory: &Path, seconds: Duration) {
        let limits = self.target.limits;
        let outcome = Outcome {
            target: self.target.name,
            reads: self.target.reads,
            written_by: self.target.written_by,
            seconds: seconds.as_secs_f64(),
            inputs: self.inputs,
            corpus: self.corpus.len(),
            edges: self.coverage.as_ref().map(Coverage::edges),
            memory_limit: format!("{} kB + {} x", limits.fixed >> 10, limits.per_byte),
            peak_bytes: self.most.peak,
            slowest_ms: self.most.time.as_secs_f64() * 1e3,
            findings: self.findings.keys().collect(),
        };
        let text = serde_json::to_string(&outcome).expect("JSON");
        let at = directory.join(format!("{}.json", self.target.name));
        fs::write(at, text).expect("written");
    }

    fn assert(&self) {
        let found = self.findings.iter();
        let found: Vec<_> = found
            .map(|(what, input)| format!("{what}\n  of {:?}", input.escape_ascii().to_string()))
            .collect();
        assert!(
            found.is_empty(),
            "{}: {}",
            self.target.name,
            found.join("\n")
        );
    }
}

/// Runs it with one input; an error is a finding.
fn tried(target: &Target, input: &[u8]) -> Result<Cost, String> {
    TRIED.fetch_add(1, Ordering::Relaxed);
    let begun = processor_time();
    let (ended, peak) =
        allocations::peak(|| catch_unwind(AssertUnwindSafe(|| (target.run)(input))));
    let time = processor_time().saturating_sub(begun);
    if let Err(panic) = ended {
        return Err(format!("panic: {}", message(&*panic)));
    }
    if peak > target.limits.memory(input.len()) {
        return Err("memory: more than its limit".to_owned());
    }
    if time > LONGEST {
        return Err("time: more than its limit".to_owned());
    }
    Ok(Cost { peak, time })
}

/// Of this thread: others may use the processor too.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

thread_local! {
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Where it panicked and why, in place of the trace of calls.
fn remember_panics() {
    let usual = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let is_targets = info
            .location()
            .is_some_and(|at| !at.file().ends_with("fuzz/run.rs"));
        if is_targets {
            PANIC.set(Some(info.to_string().replace('\n', " ")));
        } else {
            usual(info);
        }
    }));
}

fn message(panic: &(dyn Any + Send)) -> String {
    if let Some(remembered) = PANIC.take() {
        return remembered;
    }
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("of an unknown kind").to_owned()
}

fn files_of(directory: &Path) -> Vec<Vec<u8>> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    let read = |path: PathBuf| fs::read(path).expect("readable");
    paths.into_iter().map(read).collect()
}

fn name(input: &[u8]) -> String {
    let mut hasher = DefaultHasher::new();
    input.hash(&mut hasher);
    format!("{:016x}", hasher.finish())
}
