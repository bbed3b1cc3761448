//! Poison rows: rows on which a transform traps, takes too long or returns nonsense.
//!
//! When a call fails in a careful run, its instance is taken back to the snapshot before the call and gets one half of
//! the rows, then the other; a half that fails is halved again. What remains are single rows that fail by themselves.
//! They are rejected with the kind of the fault as the reason, and count as rejected by the transform. Everything else
//! has gone through, in order.
//!
//! A call may then take 50 times what such rows took so far, and at least 20 ms: a row that never returns is found
//! in some hundred milliseconds. A single row that was too slow for that is not to blame yet: it gets all that a call
//! may take, unless [`VAIN`] rows since care began have used that up for nothing. Time is that of the lane's
//! processor, so a machine that is busy with something else makes no row poisonous.

use std::time::Duration;

use super::columns::Column;
use super::fault::Fault;
use super::given::Given;
use super::pass::Work;
use super::run::{CHUNK, Meter, Runner, Trouble};
use crate::Result;

/// The least that a call may take.
const LEAST: Duration = Duration::from_millis(20);
/// Rows of one epoch that are told one by one. All are in the rejected table.
const TOLD: usize = 10;
/// Rows that may use up all that a call may take, for nothing, from the time on that care is needed: ten rows in a
/// million that never return are to cost seconds, not a limit each.
const VAIN: usize = 2;
/// How many times as long as usual a call may take.
const TIMES: u32 = 50;
/// Calls from few rows down to one.
const STEPS: usize = 5;
/// Calls with few rows that may fail between two commits, beside those that lead to a poison row.
const TOGETHER: usize = 20;

impl Runner {
    /// Runs one transform over some rows. Those that it fails on are rejected, one by one.
    pub(super) fn find_poison(
        &mut self,
        at: usize,
        given: &Given<'_>,
        columns: &[Column],
        rows: (usize, usize),
        work: &mut Work<'_>,
    ) -> Result<()> {
        let mut waiting = vec![rows];
        // The first in order is the last in the list.
        while let Some((start, rows)) = waiting.pop() {
            self.keep(at)?;
            let call = self.limits(at).call;
            let allowed = allowance(&self.meters[at], rows, call);
            let Err(mut fault) = self.call(at, given, columns, (start, rows), allowed, work) else {
                continue;
            };
            self.renew(at)?;
            if rows == 1 && fault.is_slow() && allowed < call && (self.patient || self.meters[at].vain < VAIN)
            {
                let Err(slow) = self.call(at, given, columns, (start, rows), call, work) else { continue };
                self.renew(at)?;
                self.meters[at].vain += usize::from(slow.is_slow());
                fault = slow;
            }
            if rows > 1 {
                self.few(at, rows, &fault)?;
                let half = rows / 2;
                waiting.extend([(start + half, rows - half), (start, half)]);
            } else {
                self.poison(at, given, start, &fault, work)?;
            }
        }
        Ok(())
    }

    /// A poison row takes [`STEPS`] calls with few rows to find. A transform that needs many more than that fails on
    /// rows together and on none of them by itself, and would go on like that call by call.
    fn few(&mut self, at: usize, rows: usize, fault: &Fault) -> Result<()> {
        let meter = &mut self.meters[at];
        // Rows that are only slow are slow together, too.
        meter.few += usize::from(rows <= 1 << STEPS && !fault.is_slow());
        if meter.few <= TOGETHER + STEPS * meter.poison {
            return Ok(());
        }
        let e = format!(
            "it fails on rows together again and again, at last on {rows}, and on none of them by itself: {fault}"
        );
        Err(self.failed(at, Trouble::Poisoned, &Fault::contract(e)))
    }

    fn poison(
        &mut self,
        at: usize,
        given: &Given<'_>,
        row: usize,
        fault: &Fault,
        work: &mut Work<'_>,
    ) -> Result<()> {
        let most = self.limits(at).poison_rows;
        let meter = &mut self.meters[at];
        meter.poison += 1;
        meter.counts.input += 1;
        meter.counts.rejected += 1;
        if meter.poison > most {
            let e = format!(
                "it fails on more than {most} rows between two commits (limits.poison-rows): {fault}"
            );
            return Err(self.failed(at, Trouble::Poisoned, &Fault::contract(e)));
        }
        let told = meter.poison;
        let name = &self.graph.nodes[at].component.spec.name;
        let offset = work.offset(given, row);
        if told < TOLD {
            tracing::warn!(
                transform = name,
                partition = self.partition,
                offset,
                "a row is rejected: {fault}"
            );
        } else if told == TOLD {
            tracing::warn!(
                transform = name,
                partition = self.partition,
                offset,
                "a row is rejected, more may follow: {fault}"
            );
        }
        work.reject(at, given, row, &[0], &fault.reason().into());
        Ok(())
    }
}

/// What a call with so many rows may take.
fn allowance(meter: &Meter, rows: usize, call: Duration) -> Duration {
    let (known, took) = meter.pace;
    let rows = u32::try_from(rows).unwrap_or(u32::MAX);
    let usual = match u32::try_from(known.min(1 << 31)) {
        Ok(known) if known > 0 => (took / known) * TIMES * rows,
        // Nothing is known yet: a full call may take all, a part of one its part.
        _ => call * rows / u32::try_from(CHUNK).unwrap_or(1),
    };
    usual.max(LEAST).min(call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_may_take() {
        let call = Duration::from_secs(1);
        let known = |pace| Meter { pace, ..Meter::default() };
        assert_eq!(allowance(&known((0, Duration::ZERO)), CHUNK, call), call);
        assert_eq!(allowance(&known((0, Duration::ZERO)), CHUNK / 2, call), call / 2);
        assert_eq!(allowance(&known((0, Duration::ZERO)), 1, call), LEAST);
        // 100 ns a row.
        let usual = known((1_000_000, Duration::from_millis(100)));
        assert_eq!(allowance(&usual, CHUNK, call), Duration::from_nanos(100 * 50 * CHUNK as u64));
        assert_eq!(allowance(&usual, 1, call), LEAST);
        // A slow one is never given more than its limit.
        assert_eq!(allowance(&known((1, Duration::from_secs(1))), 8, call), call);
    }
}
