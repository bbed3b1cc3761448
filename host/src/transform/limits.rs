//! What a transform may take. Each instance counts alone.

use std::time::Duration;

use wasmtime::ResourceLimiter;

/// How much of the host one instance of a transform may use.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of all its linear memories together.
    pub memory: usize,
    /// Wall time of one call.
    pub call: Duration,
    /// Rows that one call may emit for each row that goes in.
    pub rows_per_row: usize,
    /// Bytes of `snapshot`.
    pub state: usize,
    /// Lines that one call may log; further ones are counted and dropped.
    pub log_lines: usize,
    /// Rows that one partition may lose to faults of the transform between two commits; one more, and it is broken.
    pub poison_rows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory: 64 << 20,
            call: Duration::from_secs(1),
            rows_per_row: 64,
            state: 8 << 20,
            log_lines: 100,
            poison_rows: 100,
        }
    }
}

/// Bytes of a table's element, as the host pays for it.
const ELEMENTS: usize = 100_000;

impl Limits {
    /// Rows that a call may emit when `rows` went in.
    pub fn rows(&self, rows: usize) -> usize {
        // A flush has no input rows; a batch of a few rows may still hand out what a flush may.
        rows.max(8192).saturating_mul(self.rows_per_row)
    }

    /// Bytes that a call with `input` bytes can make the host allocate for what comes back.
    pub fn fuel(input: usize) -> usize {
        (1 << 20) + input.saturating_mul(8)
    }
}

/// Counts the memory of one instance. `StoreLimits` would cap each memory, and there may be many.
#[derive(Debug)]
pub(super) struct Meter {
    limit: usize,
    used: usize,
}

impl Meter {
    pub(super) fn new(limit: usize) -> Self {
        Meter { limit, used: 0 }
    }
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let used = self.used.saturating_add(desired.saturating_sub(current));
        let fits = used <= self.limit;
        if fits {
            self.used = used;
        }
        Ok(fits)
    }

    fn table_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= ELEMENTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memories_are_summed() {
        let mut meter = Meter::new(100);
        assert!(meter.memory_growing(0, 60, None).unwrap());
        assert!(!meter.memory_growing(0, 60, None).unwrap(), "a second memory beyond the sum");
        assert!(meter.memory_growing(60, 100, None).unwrap());
    }
}
