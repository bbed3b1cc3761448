//! What a transform may take: [`Limits`], which a sidecar may change, and what counts against them.
//! Each instance counts alone.

use std::time::Duration;

use wasmtime::ResourceLimiter;

/// How much of the host one instance of a transform may use.
#[derive(Clone, Debug, PartialEq)]
pub struct Limits {
    /// Bytes of all its linear memories together. `memory-mib`.
    pub memory: usize,
    /// Linear memories.
    pub memories: usize,
    /// Tables of functions and references.
    pub tables: usize,
    /// Elements of all its tables together. `table-elements`.
    pub elements: usize,
    /// Core instances: a component is made of several.
    pub instances: usize,
    /// Time of one call on its lane's processor. `call-ms`.
    pub call: Duration,
    /// Rows that one call may emit for each row that goes in. `rows-per-row`.
    pub rows_per_row: usize,
    /// Rows that one call may emit, however many go in. `rows-per-call`.
    pub rows_per_call: usize,
    /// Bytes that any call may emit: a flush has no input rows, and a batch may be of one row.
    pub bytes: usize,
    /// Bytes that one call may emit for each row that goes in, on top of these. `bytes-per-row`.
    pub bytes_per_row: usize,
    /// Bytes of `snapshot`. `state-mib`.
    pub state: usize,
    /// Lines that one call may log or print; further ones are counted and dropped. `log-lines`.
    pub log_lines: usize,
    /// Bytes of these lines. `log-kib`.
    pub log_bytes: usize,
    /// Rows that one partition may lose to faults of the transform between two commits; one more, and it is broken.
    /// `poison-rows`.
    pub poison_rows: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory: 64 << 20,
            memories: 8,
            tables: 8,
            elements: 100_000,
            instances: 64,
            call: Duration::from_secs(1),
            rows_per_row: 64,
            rows_per_call: 1_000_000,
            bytes: 4 << 20,
            bytes_per_row: 1024,
            state: 8 << 20,
            log_lines: 100,
            log_bytes: 64 << 10,
            poison_rows: 100,
        }
    }
}

impl Limits {
    /// Rows that a call may emit when `rows` went in.
    pub fn rows(&self, rows: usize) -> usize {
        // A flush has no input rows; a batch of a few rows may still hand out what a flush may.
        rows.max(8192).saturating_mul(self.rows_per_row).min(self.rows_per_call)
    }

    /// Bytes that a call may emit when `rows` went in: all columns of all outputs, dictionaries unfolded.
    pub(super) fn budget(&self, rows: usize) -> Budget {
        Budget::new(rows.saturating_mul(self.bytes_per_row).saturating_add(self.bytes))
    }

    /// Bytes that a call with `input` bytes can make the host allocate for what comes back.
    pub fn fuel(input: usize) -> usize {
        // A batch of large events needs as much again for what it copies; eight times that nobody needs.
        (1 << 20) + input.saturating_mul(8).min(input.max(16 << 20))
    }
}

/// Bytes that a call may still emit.
#[derive(Debug)]
pub(super) struct Budget {
    whole: usize,
    left: usize,
}

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Budget { whole: bytes, left: bytes }
    }

    /// Takes so many bytes, before they are allocated.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), String> {
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => {
                let whole = self.whole;
                return Err(format!("all its rows have more than {whole} bytes (limits.bytes-per-row)"));
            }
        }
        Ok(())
    }
}

/// Counts what one instance has of memories and tables. wasmtime's own `StoreLimits` would cap each of them, and
/// there may be many.
#[derive(Debug)]
pub(super) struct Meter {
    memory: usize,
    elements: usize,
    /// What the last growth of a memory took, in case it fails.
    grown: usize,
    /// The setting that a growth was refused for, since the last call began.
    refused: Option<&'static str>,
    limits: Limits,
}

impl Meter {
    pub(super) fn new(limits: &Limits) -> Self {
        Meter { memory: 0, elements: 0, grown: 0, refused: None, limits: limits.clone() }
    }
}

impl Meter {
    /// Bytes of all memories of the instance.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// The setting that a growth was refused for since the last call of this: what is likely behind a trap.
    pub(super) fn take_refused(&mut self) -> Option<&'static str> {
        self.refused.take()
    }
}

/// The sum after a growth, if it may be. What its own type forbids would fail after we said yes: we say no.
fn sum(used: usize, current: usize, desired: usize, maximum: Option<usize>, limit: usize) -> Option<usize> {
    if maximum.is_some_and(|maximum| desired > maximum) {
        return None;
    }
    Some(used.saturating_add(desired.saturating_sub(current))).filter(|sum| *sum <= limit)
}

impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let sum = sum(self.memory, current, desired, maximum, self.limits.memory);
        self.grown = sum.map_or(0, |sum| sum - self.memory);
        self.memory += self.grown;
        if sum.is_none() {
            self.refused = Some("limits.memory-mib");
        }
        Ok(sum.is_some())
    }

    fn memory_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        // The system had no memory. Taken once, so that a failure without a growth before it gives nothing back.
        self.memory -= std::mem::take(&mut self.grown);
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let sum = sum(self.elements, current, desired, maximum, self.limits.elements);
        self.elements = sum.unwrap_or(self.elements);
        if sum.is_none() {
            self.refused = Some("limits.table-elements");
        }
        Ok(sum.is_some())
    }

    fn table_grow_failed(&mut self, _error: wasmtime::Error) -> wasmtime::Result<()> {
        // It exceeds what its type allows or what can be counted: nothing was granted.
        Ok(())
    }

    fn instances(&self) -> usize {
        self.limits.instances
    }

    fn tables(&self) -> usize {
        self.limits.tables
    }

    fn memories(&self) -> usize {
        self.limits.memories
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter() -> Meter {
        Meter::new(&Limits { memory: 100, elements: 10, ..Limits::default() })
    }

    #[test]
    fn memories_are_summed() {
        let mut meter = meter();
        assert!(meter.memory_growing(0, 60, None).unwrap());
        assert!(!meter.memory_growing(0, 60, None).unwrap(), "a second memory beyond the sum");
        assert!(meter.memory_growing(60, 100, None).unwrap());
    }

    #[test]
    fn tables_are_summed() {
        let mut meter = meter();
        assert!(meter.table_growing(0, 6, None).unwrap());
        assert!(!meter.table_growing(0, 6, None).unwrap(), "a second table beyond the sum");
        assert!(meter.table_growing(6, 10, None).unwrap());
    }

    #[test]
    fn a_growth_that_fails_costs_nothing() {
        let mut meter = meter();
        assert!(meter.memory_growing(0, 60, None).unwrap());
        assert!(!meter.memory_growing(60, 80, Some(70)).unwrap(), "beyond the memory's own maximum");
        assert!(meter.memory_growing(60, 100, None).unwrap());
        meter.memory_grow_failed(wasmtime::Error::msg("no memory")).unwrap();
        meter.memory_grow_failed(wasmtime::Error::msg("no growth before this one")).unwrap();
        assert!(meter.memory_growing(60, 100, None).unwrap());
        assert!(!meter.memory_growing(0, 1, None).unwrap());
        assert!(!meter.table_growing(0, 6, Some(5)).unwrap());
        meter.table_grow_failed(wasmtime::Error::msg("beyond its maximum")).unwrap();
        assert!(meter.table_growing(0, 10, None).unwrap());
    }

    #[test]
    fn rows_have_two_bounds() {
        let limits = Limits { rows_per_row: 2, rows_per_call: 20_000, ..Limits::default() };
        assert_eq!((limits.rows(0), limits.rows(9000), limits.rows(90_000)), (16_384, 18_000, 20_000));
    }
}
