//! `activity_per_minute`: how many events of each type came from each kind of device in each minute.
//!
//! Reads the output `user_events` and makes the additive table `user_activity_per_minute`: each flush emits what was
//! counted since the last one and forgets it. So the state is empty after a commit, a late event is one more row, and
//! whoever reads the table sums `events` by `window_start`, `event_type` and `device` (compaction does so too).
//! Rows of one flush are sorted by their keys.
//!
//! What waits for a flush is bounded: at about [`LIMIT`] bytes of state all counters are moved to a queue, in order,
//! and the queue is emitted after the batches that follow. Which rows come out of that depends on the events only, not
//! on how they are cut into batches; at worst the table has a few more rows for compaction to merge.

mod counts;
mod state;

use std::collections::VecDeque;

use tidemill_sdk::{Config, Int, Reject, Result, Text, Timestamp, Transform};

use counts::{Count, Counts};

tidemill_sdk::input! {
    struct Event from output "user_events" { event_type: Text, timestamp: Timestamp, device: Text }
}

tidemill_sdk::output! {
    table UserActivity ("user_activity_per_minute", by window_start)
    of struct Increment { window_start: Timestamp [key], event_type: Text [key], device: Text [key], events: Int [sum] }
}

/// Bytes of state at which counting starts anew: some 80,000 counters.
const LIMIT: usize = 8 << 20;
/// Rows that one call hands out, so that no call is long.
const ROWS: usize = 8192;
/// Bytes of rows that one call hands out, well within the megabyte that a host grants to any call.
const BYTES: usize = 512 << 10;

struct ActivityPerMinute {
    counts: Counts,
    /// Counters that count no more and wait to be emitted.
    queue: VecDeque<Count>,
    limit: usize,
    /// The rows and bytes that came to `counts` in this batch: as much more may be handed out after it, so that the
    /// queue cannot grow forever.
    added: (usize, usize),
    /// Whether the last snapshot or restore had anything, or there was none.
    saved: bool,
}

impl Transform for ActivityPerMinute {
    const NAME: &str = "activity_per_minute";
    const VERSION: &str = env!("CARGO_PKG_VERSION");
    const STATE_VERSION: Option<u32> = Some(1);
    type Row<'a> = Event<'a>;
    type Out = UserActivity;

    fn open(_: &mut Config) -> Result<Self> {
        Ok(ActivityPerMinute::with_limit(LIMIT))
    }

    fn row(&mut self, event: Event<'_>, _: &mut UserActivity) -> Result<(), Reject> {
        let minute = event.timestamp.floor(Timestamp::MINUTE);
        let bytes = self.counts.add(minute, event.event_type, event.device, 1);
        if bytes > 0 {
            self.added = (self.added.0 + 1, self.added.1 + bytes);
            if self.counts.bytes() > self.limit {
                self.queue.extend(self.counts.take());
            }
        }
        Ok(())
    }

    fn after_batch(&mut self, out: &mut UserActivity) -> Result<()> {
        let (rows, bytes) = std::mem::take(&mut self.added);
        self.emit(ROWS + rows, BYTES + bytes, out);
        Ok(())
    }

    fn flush(&mut self, _: Option<Timestamp>, out: &mut UserActivity) -> Result<bool> {
        self.queue.extend(self.counts.take());
        self.emit(ROWS, BYTES, out);
        Ok(!self.queue.is_empty())
    }

    fn snapshot(&mut self) -> Result<Option<Vec<u8>>> {
        let is_empty = self.counts.is_empty() && self.queue.is_empty();
        if is_empty && !self.saved {
            return Ok(None);
        }
        self.saved = !is_empty;
        Ok(Some(state::write(&self.queue, &self.counts.sorted())))
    }

    fn restore(&mut self, version: u32, state: &[u8]) -> Result<()> {
        if version != 1 {
            return Err(format!("state of version {version} is not known here"));
        }
        let (queue, counts) = state::read(state)?;
        for count in &counts {
            self.counts.add(count.minute, &count.event_type, &count.device, count.events);
        }
        self.saved = !(queue.is_empty() && counts.is_empty());
        self.queue = queue.into();
        Ok(())
    }
}

impl ActivityPerMinute {
    fn with_limit(limit: usize) -> Self {
        let (counts, queue) = (Counts::default(), VecDeque::new());
        ActivityPerMinute { counts, queue, limit, added: (0, 0), saved: false }
    }

    /// Hands out the head of the queue: at least one row, if there is any.
    fn emit(&mut self, rows: usize, bytes: usize, out: &mut UserActivity) {
        let mut emitted = 0;
        for _ in 0..rows {
            if emitted >= bytes {
                break;
            }
            let Some(count) = self.queue.pop_front() else { break };
            emitted += count.bytes();
            out.emit(Increment {
                window_start: count.minute,
                event_type: count.event_type.as_ref().into(),
                device: count.device.as_ref().into(),
                events: count.events,
            });
        }
    }
}

tidemill_sdk::transform!(ActivityPerMinute);

#[cfg(test)]
mod tests;
