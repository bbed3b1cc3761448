//! What an epoch gives back to the allocator is kept for the next one.
//!
//! Columns, row groups and parts of files are megabytes each, and all of an epoch's go at its end. glibc would hand
//! such blocks back to the kernel, which clears every page of them again when the next epoch asks. With these bounds it
//! keeps them: as much as the setting `memory` lets a host hold at its peak, which it holds in every epoch anyway.

/// Blocks up to this size are kept: the most that glibc takes.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const BLOCK: usize = 32 << 20;

/// Keeps up to so many bytes that were given back. To be called before there are threads; elsewhere than on glibc it
/// does nothing.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub(crate) fn keep(bytes: usize) {
    let int = |bytes: usize| libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    for (what, value) in [(libc::M_MMAP_THRESHOLD, int(BLOCK)), (libc::M_TRIM_THRESHOLD, int(bytes))] {
        // SAFETY: `mallopt` reads its two numbers and sets a number of the allocator's own; it takes no pointer, and a
        // value that it does not like changes nothing (mallopt(3)).
        #[allow(unsafe_code)]
        let taken = unsafe { libc::mallopt(what, value) } == 1;
        if !taken {
            tracing::debug!("the allocator does not take {value} for its option {what}");
        }
    }
}

/// Keeps up to so many bytes that were given back: not here.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub(crate) fn keep(_bytes: usize) {}
