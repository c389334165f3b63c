//! Prepares what a task needs and is missing, in a cache outside the clone: an eBPF toolchain, the
//! real OpenBao server, Go compilers, the system programs of the lab, programs of others that read what
//! the agent tells, and that check its dependencies. Touches nothing that is the user's own.

mod active;
pub mod apt;
pub mod cache;
mod canary;
mod crates;
mod debian;
mod golang;
mod linker;
mod openbao;
mod programs;
mod prometheus;
mod python;
mod rotel;
mod toolchain;
mod wheel;

pub use canary::is_bpf_object;
pub use crates::deny;
pub use golang::go;
pub use openbao::bao;
pub use programs::{
    ensure as lab_programs, ensure_browser as browser, ensure_for_tests as test_programs,
    ensure_for_vm as vm_programs, extend_path, find as find_program,
};
pub use prometheus::prometheus;
pub use python::packages as python_packages;
pub use rotel::{VARIABLE as ROTEL, rotel};
pub use toolchain::{cargo, ebpf_toolchain, workspace};
