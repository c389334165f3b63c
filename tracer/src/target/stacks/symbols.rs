//! The few functions that matter on a stack, by their addresses.

use anyhow::{Context, Result};
use object::{Object, ObjectKind, ObjectSegment, ObjectSymbol, ReadRef};
use procfs::process::{MMapPath, Process};

use crate::core::parked::Place;

/// What a function on a stack means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Code of an audit socket device.
    AuditDevice,
    /// Code that waits for something.
    Waits(Place),
}

/// Where the server's audit socket devices are: `OpenBao` and Vault up to 1.14, then Vault's
/// eventlogger sink (`builtin/audit/socket/backend.go`, `internal/observability/event/sink_socket.go`).
const DEVICES: [&str; 2] = ["/audit/socket.(*Backend).", "/event.(*SocketSink)."];

/// Functions of Go that park a goroutine, by the ends of their names.
const WAITS: [(&str, Place); 6] = [
    // `sync.(*Mutex)` to Go 1.23, `internal/sync.(*Mutex)` since.
    ("sync.(*Mutex).lockSlow", Place::Lock),
    ("sync.(*RWMutex).Lock", Place::Lock),
    ("sync.(*RWMutex).RLock", Place::Lock),
    ("net.(*Resolver).lookupIPAddr", Place::Resolve),
    ("net.(*netFD).connect", Place::Connect),
    ("internal/poll.(*FD).Write", Place::Write),
];

/// Addresses in one running process.
#[derive(Debug)]
pub(super) struct Symbols {
    /// Of `runtime.allgs`.
    pub(super) all_goroutines: u64,
    /// Start, size and role, by start.
    functions: Vec<(u64, u64, Role)>,
}

impl Symbols {
    /// Of the executable of this process.
    pub(super) fn read<'a, R: ReadRef<'a>>(elf: &object::File<'a, R>, pid: i32) -> Result<Self> {
        let moved = moved_by(elf, pid)?;
        let mut all_goroutines = None;
        let mut functions = Vec::new();
        for symbol in elf.symbols() {
            let Ok(name) = symbol.name() else { continue };
            let address = symbol.address().wrapping_add(moved);
            if name == "runtime.allgs" {
                all_goroutines = Some(address);
            } else if let Some(role) = role(name) {
                functions.push((address, symbol.size(), role));
            }
        }
        functions.sort_by_key(|(start, ..)| *start);
        let knows_devices = functions
            .iter()
            .any(|(.., role)| *role == Role::AuditDevice);
        anyhow::ensure!(knows_devices, "its symbols name no audit device");
        Ok(Self {
            all_goroutines: all_goroutines.context("its symbols do not name runtime.allgs")?,
            functions,
        })
    }

    /// The function that this address is in, if it matters.
    pub(super) fn role(&self, pc: u64) -> Option<Role> {
        let behind = self.functions.partition_point(|(start, ..)| *start <= pc);
        let (start, size, role) = self.functions.get(behind.checked_sub(1)?)?;
        (pc - start <= *size).then_some(*role)
    }

    #[cfg(test)]
    pub(super) fn made(all_goroutines: u64, functions: Vec<(u64, u64, Role)>) -> Self {
        Self {
            all_goroutines,
            functions,
        }
    }
}

fn role(name: &str) -> Option<Role> {
    if DEVICES.iter().any(|device| name.contains(device)) {
        return Some(Role::AuditDevice);
    }
    let waits = WAITS.iter().find(|(end, _)| name.ends_with(end));
    waits.map(|(_, place)| Role::Waits(*place))
}

/// How far the kernel moved a position-independent executable.
fn moved_by<'a, R: ReadRef<'a>>(elf: &object::File<'a, R>, pid: i32) -> Result<u64> {
    if elf.kind() != ObjectKind::Dynamic {
        return Ok(0);
    }
    let process = Process::new(pid).context("the server has ended")?;
    let exe = process.exe().context("its executable is gone")?;
    let maps = process.maps().context("its memory map is unreadable")?;
    let first = maps
        .into_iter()
        .find(|map| matches!(&map.pathname, MMapPath::Path(path) if *path == exe))
        .context("its executable is not mapped")?;
    let lowest = elf.segments().map(|segment| segment.address()).min();
    Ok(first.address.0.wrapping_sub(lowest.unwrap_or(0) & !0xfff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn knows_the_devices_of_both_lineages() {
        let names = [
            "github.com/openbao/openbao/v2/internal/builtin/audit/socket.(*Backend).LogRequest",
            "github.com/hashicorp/vault/builtin/audit/socket.(*Backend).reconnect",
            "github.com/hashicorp/vault/internal/observability/event.(*SocketSink).Process",
        ];
        for name in names {
            assert_eq!(role(name), Some(Role::AuditDevice), "{name}");
        }
        assert_eq!(
            role("github.com/openbao/openbao/v2/audit/file.(*Backend).log"),
            None
        );
    }

    #[test]
    fn finds_the_function_around_an_address() {
        let lock = Role::Waits(Place::Lock);
        let symbols = Symbols::made(0, vec![(100, 10, lock), (200, 10, Role::AuditDevice)]);
        assert_eq!(symbols.role(99), None);
        assert_eq!(symbols.role(105), Some(lock));
        assert_eq!(symbols.role(150), None);
        assert_eq!(symbols.role(210), Some(Role::AuditDevice));
    }
}
