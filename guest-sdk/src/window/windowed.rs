//! An aggregation as a transform: when groups close, what waits, what is handed out.
//!
//! Everything is decided by rows, in their order: a row's own watermark closes windows before the row is added, and says
//! whether it is late. What is closed waits in a queue; batches and flushes only decide when it is handed out.

use std::collections::VecDeque;
use std::time::Duration;

use super::aggregation::{Aggregation, Emitted, KeyRef, Late};
use super::groups::{Group, Groups};
use super::kinds::{Near, Window, Windows};
use super::mode::Mode;
use super::state::{Open, Ready, State, begin, write_open};
use crate::{Config, Key, Reject, Result, Stored, Timestamp, Transform};

/// Rows that one call hands out, so that no call is long.
const ROWS: usize = 8192;
/// Bytes of rows that one call hands out, well within the megabyte that a host grants to any call.
const BYTES: usize = 512 << 10;
/// What a row costs besides its texts.
const ROW: usize = 64;
/// Sizes from which on exact sets become sketches when memory is short, one after the other. Smaller ones would save
/// little.
const SHRINK: [usize; 4] = [2048, 1024, 512, 256];

/// The [`Transform`] of an [`Aggregation`].
#[derive(Debug)]
pub struct Windowed<A: Aggregation> {
    aggregation: A,
    windows: A::Windows,
    /// Those of the row before.
    near: Near,
    groups: Groups<A::Key, A::Value>,
    /// What waits to be handed out.
    queue: VecDeque<Ready<A::Key, Emitted<A>>>,
    /// The latest of all watermarks seen; later still, if memory was short. Windows that end up to here are closed.
    watermark: Timestamp,
    late: Late,
    /// Bytes of groups beyond which room is made.
    memory: usize,
    /// The rows and bytes that came in this batch: as much more may be handed out after it, so that the queue cannot
    /// grow forever.
    added: (usize, usize),
    /// Whether anything is not as the last snapshot or restore had it, and whether that had anything.
    changed: bool,
    saved: bool,
    /// Whether it was said that memory is short.
    warned: bool,
}

impl<A: Aggregation> Transform for Windowed<A> {
    const NAME: &'static str = A::NAME;
    const VERSION: &'static str = A::VERSION;
    const STATE_VERSION: Option<u32> = Some(A::STATE_VERSION);
    const LATENESS: Option<Duration> = A::LATENESS;
    type Row<'a> = A::Row<'a>;
    type Out = A::Out;

    fn open(config: &mut Config) -> Result<Self> {
        let late = if Self::CLOSES { config.get_or("late", A::LATE)? } else { A::LATE };
        let memory = config.get::<usize>("memory_mib")?.map_or(A::MEMORY, |mib| mib.saturating_mul(1 << 20));
        let aggregation = A::open(config)?;
        let windows = aggregation.windows();
        Ok(Windowed {
            aggregation,
            windows,
            near: Near::default(),
            groups: Groups::new(Self::CLOSES.then(|| windows.gap())),
            queue: VecDeque::new(),
            watermark: Timestamp::MIN,
            late,
            memory,
            added: (0, 0),
            changed: false,
            saved: false,
            warned: false,
        })
    }

    // Else each row is written to memory and read again.
    #[inline(always)]
    fn row(&mut self, row: A::Row<'_>, _: &mut A::Out) -> Result<(), Reject> {
        if Self::CLOSES {
            self.advance(self.aggregation.watermark(&row));
        }
        if !self.aggregation.accept(&row)? {
            return Ok(());
        }
        let (time, key) = (self.aggregation.time(&row), self.aggregation.key(&row));
        if A::Windows::SESSIONS { self.add_to_session(time, key, &row) } else { self.add(time, key, &row) }?;
        self.changed = true;
        if self.groups.bytes() > self.memory {
            self.make_room();
        }
        Ok(())
    }

    fn after_batch(&mut self, out: &mut A::Out) -> Result<()> {
        let (rows, bytes) = std::mem::take(&mut self.added);
        self.hand_out(ROWS + rows, BYTES + bytes, out);
        Ok(())
    }

    fn flush(&mut self, watermark: Option<Timestamp>, out: &mut A::Out) -> Result<bool> {
        // If it closes nothing, it leaves no trace: the next rows bring watermarks of their own.
        if let Some(watermark) = watermark.filter(|_| Self::CLOSES)
            && self.groups.first_due().is_some_and(|due| due <= watermark)
        {
            self.advance(watermark);
        }
        if !Self::CLOSES {
            self.take_all();
        } else if <A::Mode as Mode<A::Value, A::Windows>>::INCREMENTS {
            let (queue, any) = (&mut self.queue, &mut self.changed);
            self.groups.changed(|group| {
                let (key, value) = (group.key.clone(), A::Mode::emit(&mut group.value));
                queue.push_back(Ready { window: group.window, key, value });
                *any = true;
            });
        }
        self.hand_out(ROWS, BYTES, out);
        Ok(!self.queue.is_empty())
    }

    fn snapshot(&mut self) -> Result<Option<Vec<u8>>> {
        let any = self.holds_any();
        if !std::mem::take(&mut self.changed) || !(any || self.saved) {
            return Ok(None);
        }
        self.saved = any;
        self.groups.settle(self.memory);
        let mut bytes = begin(self.windows.shape(), self.watermark);
        (self.groups.len() as u64).write(&mut bytes);
        self.groups.sorted(|Group { window, key, value, changed, .. }| {
            write_open(*window, key, value, *changed, &mut bytes);
        });
        (self.queue.len() as u64).write(&mut bytes);
        self.queue.iter().for_each(|ready| ready.write(&mut bytes));
        Ok(Some(bytes))
    }

    fn restore(&mut self, version: u32, state: &[u8]) -> Result<()> {
        let state = if version == A::STATE_VERSION {
            State::decode(state)?
        } else {
            self.aggregation.migrate(version, state)?
        };
        state.check(&self.windows)?;
        for Open { window, key, value, changed } in state.open {
            self.groups.restore(window, key, value, changed, A::Windows::SESSIONS);
        }
        self.queue = state.ready.into();
        self.watermark = state.watermark;
        self.saved = self.holds_any();
        Ok(())
    }
}

impl<A: Aggregation> Windowed<A> {
    const CLOSES: bool = <A::Mode as Mode<A::Value, A::Windows>>::CLOSES;

    /// Whether its state says anything that a new instance does not know.
    fn holds_any(&self) -> bool {
        !self.groups.is_empty() || !self.queue.is_empty() || self.watermark != Timestamp::MIN
    }

    /// Goes on to a watermark, if it is a later one: windows that end up to it are closed.
    #[inline]
    fn advance(&mut self, watermark: Timestamp) {
        if watermark > self.watermark {
            self.watermark = watermark;
            self.changed = true;
            if self.groups.is_due(watermark) {
                self.close();
            }
        }
    }

    fn close(&mut self) {
        let increments = <A::Mode as Mode<A::Value, A::Windows>>::INCREMENTS;
        let queue = &mut self.queue;
        self.groups.close(self.watermark, |group| {
            // What was handed out in full already, needs no more.
            if group.changed || !increments {
                queue.push_back(ready::<A>(group));
            }
        });
    }

    /// All groups wait to be handed out: they are forgotten.
    fn take_all(&mut self) {
        let queue = &mut self.queue;
        self.groups.take(|group| queue.push_back(ready::<A>(group)));
    }

    /// Adds a row to its fixed windows.
    #[inline(always)]
    fn add(&mut self, time: Timestamp, key: KeyRef<'_, A>, row: &A::Row<'_>) -> Result<(), Reject> {
        let watermark = self.watermark;
        let closed = |window: Window| Self::CLOSES && window.end <= watermark;
        let mut windows = self.windows.of_time(time, &mut self.near).peekable();
        // What ends last comes first: if this one is closed, all are.
        let is_late = windows.peek().is_some_and(|window| closed(*window));
        if is_late && self.late == Late::Reject {
            return Err("late".into());
        }
        for window in windows {
            if !closed(window) {
                let bytes = self.groups.add(window, key, |value| self.aggregation.add_in(window, value, row));
                self.added = (self.added.0 + usize::from(bytes > 0), self.added.1 + bytes);
            } else if self.late == Late::Correct {
                correct(&self.aggregation, window, key, *row, &mut self.queue, &mut self.added);
            }
        }
        Ok(())
    }

    /// Adds a row to its session.
    fn add_to_session(
        &mut self,
        time: Timestamp,
        key: KeyRef<'_, A>,
        row: &A::Row<'_>,
    ) -> Result<(), Reject> {
        let is_late = time.0.saturating_add(self.windows.gap()) <= self.watermark.0;
        let window = Window { start: time, end: time };
        let add = |value: &mut A::Value| self.aggregation.add_in(window, value, row);
        match self.groups.add_to_session(time, key, !is_late, add) {
            Some(bytes) => self.added = (self.added.0 + usize::from(bytes > 0), self.added.1 + bytes),
            None if self.late == Late::Reject => return Err("late".into()),
            None => correct(&self.aggregation, window, key, *row, &mut self.queue, &mut self.added),
        }
        Ok(())
    }

    /// Memory is short, or seems to be. A little more room is made than is needed, so that this does not come with every row.
    #[cold]
    fn make_room(&mut self) {
        self.groups.settle(self.memory);
        if self.groups.bytes() <= self.memory {
            return;
        }
        if !Self::CLOSES {
            return self.take_all();
        }
        let goal = self.memory - self.memory / 8;
        for least in SHRINK {
            self.groups.shrink(least);
            if self.groups.bytes() <= goal {
                return;
            }
        }
        while self.groups.bytes() > goal
            && let Some(due) = self.groups.first_due()
        {
            self.watermark = self.watermark.max(due);
            self.close();
        }
        if !std::mem::replace(&mut self.warned, true) {
            let (name, most) = (A::NAME, self.memory);
            crate::log::warn(&format!(
                "{name}: more than {most} bytes of open windows: the oldest are closed early"
            ));
        }
    }

    /// Hands out the head of the queue: at least one row, if there is any.
    fn hand_out(&mut self, rows: usize, bytes: usize, out: &mut A::Out) {
        let mut emitted = 0;
        for _ in 0..rows {
            if emitted >= bytes {
                break;
            }
            let Some(ready) = self.queue.pop_front() else { break };
            emitted += weight::<A>(&ready);
            self.changed = true;
            self.aggregation.emit(ready.window, ready.key.view(), ready.value, out);
        }
    }
}

fn ready<A: Aggregation>(mut group: Group<A::Key, A::Value>) -> Ready<A::Key, Emitted<A>> {
    Ready { window: group.window, value: A::Mode::emit(&mut group.value), key: group.key }
}

/// Hands out a late row as a group of its own: not with other late ones, for which of them come before the next flush is
/// chance.
#[cold]
#[inline(never)]
fn correct<A: Aggregation>(
    aggregation: &A,
    window: Window,
    key: KeyRef<'_, A>,
    row: A::Row<'_>,
    queue: &mut VecDeque<Ready<A::Key, Emitted<A>>>,
    added: &mut (usize, usize),
) {
    let mut value = A::Value::default();
    aggregation.add_in(window, &mut value, &row);
    let ready = Ready { window, key: A::Key::own(key), value: A::Mode::emit(&mut value) };
    *added = (added.0 + 1, added.1 + weight::<A>(&ready));
    queue.push_back(ready);
}

fn weight<A: Aggregation>(ready: &Ready<A::Key, Emitted<A>>) -> usize {
    ROW + ready.key.heap() + A::Mode::heap(&ready.value)
}
