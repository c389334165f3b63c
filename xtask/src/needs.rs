//! What each task needs of a machine.

use crate::paths;

/// A part that is compiled in the clone or kept in the cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    /// The second stage.
    Tasks,
    /// Rust's compiler with a `core` for BPF, and its linker.
    BpfCompiler,
    /// The programs for the kernel.
    Ebpf,
    /// `target/release/vault-tracer`
    Agent,
    /// Tests and lints.
    Tests,
    /// The server.
    OpenBao,
    /// Compilers of Go, for the tests' own server.
    Go,
}

/// What the machine has to allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ability {
    /// Root, directly or by sudo.
    Root,
    /// eBPF programs that run.
    Bpf,
    /// The kernel's own types.
    Btf,
    /// Network namespaces.
    Namespaces,
}

/// What a task needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Needs {
    pub(crate) abilities: Vec<Ability>,
    /// In the order in which they are made.
    pub(crate) parts: Vec<Part>,
    /// It can be shown by a recording instead.
    pub(crate) has_recording: bool,
    /// It ends at once: progress would only be noise.
    pub(crate) short: bool,
}

/// Whether the answer is the list of tasks.
pub(crate) fn is_plain_help(words: &[String]) -> bool {
    matches!(words, [word] if ["-h", "--help", "help"].contains(&word.as_str()))
}

impl Needs {
    /// What these arguments of `cargo xtask` need. Those that it does not know are left to the tasks' own command line.
    pub(crate) fn of(words: &[String]) -> Self {
        let ours = words.split(|word| word == "--").next().unwrap_or(words);
        let has = |option: &str| ours.iter().any(|word| word == option);
        let task = ours.first().map_or("", String::as_str);
        if has("-h") || has("--help") {
            return Self::making(&[]).short();
        }
        match task {
            "build" | "dist" => Self::making(BUILD),
            "run" if has("--recorded") => Self::making(&[Part::Agent]),
            "run" if has("--demo") => Self {
                has_recording: true,
                ..Self::making(BUILD).and(&[Part::OpenBao]).tracing().lab()
            },
            "run" => {
                let mut needs = Self::making(BUILD).tracing();
                let is_given = |word: &String| word == "--btf" || word.starts_with("--btf=");
                if words.iter().any(is_given) {
                    needs.abilities.retain(|ability| *ability != Ability::Btf);
                }
                needs
            }
            "test" if has("--quick") => Self::making(&[Part::Tests]),
            "test" => {
                let needs = Self::making(&[Part::Tests]).and(BUILD);
                let needs = needs.and(&[Part::OpenBao, Part::Go]);
                if has("--allow-skip") {
                    return needs;
                }
                needs.tracing().lab()
            }
            "bench" if has("--offline") => Self::making(&[Part::Tests]),
            "bench" => Self::making(BUILD).and(&[Part::OpenBao]).tracing().lab(),
            "vm" => Self::making(BUILD).and(&[Part::Tests, Part::OpenBao]),
            "eventlogger" => Self::making(&[Part::Go]),
            "lab" if has("up") => Self::making(&[Part::OpenBao]).lab(),
            "lab" => Self::making(&[]).using(&[Ability::Root]).short(),
            _ => Self::making(&[]).short(),
        }
    }

    fn making(parts: &[Part]) -> Self {
        Self {
            parts: [&[Part::Tasks], parts].concat(),
            ..Self::default()
        }
    }

    fn and(mut self, parts: &[Part]) -> Self {
        self.parts.extend_from_slice(parts);
        self
    }

    fn using(mut self, abilities: &[Ability]) -> Self {
        self.abilities.extend_from_slice(abilities);
        self
    }

    fn tracing(self) -> Self {
        self.using(&[Ability::Root, Ability::Bpf, Ability::Btf])
    }

    fn lab(self) -> Self {
        self.using(&[Ability::Root, Ability::Namespaces])
    }

    fn short(self) -> Self {
        Self {
            short: true,
            ..self
        }
    }

    pub(crate) fn uses(&self, ability: Ability) -> bool {
        self.abilities.contains(&ability)
    }

    /// Whether it makes this part.
    pub(crate) fn makes(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }

    /// The steps to the point where the task's own work begins, by the names that the second stage has for them. `test`
    /// counts its own.
    pub(crate) fn steps(&self) -> Vec<&'static str> {
        let step = |part: &Part| match part {
            Part::Tasks => "tasks",
            Part::BpfCompiler => "bpf-compiler",
            Part::Ebpf => "ebpf",
            Part::Agent => "agent",
            Part::OpenBao => "openbao",
            Part::Tests => "tests",
            Part::Go => "go",
        };
        let parts = if self.makes(Part::Tests) {
            &self.parts[..1]
        } else {
            &self.parts
        };
        std::iter::once("check")
            .chain(parts.iter().map(step))
            .collect()
    }

    /// Announces a step: `[2/6] building the tasks`.
    pub(crate) fn show_step(&self, name: &str, text: &str) {
        let steps = self.steps();
        let position = steps.iter().position(|step| *step == name);
        if let (Some(position), false) = (position, self.short) {
            eprintln!("[{}/{}] {text}", position + 1, steps.len());
        }
    }
}

const BUILD: &[Part] = &[Part::BpfCompiler, Part::Ebpf, Part::Agent];

impl Part {
    /// Whether it was made before, as far as file names tell. A newer version of it may still have to be made.
    pub(crate) fn is_made(self) -> bool {
        let target = paths::root().join("target");
        match self {
            Part::Tasks => target.join("release/tasks").exists(),
            Part::Agent => target.join("release/vault-tracer").exists(),
            Part::Ebpf => target.join("ebpf/bpfel-unknown-none/release").exists(),
            Part::Tests => target.join("debug/deps").exists(),
            Part::BpfCompiler => in_cache("bpf-linker-"),
            Part::OpenBao => is_set("VAULT_TRACER_BAO") || in_cache("openbao-"),
            Part::Go => is_set("VAULT_TRACER_EVENTLOGGER") || in_cache("go-1."),
        }
    }

    /// Megabytes that making it writes into the clone, and those into the cache, temporary files included. Measured.
    pub(crate) fn megabytes(self) -> (u64, u64) {
        match self {
            Part::Tasks => (150, 0),
            Part::BpfCompiler => (0, 1200),
            Part::Ebpf => (350, 0),
            Part::Agent => (700, 0),
            Part::Tests => (4000, 0),
            Part::OpenBao => (0, 300),
            Part::Go => (20, 900),
        }
    }
}

fn is_set(variable: &str) -> bool {
    std::env::var_os(variable).is_some_and(|value| !value.is_empty())
}

fn in_cache(prefix: &str) -> bool {
    let entries = paths::cache().and_then(|cache| std::fs::read_dir(cache).ok());
    let mut names = entries
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.file_name());
    names.any(|name| name.to_string_lossy().starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn needs(line: &str) -> Needs {
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        Needs::of(&words)
    }

    #[test]
    fn a_task_needs_no_more_than_it_uses() {
        use Ability::{Bpf, Btf, Namespaces, Root};
        let uses = |line: &str| needs(line).abilities;
        assert_eq!(uses("build"), []);
        assert_eq!(uses("run"), [Root, Bpf, Btf]);
        assert_eq!(uses("run -- --btf vmlinux.btf"), [Root, Bpf]);
        let demo = needs("run --demo");
        assert!(demo.uses(Namespaces) && demo.has_recording && demo.makes(Part::OpenBao));
        // What follows `--` is the agent's.
        assert_eq!(uses("run -- --demo"), [Root, Bpf, Btf]);
        let recorded = needs("run --demo --recorded");
        assert_eq!(recorded.parts, [Part::Tasks, Part::Agent]);
        assert_eq!(recorded.abilities, []);
        let quick = needs("test --quick");
        assert!(quick.abilities.is_empty() && !quick.makes(Part::Agent));
        assert!(needs("test").uses(Namespaces) && uses("test --allow-skip").is_empty());
        assert!(needs("lab up").uses(Namespaces));
        assert_eq!(uses("lab down"), [Root]);
        assert!(needs("lab down").short && needs("run --help").short);
    }

    #[test]
    fn only_the_list_of_tasks_needs_no_task() {
        let plain = |line: &str| {
            let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
            is_plain_help(&words)
        };
        assert!(plain("--help") && plain("-h") && plain("help"));
        assert!(!plain("") && !plain("run --help") && !plain("help run"));
    }

    #[test]
    fn steps_lead_to_the_tasks_own_work() {
        let steps = needs("run --demo").steps();
        assert_eq!(
            steps,
            ["check", "tasks", "bpf-compiler", "ebpf", "agent", "openbao"]
        );
        assert_eq!(needs("test").steps(), ["check", "tasks"]);
    }
}
