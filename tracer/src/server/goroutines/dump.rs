//! What goroutines wait for, by equal stacks: what the runtime prints on SIGQUIT, of a server that goes on.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    io,
};

use anyhow::{Context, Result};

use super::{
    GoroutineReader,
    device::string,
    goroutine::{Goroutine, WaitNote},
    list::GoroutineList,
    memory::{self, Memory},
    pclntab,
    sample::each_stack,
};
use crate::server::executable::Executable;
use tracer_model::Nanos;

/// Different stacks that are kept; goroutines with others are counted.
const MAX_GROUPS: usize = 4096;

/// Bytes of a string's header (`reflect/value.go`, `stringHeader`).
const STRING: u64 = 16;

/// Goroutines with equal stacks that wait for the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StackGroup {
    /// How many.
    pub goroutines: usize,
    /// What they wait for, in the runtime's words: `chan receive`, `IO wait`, `syscall`. `None` if they only wait for a processor, or
    /// if the runtime's words cannot be found.
    pub wait: Option<String>,
    /// The longest of them has waited since this time or longer: `CLOCK_MONOTONIC`, ns. Noted by the garbage collector, which runs every
    /// two minutes at least.
    pub since: Option<Nanos>,
    /// Return addresses, innermost first.
    pub calls: Vec<u64>,
}

/// The stacks of a server's goroutines.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Stacks {
    /// The largest groups first.
    pub groups: Vec<StackGroup>,
    /// Goroutines that a processor ran, or that moved while they were read.
    pub unread: usize,
    /// Goroutines whose stack is none of `groups`.
    pub ungrouped: usize,
}

/// Innermost call first; and what is waited for.
type StackKey = (Vec<u64>, Option<WaitWord>);

/// What is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum WaitWord {
    /// Index of the runtime's words.
    Parked(u8),
    SystemCall,
}

impl GoroutineReader {
    /// How many goroutines are alive, and since when these of them have waited at least: `CLOCK_MONOTONIC`, ns.
    pub fn waiting_since(
        &self,
        memory: &impl Memory,
        goids: &BTreeSet<u64>,
    ) -> io::Result<(usize, HashMap<u64, Nanos>)> {
        let (mut alive, mut since) = (0, HashMap::new());
        self.each_goroutine(memory, &mut GoroutineList::default(), |goroutine, bytes| {
            alive += 1;
            if goids.contains(&goroutine.goid) {
                let noted = self.since(self.layout.wait_note(bytes));
                since.extend(noted.map(|noted| (goroutine.goid, noted)));
            }
        })?;
        Ok((alive, since))
    }

    /// The stacks of all goroutines but these.
    pub fn stacks_without(
        &self,
        memory: &impl Memory,
        goids: &BTreeSet<u64>,
    ) -> io::Result<Stacks> {
        self.at_most(MAX_GROUPS, memory, goids)
    }

    pub(super) fn at_most(
        &self,
        max_groups: usize,
        memory: &impl Memory,
        goids: &BTreeSet<u64>,
    ) -> io::Result<Stacks> {
        let (mut all, mut stacks) = (Vec::new(), Stacks::default());
        self.each_goroutine(memory, &mut GoroutineList::default(), |goroutine, bytes| {
            if !goids.contains(&goroutine.goid) {
                all.push((goroutine, self.layout.wait_note(bytes)));
            }
        })?;
        let readable = all.iter().filter(|(g, _)| g.has_saved_stack());
        let readable: Vec<_> = readable.map(|(g, note)| (g, *note)).collect();
        let (mut groups, mut read) = (HashMap::<StackKey, StackGroup>::new(), 0);
        each_stack(memory, &readable, |(goroutine, note), stack| {
            if !self.is_unchanged(memory, goroutine) {
                return;
            }
            read += 1;
            let calls: Vec<_> = stack.frames(goroutine).iter().map(|f| f.pc).collect();
            let key = (calls, WaitWord::of(goroutine, note));
            let has_room = groups.len() < max_groups;
            match groups.get_mut(&key) {
                Some(group) => group.add(self.since(note)),
                None if has_room => {
                    let group = self.group(memory, &key, note);
                    groups.insert(key, group);
                }
                None => stacks.ungrouped += 1,
            }
        });
        stacks.unread = all.len() - read;
        stacks.groups = groups.into_values().collect();
        stacks
            .groups
            .sort_by(|a, b| (b.goroutines, &a.calls).cmp(&(a.goroutines, &b.calls)));
        Ok(stacks)
    }

    fn group(&self, memory: &impl Memory, (calls, wait): &StackKey, note: WaitNote) -> StackGroup {
        let wait = match wait {
            Some(WaitWord::Parked(reason)) => self.wait_reason(memory, *reason),
            Some(WaitWord::SystemCall) => Some("syscall".to_owned()),
            None => None,
        };
        StackGroup {
            goroutines: 1,
            wait,
            since: self.since(note),
            calls: calls.clone(),
        }
    }

    fn wait_reason(&self, memory: &impl Memory, reason: u8) -> Option<String> {
        string(memory, self.wait_reasons? + STRING * u64::from(reason))
    }

    fn since(&self, note: WaitNote) -> Option<Nanos> {
        note.since.filter(|_| self.shares_clock)
    }
}

impl WaitWord {
    fn of(goroutine: &Goroutine, note: WaitNote) -> Option<Self> {
        if goroutine.is_in_system_call() {
            return Some(Self::SystemCall);
        }
        note.reason.map(Self::Parked)
    }
}

impl StackGroup {
    fn add(&mut self, since: Option<Nanos>) {
        self.goroutines += 1;
        self.since = self.since.into_iter().chain(since).min();
    }
}

/// The names of the functions whose calls return to these addresses, as the linker spells them: from the table that the running program
/// itself has for its tracebacks, stripped or not.
pub fn function_names(pid: i32, calls: &BTreeSet<u64>) -> Result<BTreeMap<u64, String>> {
    let file = File::open(format!("/proc/{pid}/exe")).context("it has ended")?;
    let executable = Executable::open(&file)?;
    let load_bias = memory::entry(pid)?.wrapping_sub(executable.entry());
    let mut names = BTreeMap::new();
    pclntab::Table::read(&executable)?.each_function(|name, at| {
        let moved = |address: u64| address.wrapping_add(load_bias);
        // A call may be the last thing that a function does: it returns to what comes next.
        let (from, to) = (moved(at.start).wrapping_add(1), moved(at.end));
        if from <= to {
            let name = String::from_utf8_lossy(name);
            let within = calls.range(from..=to);
            names.extend(within.map(|call| (*call, name.clone().into_owned())));
        }
    });
    Ok(names)
}
