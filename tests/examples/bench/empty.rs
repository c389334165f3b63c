//! Programs that return at once, on given hooks: they show the cost of the hooks alone.

use std::{fmt::Write as _, str::FromStr};

use anyhow::{Context, Result, bail};
use aya::{
    Btf, Ebpf,
    programs::{FEntry, FExit, KProbe, Program, RawTracePoint, TracePoint},
};
use object::{
    Architecture, BinaryFormat, Endianness, SectionKind, SymbolFlags, SymbolKind, SymbolScope,
    write::{Object, Symbol, SymbolSection},
};
use tracer::probe::tracefs::Tracefs;

/// `r0 = 0; exit`.
const RETURN: [u8; 16] = [0xb7, 0, 0, 0, 0, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0];

/// Kind and hook of one of the agent's probes: `raw_tracepoint:sock_send_length`.
#[derive(Clone, Debug)]
pub(crate) struct Hook {
    kind: String,
    name: String,
}

impl FromStr for Hook {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        let (kind, name) = word.split_once(':').ok_or("not KIND:HOOK")?;
        Ok(Self {
            kind: kind.to_owned(),
            name: name.to_owned(),
        })
    }
}

impl Hook {
    /// The name of the ELF section that makes the loader take a program for one of this kind.
    fn section(&self) -> String {
        let mut section = self.kind.clone();
        if self.kind == "tracepoint" {
            section.push_str("/syscalls");
        }
        let _ = write!(section, "/{}", self.name);
        section
    }
}

/// They are detached when the value is dropped.
pub(crate) fn attach(hooks: &[Hook]) -> Result<Ebpf> {
    let mut object = Ebpf::load(&elf(hooks)?).context("the loader refused the empty programs")?;
    for (number, hook) in hooks.iter().enumerate() {
        let program = object.program_mut(&name(number));
        onto(program.context("no such program")?, hook)
            .with_context(|| format!("cannot attach to {} {}", hook.kind, hook.name))?;
    }
    Ok(object)
}

fn name(number: usize) -> String {
    format!("empty{number}")
}

fn elf(hooks: &[Hook]) -> Result<Vec<u8>> {
    let mut elf = Object::new(BinaryFormat::Elf, Architecture::Bpf, Endianness::Little);
    let license = elf.add_section(Vec::new(), b"license".to_vec(), SectionKind::Data);
    elf.append_section_data(license, b"GPL\0", 1);
    for (number, hook) in hooks.iter().enumerate() {
        let code = elf.add_section(Vec::new(), hook.section().into_bytes(), SectionKind::Text);
        elf.append_section_data(code, &RETURN, 8);
        elf.add_symbol(Symbol {
            name: name(number).into_bytes(),
            value: 0,
            size: RETURN.len() as u64,
            kind: SymbolKind::Text,
            scope: SymbolScope::Dynamic,
            weak: false,
            section: SymbolSection::Section(code),
            flags: SymbolFlags::None,
        });
    }
    Ok(elf.write()?)
}

fn onto(program: &mut Program, hook: &Hook) -> Result<()> {
    let btf = || Btf::from_sys_fs().context("this kernel does not describe its types");
    match program {
        Program::RawTracePoint(program) => {
            let program: &mut RawTracePoint = program;
            program.load()?;
            program.attach(&hook.name)?;
        }
        Program::TracePoint(program) => {
            let program: &mut TracePoint = program;
            program.load()?;
            // perf events know tracepoints by a number, which tracefs has.
            Tracefs::provide();
            program.attach("syscalls", &hook.name)?;
        }
        Program::FEntry(program) => {
            let program: &mut FEntry = program;
            program.load(&hook.name, &btf()?)?;
            program.attach()?;
        }
        Program::FExit(program) => {
            let program: &mut FExit = program;
            program.load(&hook.name, &btf()?)?;
            program.attach()?;
        }
        Program::KProbe(program) => {
            let program: &mut KProbe = program;
            program.load()?;
            program.attach(&hook.name, 0)?;
        }
        _ => bail!("no probe of the agent is of this kind"),
    }
    Ok(())
}
