//! What is read of sources on its way to the threads of a portion.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use arrow::array::{Array, AsArray, BooleanArray, Int64Array, TimestampMicrosecondArray};
use arrow::compute::filter;
use arrow::datatypes::DataType;
use crossbeam_channel::Sender;

use super::Bounds;
use super::lane::{Job, Load, Sent};
use crate::batch::Delivered;
use crate::commit::record::{Brought, Offsets, Source, partition};
use crate::past::{Chunk, File, Reader};
use crate::{Error, Result};

/// Rows `from..to` of a source that are to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Take {
    /// The place of the file among those of the run; of a partition its number.
    pub(super) at: usize,
    pub(super) source: Source,
    pub(super) name: String,
    /// The source's number, if its rows have no partition of their own.
    pub(super) number: Option<u32>,
    pub(super) from: i64,
    pub(super) to: i64,
}

/// What was read.
#[derive(Default)]
pub(super) struct Read {
    pub(super) parts: Vec<Brought>,
    /// Rows that the stream has brought.
    pub(super) skipped: u64,
    /// All that was to be read was.
    pub(super) whole: bool,
    /// Files that end before what was asked of them, with their ends.
    pub(super) short: Vec<(usize, i64)>,
}

/// What the stream brings by itself.
#[derive(Clone, Debug, Default)]
pub(super) struct Stream {
    /// The name of its topic.
    pub(super) topic: String,
    /// Where it begins in each partition.
    pub(super) starts: BTreeMap<i32, i64>,
}

/// The way to the threads.
#[derive(Clone)]
pub(super) struct Out {
    pub(super) threads: Vec<Sender<Sent>>,
    /// Each lane has its thread; otherwise each takes what comes.
    pub(super) chained: bool,
    next: usize,
}

impl Out {
    pub(super) fn new(threads: Vec<Sender<Sent>>, chained: bool) -> Out {
        Out { threads, chained, next: 0 }
    }

    pub(super) fn send(&mut self, job: Job) -> Result<()> {
        let thread = match self.chained {
            true => thread_of(&job.lane, self.threads.len()),
            false => {
                self.next = (self.next + 1) % self.threads.len();
                self.next
            }
        };
        // It says itself why it has ended.
        self.threads[thread].send(Sent::Job(Box::new(job))).map_err(|_| Error::abandon("a thread has ended"))
    }
}

/// The thread that a lane is worked on by: partitions take turns.
pub(super) fn thread_of(lane: &str, threads: usize) -> usize {
    let number = lane.rsplit_once('/').and_then(|(_, partition)| partition.parse::<i64>().ok());
    let threads = i64::try_from(threads).unwrap_or(1).max(1);
    usize::try_from(number.unwrap_or_default().rem_euclid(threads)).unwrap_or_default()
}

/// The lane of a partition's events.
pub(super) fn lane_of(topic: &str, partition: i32) -> String {
    format!("{topic}/{partition}")
}

/// Reads files.
pub(super) struct Feed<'a> {
    pub(super) files: &'a [File],
    /// What members must be, by name.
    pub(super) types: &'a BTreeMap<String, DataType>,
    /// A file that was read up to somewhere.
    pub(super) reader: &'a mut Option<(usize, Reader)>,
    pub(super) stream: &'a Stream,
    pub(super) bounds: &'a Bounds,
    pub(super) load: &'a Load,
    pub(super) out: Out,
    pub(super) rows: u64,
    pub(super) bytes: u64,
}

impl Feed<'_> {
    /// Reads up to a portion.
    pub(super) fn read(&mut self, takes: &[Take]) -> Result<Read> {
        let mut read = Read { whole: true, ..Read::default() };
        for take in takes {
            if self.full() {
                read.whole = false;
                break;
            }
            self.take(take, &mut read)?;
        }
        Ok(read)
    }

    fn full(&self) -> bool {
        self.rows >= self.bounds.rows
            || self.bytes >= self.bounds.bytes
            || self.load.files.load(Ordering::Relaxed) >= self.bounds.files
    }

    fn take(&mut self, take: &Take, read: &mut Read) -> Result<()> {
        let file = &self.files[take.at];
        let mut reader = match self.reader.take() {
            Some((at, reader)) if at == take.at && reader.at() <= take.from => reader,
            _ => Reader::open(file, self.types)?,
        };
        if !reader.go(take.from)? {
            read.short.push((take.at, reader.at()));
            return Ok(());
        }
        let mut part = Brought {
            source: take.source.clone(),
            name: take.name.clone(),
            number: take.number,
            from: take.from,
            to: take.from,
            ends: false,
            events: 0,
            offsets: vec![],
        };
        let mut offsets: BTreeMap<(String, i32), Offsets> = BTreeMap::new();
        while reader.at() < take.to && !self.full() {
            let most = i64::try_from(self.bounds.rows - self.rows).unwrap_or(i64::MAX);
            let Some(chunk) = reader.read(most.min(take.to - reader.at()))? else {
                part.ends = true;
                break;
            };
            part.to = chunk.to;
            self.rows += u64::try_from(chunk.to - chunk.from).unwrap_or_default();
            match reader.raw {
                true => self.raw(chunk, &mut part, &mut offsets, read)?,
                false => self.plain(chunk, &mut part)?,
            }
        }
        part.offsets = offsets.into_values().collect();
        read.whole &= part.ends || part.to == take.to;
        if part.to > part.from || part.ends {
            read.parts.push(part);
        }
        if reader.at() < take.to {
            *self.reader = Some((take.at, reader));
        }
        Ok(())
    }

    fn plain(&mut self, chunk: Chunk, part: &mut Brought) -> Result<()> {
        let number =
            part.number.ok_or_else(|| Error::stop(format!("{} has no number; this is a bug", part.name)))?;
        let row = |(row, why): (i64, String)| Some((u32::try_from(row - chunk.from).ok()?, why));
        let mut wrong: Vec<(u32, String)> = chunk.wrong.into_iter().filter_map(row).collect();
        for mut delivered in chunk.events {
            delivered.partition = partition(number);
            part.events += delivered.len() as u64;
            self.bytes += delivered.value.value_data().len() as u64;
            let wrong = std::mem::take(&mut wrong);
            self.out.send(Job { lane: "".into(), delivered, plain: true, wrong })?;
        }
        Ok(())
    }

    fn raw(
        &mut self,
        chunk: Chunk,
        part: &mut Brought,
        offsets: &mut BTreeMap<(String, i32), Offsets>,
        read: &mut Read,
    ) -> Result<()> {
        for delivered in chunk.events {
            let before = delivered.len() as u64;
            let Some(delivered) = self.history(delivered, &part.name)? else {
                read.skipped += before;
                continue;
            };
            let events = delivered.len() as u64;
            read.skipped += before - events;
            part.events += events;
            self.bytes += delivered.value.value_data().len() as u64;
            let key = (delivered.topic.to_string(), delivered.partition);
            let (from, to) = (delivered.from, delivered.to);
            let known = offsets.entry(key.clone()).or_insert_with(|| Offsets {
                topic: key.0,
                partition: key.1,
                from,
                to,
                events: 0,
            });
            (known.from, known.to) = (known.from.min(from), known.to.max(to));
            known.events += events;
            let lane = match self.out.chained {
                true => lane_of(&delivered.topic, delivered.partition).into(),
                false => "".into(),
            };
            self.out.send(Job { lane, delivered, plain: false, wrong: vec![] })?;
        }
        Ok(())
    }

    /// Events that do not come through the stream. None: all of them do.
    fn history(&self, delivered: Delivered, name: &str) -> Result<Option<Delivered>> {
        if *delivered.topic != self.stream.topic {
            return Ok(Some(delivered));
        }
        let partition = delivered.partition;
        let Some(start) = self.stream.starts.get(&partition).copied() else {
            return Err(Error::stop(format!(
                "{name} has events of partition {partition} of {}, which this lake has not begun with: whether they come \
                 through the stream is not known; let a host begin with it (tidemill run)",
                delivered.topic
            )));
        };
        if delivered.to <= start {
            return Ok(Some(delivered));
        }
        if delivered.from >= start {
            return Ok(None);
        }
        before(&delivered, start).map(Some)
    }
}

/// The events before an offset.
fn before(delivered: &Delivered, end: i64) -> Result<Delivered> {
    let keep: BooleanArray = delivered.offset.values().iter().map(|offset| Some(*offset < end)).collect();
    let some = |column: &dyn Array| {
        filter(column, &keep).map_err(|e| Error::stop(format!("events before offset {end}: {e}")))
    };
    let offset = Int64Array::from(some(&delivered.offset)?.to_data());
    let last = offset.values().iter().copied().max().unwrap_or(end - 1);
    Ok(Delivered {
        topic: delivered.topic.clone(),
        partition: delivered.partition,
        from: delivered.from,
        to: last.saturating_add(1),
        offset,
        timestamp: TimestampMicrosecondArray::from(some(&delivered.timestamp)?.to_data()),
        key: some(&delivered.key)?.as_binary::<i32>().clone(),
        value: some(&delivered.value)?.as_binary::<i32>().clone(),
        headers: some(&delivered.headers)?.as_list::<i32>().clone(),
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::BinaryArray;

    use super::*;
    use crate::table::no_headers;

    #[test]
    fn a_lane_keeps_its_thread() {
        assert_eq!((thread_of("", 4), thread_of("t/5", 4), thread_of("a/b/-1", 4)), (0, 1, 3));
    }

    #[test]
    fn what_the_stream_has_is_left_to_it() {
        let delivered = Delivered {
            topic: "t".into(),
            partition: 3,
            from: 5,
            to: 8,
            offset: Int64Array::from(vec![5, 7, 6]),
            timestamp: TimestampMicrosecondArray::from(vec![1, 2, 3]).with_timezone("UTC"),
            key: BinaryArray::new_null(3),
            value: BinaryArray::from_vec(vec![b"a", b"b", b"c"]),
            headers: no_headers(3),
        };
        let rest = before(&delivered, 7).unwrap();
        assert_eq!((rest.from, rest.to, rest.offset.values().to_vec()), (5, 7, vec![5, 6]));
        assert_eq!((rest.value.value(1), rest.timestamp.value(1), rest.len()), (&b"c"[..], 3, 2));
    }
}
