//! The allocator, which the host calls before it hands over a batch and after it took an answer.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU8, Ordering};

static MOOD: AtomicU8 = AtomicU8::new(0);
const LOOPS: u8 = 1;
const LOOPS_IN_FREE: u8 = 2;
const LIES: u8 = 3;

/// From now on, asking for memory never ends.
pub(crate) fn loop_in_alloc() {
    MOOD.store(LOOPS, Ordering::Relaxed);
}

/// From now on, giving memory back never ends.
pub(crate) fn loop_in_free() {
    MOOD.store(LOOPS_IN_FREE, Ordering::Relaxed);
}

/// From now on, memory is given out that is not there.
pub(crate) fn lie() {
    MOOD.store(LIES, Ordering::Relaxed);
}

struct Moody;

#[global_allocator]
static ALLOCATOR: Moody = Moody;

// Safety: there is none. It is the host that must not mind.
unsafe impl GlobalAlloc for Moody {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        match MOOD.load(Ordering::Relaxed) {
            LOOPS => crate::behaviours::spin(),
            LIES => std::ptr::without_provenance_mut(0xffff_fff0),
            _ => unsafe { System.alloc(layout) },
        }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        match MOOD.load(Ordering::Relaxed) {
            LOOPS_IN_FREE => crate::behaviours::spin(),
            LIES => {}
            _ => unsafe { System.dealloc(memory, layout) },
        }
    }
}
