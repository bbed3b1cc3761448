//! The allocator, which the host calls before it hands over a batch and after it took an answer.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering::Relaxed};

static MOOD: AtomicU8 = AtomicU8::new(0);
const LOOPS: u8 = 1;
const LIES: u8 = 2;
/// Giving back what lies here never ends.
static PRECIOUS: AtomicUsize = AtomicUsize::new(0);

/// What the columns of a batch of a thousand rows take, and nothing that an answer needs besides.
const COLUMN: usize = 4000;

/// From now on, asking for the place of a column never ends.
pub(crate) fn loop_in_alloc() {
    MOOD.store(LOOPS, Relaxed);
}

/// From now on, a column gets a place outside of the memory.
pub(crate) fn lie() {
    MOOD.store(LIES, Relaxed);
}

/// Giving these back never ends.
pub(crate) fn loop_in_free(values: &[i64]) {
    PRECIOUS.store(values.as_ptr().addr(), Relaxed);
}

struct Moody;

#[global_allocator]
static ALLOCATOR: Moody = Moody;

// Safety: there is none. It is the host that must not mind.
unsafe impl GlobalAlloc for Moody {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match MOOD.load(Relaxed) {
            LOOPS if layout.size() >= COLUMN => crate::behaviours::spin(),
            LIES if layout.size() >= COLUMN => std::ptr::without_provenance_mut(0xffff_fff0),
            _ => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        if memory.addr() == PRECIOUS.load(Relaxed) {
            crate::behaviours::spin();
        }
        unsafe { System.dealloc(memory, layout) }
    }
}
