//! Variables that functions keep in their frames while they call others; the compiler describes where.

use std::ops::Range;

use anyhow::Result;
use object::Architecture;

use super::{
    function_name::FunctionName,
    roles::{self, Variable},
    stack::{Frame, Stack},
};
use crate::server::{
    executable::Executable,
    go::dwarf::{Sections, local::Local},
};
use tracer_model::Nanos;

/// Those that are read.
#[derive(Debug, Default)]
pub(super) struct Variables {
    /// Whether frames are found from the caller's frame pointer.
    by_caller: bool,
    all: Vec<(Variable, Local)>,
}

impl Variables {
    /// Empty if the debugging information cannot be read.
    pub(super) fn new(executable: &Executable<'_>, debug: &Sections, load_bias: u64) -> Self {
        Self::read_from(executable, debug, load_bias).unwrap_or_else(|error| {
            log::warn!("cannot read which request a goroutine works on: {error:#}");
            Self::default()
        })
    }

    fn read_from(executable: &Executable<'_>, debug: &Sections, load_bias: u64) -> Result<Self> {
        let variable = |name: &str| FunctionName::parse(name.as_bytes())?.variable();
        let found = debug.locals(executable, roles::has_variables, |name| {
            variable(name).map(Variable::name)
        })?;
        let all = found
            .into_iter()
            .filter_map(|found| Some((variable(&found.function)?, found.moved(load_bias))));
        Ok(Self {
            by_caller: executable.machine() == Architecture::Aarch64,
            all: all.collect(),
        })
    }

    /// Arguments of methods, of which nothing says where they lie: where the caller of old would have passed them, as far as the
    /// compiler keeps them at all (`src/cmd/compile/abi-internal.md`, "spill area"). That is no promise: what is read there has to
    /// have the form of what it is.
    pub(super) fn of_arguments(
        machine: Architecture,
        methods: Vec<(Variable, Range<u64>)>,
    ) -> Self {
        let by_caller = machine == Architecture::Aarch64;
        // On arm64 the frame pointer of the caller lies below them.
        let first = if by_caller { 8 } else { 0 };
        let local = |(variable, code): (Variable, Range<u64>)| {
            let at = first + 8 * variable.argument_word()?;
            Some((variable, Local::in_frame(code, at)))
        };
        let all = methods.into_iter().filter_map(local).collect();
        Self { by_caller, all }
    }

    #[cfg(test)]
    pub(super) fn for_test(by_caller: bool, all: Vec<(Variable, Local)>) -> Self {
        Self { by_caller, all }
    }

    pub(super) fn of(&self, is_wanted: impl Fn(Variable) -> bool) -> impl Iterator<Item = &Local> {
        let all = self
            .all
            .iter()
            .filter(move |(variable, _)| is_wanted(*variable));
        all.map(|(_, local)| local)
    }

    /// The variable of this frame, if its function has one.
    pub(super) fn read(&self, stack: Stack<'_>, frame: Frame) -> Option<(Variable, u64)> {
        let call = frame.pc.checked_sub(1)?;
        let mut all = self.all.iter();
        let (variable, local) = all.find(|(_, local)| local.code.contains(&call))?;
        let (word, of) = variable.word();
        let at = local.word(frame.pc, word, of)?;
        let address = self.frame_address(stack, frame)?.checked_add_signed(at)?;
        Some((*variable, stack.word(address)?))
    }

    /// Since when this goroutine waits for its mutex. One that was woken and found the mutex taken again continues to
    /// wait, and keeps the time.
    pub(super) fn queued_since(&self, stack: Stack<'_>, frames: &[Frame]) -> Option<Nanos> {
        let mut read = frames.iter().filter_map(|frame| self.read(stack, *frame));
        read.find_map(|(variable, at)| (variable == Variable::WaitStart && at != 0).then_some(at))
    }

    /// The canonical frame address: what the stack pointer was before the call. On amd64 the return
    /// address and the frame pointer were put below it. On arm64 the caller's frame pointer is one word
    /// below it (`cmd/internal/obj/arm64/obj7.go`, `preprocess`).
    fn frame_address(&self, stack: Stack<'_>, frame: Frame) -> Option<u64> {
        if self.by_caller {
            stack.word(frame.record)?.checked_add(8)
        } else {
            frame.record.checked_add(16)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::requests::{RequestLayout, RequestReader},
        *,
    };
    use tracer_model::EntryKind;

    fn read(bytes: &[u8]) -> (Variables, RequestReader) {
        let executable = Executable::of(&bytes).expect("an ELF file");
        let debug = Sections::read(&executable, roles::has_variables);
        let debug = debug.expect("readable").expect("there");
        let variables = Variables::read_from(&executable, &debug, 0x1000).expect("readable");
        let requests = RequestReader::new(&debug, &variables);
        (variables, requests)
    }

    #[test]
    fn reads_where_requests_are() {
        let fields = RequestLayout {
            request: 16,
            id: 0,
            operation: 32,
            path: 48,
            client: None,
        };
        for (bytes, back, expected) in [
            (
                &include_bytes!("../testdata/go1.27.3-amd64-parameters.elf")[..],
                0x4a_5b95,
                24,
            ),
            (
                include_bytes!("../testdata/go1.24.11-amd64-parameters.elf"),
                0x49_e035,
                24,
            ),
            (
                include_bytes!("../testdata/go1.27.3-arm64-parameters.elf"),
                0xa_c83c,
                32,
            ),
        ] {
            let (variables, requests) = read(bytes);
            assert_eq!(requests, RequestReader::for_test(fields));
            let [(variable, local)] = &variables.all[..] else {
                panic!("{variables:?}")
            };
            assert_eq!(*variable, Variable::Input(EntryKind::Request));
            assert_eq!(local.word(back, 0, 1), Some(expected), "{local:x?}");
            // In a register until the first call.
            assert_eq!(local.word(local.code.start + 1, 0, 1), None);
        }
    }

    #[test]
    fn arguments_are_assumed_where_the_compiler_describes_them() {
        for (machine, bytes, back) in [
            (
                Architecture::X86_64,
                &include_bytes!("../testdata/go1.27.3-amd64-parameters.elf")[..],
                0x4a_5b95,
            ),
            (
                Architecture::Aarch64,
                include_bytes!("../testdata/go1.27.3-arm64-parameters.elf"),
                0xa_c83c,
            ),
        ] {
            let (described, _) = read(bytes);
            let methods = described.all.iter();
            let methods = methods.map(|(variable, local)| (*variable, local.code.clone()));
            let assumed = Variables::of_arguments(machine, methods.collect());
            let at = |variables: &Variables| variables.all[0].1.word(back, 0, 1);
            assert_eq!(at(&assumed), at(&described));
            assert_eq!(assumed.by_caller, described.by_caller);
        }
    }

    #[test]
    fn reads_where_a_mutex_keeps_since_when_it_is_waited_for() {
        let wait_start = |bytes: &[u8], back| {
            let (variables, _) = read(bytes);
            let [(Variable::WaitStart, local)] = &variables.all[..] else {
                panic!("{variables:?}")
            };
            local.word(back, 0, 1)
        };
        let new = include_bytes!("../testdata/go1.27.3-amd64-variables.elf");
        assert_eq!(wait_start(new, 0x47_ef7a), Some(-32));
        let old = include_bytes!("../testdata/go1.21.13-amd64-variables.elf");
        assert_eq!(wait_start(old, 0x45_8c7d), Some(-32));
        // The compiler says that it stays in a register.
        let arm64 = include_bytes!("../testdata/go1.27.3-arm64-variables.elf");
        assert_eq!(wait_start(arm64, 0x8_9400), None);
    }

    #[test]
    fn a_program_without_a_broker_has_no_requests() {
        let (variables, requests) = read(include_bytes!("../testdata/go1.27.3-amd64.elf"));
        assert!(variables.all.is_empty() && requests == RequestReader::default());
    }
}
