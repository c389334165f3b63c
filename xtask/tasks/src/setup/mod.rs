//! Prepares what a task needs and is missing, in a cache outside the clone: an eBPF toolchain, the real OpenBao server,
//! Go compilers, system programs, programs that read the agent's formats. Changes nothing of the user's own.

mod active;
pub mod apt;
pub mod cache;
mod canary;
mod crates;
mod debian;
mod ebpf;
mod foreign;
mod golang;
mod linker;
mod programs;
mod prometheus;
mod pypi;
mod python;
mod search_path;
mod target;
mod toolchain;
mod zig;

pub use cache::cached;
pub use canary::is_bpf_object;
pub use ebpf::ebpf_toolchain;
pub use foreign::debian_root;
pub use golang::go;
pub use programs::{DEBIAN_ROOT, LAB, LIVE_TESTS, READELF, for_guests, require, require_browser};
pub use prometheus::prometheus;
pub use pypi::{OPENBAO, ROTEL, deny, server};
pub use python::packages as python_packages;
pub use search_path::{extend_path, find as find_program};
pub use target::compiler_for;
pub use toolchain::{cargo, workspace};
pub use zig::zigbuild;
