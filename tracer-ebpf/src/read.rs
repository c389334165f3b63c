//! Reads of other memory that give zero if it cannot be read. They have no branch: verifiers before Linux 6.9 (tried:
//! 6.1) treat a stack slot with the value and one with a zero as different states and follow both to the end. Twenty such
//! reads in a row are a million paths.

use core::{ffi::c_void, mem::MaybeUninit};

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user};

/// Types for which any bytes are a valid value.
pub(crate) trait Plain: Copy {}

impl Plain for u8 {}
impl Plain for u16 {}
impl Plain for u32 {}
impl Plain for u64 {}
impl Plain for i32 {}
impl<const N: usize> Plain for [u8; N] {}

/// Reads kernel memory.
#[inline(always)]
pub(crate) fn kernel<T: Plain>(at: u64) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper checks the address itself, and on a bad one fills the value with zeros
    // (`bpf_probe_read_kernel_common()`, `kernel/trace/bpf_trace.c`).
    unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            at as *const c_void,
        );
        value.assume_init()
    }
}

/// Reads `len` bytes of kernel memory; zeros if they cannot be read.
///
/// # Safety
///
/// `to` must be valid for writes of `len` bytes.
#[inline(always)]
pub(crate) unsafe fn kernel_bytes(to: *mut u8, len: u32, at: u64) {
    // SAFETY: by the caller's word; else as above.
    unsafe { bpf_probe_read_kernel(to.cast(), len, at as *const c_void) };
}

/// Reads `len` bytes of the running process; whether that worked.
///
/// # Safety
///
/// `to` must be valid for writes of `len` bytes.
#[inline(always)]
pub(crate) unsafe fn user_bytes(to: *mut u8, len: u32, at: u64) -> bool {
    // SAFETY: by the caller's word; the helper checks the address itself.
    unsafe { bpf_probe_read_user(to.cast(), len, at as *const c_void) == 0 }
}

/// Reads memory of the running process.
#[inline(always)]
pub(crate) fn user<T: Plain>(at: u64) -> T {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: as above (`bpf_probe_read_user_common()`).
    unsafe {
        bpf_probe_read_user(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            at as *const c_void,
        );
        value.assume_init()
    }
}
