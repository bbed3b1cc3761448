//! Batches of records as brokers keep and send them: Kafka's message format 2
//! (<https://kafka.apache.org/documentation/#recordbatch>), read into a collector record by record.
//!
//! A [`Chunk`] is what a broker sent of a partition, a [`Reader`] reads one after the other. Neither believes a length
//! before it has looked whether so much is there. Records of aborted transactions and the markers that end transactions
//! are passed over, as the Java client does.

use std::collections::BTreeSet;

use super::super::collect::{Collector, Event};
use super::unpack::Unpacker;
use crate::{Error, Result};

/// Bytes of a batch before its records.
const HEADER: usize = 61;
/// Bytes before those that a batch's length counts.
const BEFORE: usize = 12;
/// Bytes that every format has before its records.
const SHORTEST: usize = 17;

/// A transaction that came to nothing: who wrote it, and where it begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Aborted {
    pub(super) first: i64,
    pub(super) producer: i64,
}

/// What a broker sent of a partition: whole batches.
pub(super) struct Chunk {
    bytes: Vec<u8>,
    aborted: Vec<Aborted>,
    next: i64,
}

impl Chunk {
    /// What a broker sent for who asked from an offset on; its last batch may be cut off, which is no fault. None: not
    /// even one is whole.
    pub(super) fn new(mut bytes: Vec<u8>, mut aborted: Vec<Aborted>) -> Option<Chunk> {
        let (mut whole, mut next) = (0, None);
        while let Some(batch) = Batch::at(&bytes[whole..]) {
            next = next.max(Some(batch.next()));
            whole += batch.length;
        }
        bytes.truncate(whole);
        aborted.sort_unstable();
        Some(Chunk { bytes, aborted, next: next? })
    }

    /// The offset after its last one.
    pub(super) fn next(&self) -> i64 {
        self.next
    }

    /// Bytes of memory.
    pub(super) fn size(&self) -> usize {
        self.bytes.capacity() + self.aborted.capacity() * size_of::<Aborted>()
    }
}

/// A batch's header.
#[derive(Clone, Copy, Debug, Default)]
struct Batch {
    /// Bytes of the whole batch.
    length: usize,
    offset: i64,
    magic: i8,
    crc: u32,
    attributes: i16,
    last: i32,
    time: i64,
    latest: i64,
    producer: i64,
    records: i32,
}

impl Batch {
    /// None: there is no whole batch here.
    fn at(bytes: &[u8]) -> Option<Batch> {
        let length = usize::try_from(i32::from_be_bytes(array(bytes, 8)?)).ok()?.checked_add(BEFORE)?;
        if length < SHORTEST || bytes.len() < length {
            return None;
        }
        let (offset, [magic]) = (i64::from_be_bytes(array(bytes, 0)?), array(bytes, 16)?);
        let magic = i8::from_be_bytes([magic]);
        let known = Batch { length, offset, magic, ..Batch::default() };
        if magic != 2 || length < HEADER {
            return Some(known);
        }
        Some(Batch {
            crc: u32::from_be_bytes(array(bytes, 17)?),
            attributes: i16::from_be_bytes(array(bytes, 21)?),
            last: i32::from_be_bytes(array(bytes, 23)?),
            time: i64::from_be_bytes(array(bytes, 27)?),
            latest: i64::from_be_bytes(array(bytes, 35)?),
            producer: i64::from_be_bytes(array(bytes, 43)?),
            records: i32::from_be_bytes(array(bytes, 57)?),
            ..known
        })
    }

    /// The offset after its last one; what a compaction took is counted.
    fn next(&self) -> i64 {
        self.offset.saturating_add(i64::from(self.last)).saturating_add(1)
    }

    fn codec(&self) -> i16 {
        self.attributes & 7
    }

    /// The time of all its records, if the broker has set it.
    fn appended(&self) -> Option<i64> {
        (self.attributes & 8 != 0).then_some(self.latest)
    }

    fn transactional(&self) -> bool {
        self.attributes & 16 != 0
    }

    fn control(&self) -> bool {
        self.attributes & 32 != 0
    }
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

/// What is wrong with a chunk.
#[derive(Debug)]
pub(super) enum Fault {
    /// It is not what the broker keeps, perhaps: to be fetched again.
    Corrupt(String),
    /// There is no way to read it here.
    Foreign(Error),
}

/// Reads chunks into a collector.
#[derive(Default)]
pub(super) struct Reader {
    chunk: Option<Chunk>,
    /// Where its next batch begins.
    at: usize,
    /// How many of its aborted transactions have begun, and those that have not ended.
    begun: usize,
    open: BTreeSet<i64>,
    batch: Option<Reading>,
    unpacker: Unpacker,
}

/// A batch that is being read.
struct Reading {
    batch: Batch,
    /// Its records are in the unpacker.
    packed: bool,
    /// Otherwise here in the chunk; the next record begins at the one and all end at the other.
    at: usize,
    end: usize,
    left: i32,
}

impl Reader {
    /// Begins with a chunk; what was left of another is dropped.
    pub(super) fn begin(&mut self, chunk: Chunk) {
        self.clear();
        self.chunk = Some(chunk);
    }

    /// Drops what is left.
    pub(super) fn clear(&mut self) {
        (self.chunk, self.at, self.begun, self.batch) = (None, 0, 0, None);
        self.open.clear();
        self.unpacker.clear();
    }

    /// Whether there is nothing left.
    pub(super) fn is_empty(&self) -> bool {
        self.chunk.is_none()
    }

    /// Reads on until the collector is full. What was read is dropped.
    pub(super) fn read(&mut self, into: &mut Collector) -> Result<(), Fault> {
        while !into.full() {
            if self.batch.is_none() && !self.next_batch()? {
                self.clear();
                return Ok(());
            }
            let (Some(chunk), Some(reading)) = (&self.chunk, &mut self.batch) else { return Ok(()) };
            let bytes = if reading.packed { self.unpacker.bytes() } else { &chunk.bytes[..] };
            let bytes = &bytes[..reading.end];
            while reading.left > 0 && !into.full() {
                let record = Record::read(bytes, &mut reading.at, &reading.batch);
                let record = record.ok_or_else(|| {
                    corrupt(&reading.batch, "has a record that is cut off, or of another batch")
                })?;
                into.push(&record);
                reading.left -= 1;
            }
            if reading.left == 0 {
                self.batch = None;
            }
        }
        Ok(())
    }

    /// Goes to the next batch with records for us. False: there is none.
    fn next_batch(&mut self) -> Result<bool, Fault> {
        let Some(chunk) = &self.chunk else { return Ok(false) };
        loop {
            let bytes = &chunk.bytes[self.at..];
            let Some(batch) = Batch::at(bytes) else { return Ok(false) };
            let bytes = &bytes[..batch.length];
            if batch.magic != 2 {
                return Err(foreign(&batch, &format!("is of message format {}, not 2", batch.magic)));
            }
            let Some(records) = bytes.get(HEADER..) else {
                return Err(corrupt(&batch, "is shorter than a batch can be"));
            };
            if crc32c::crc32c(&bytes[21..]) != batch.crc {
                return Err(corrupt(&batch, "does not match its checksum"));
            }
            if batch.last < 0 || batch.records < 0 || batch.offset < 0 || batch.next() == i64::MAX {
                return Err(corrupt(&batch, "counts less than no records"));
            }
            let start = self.at + HEADER;
            self.at += batch.length;
            while let Some(aborted) = chunk.aborted.get(self.begun).filter(|a| a.first < batch.next()) {
                self.open.insert(aborted.producer);
                self.begun += 1;
            }
            if batch.control() {
                if aborts(records) {
                    self.open.remove(&batch.producer);
                }
                continue;
            }
            if batch.records == 0 || (batch.transactional() && self.open.contains(&batch.producer)) {
                continue;
            }
            let packed = batch.codec() != 0;
            let (at, end) = match packed {
                false => (start, start + records.len()),
                true => {
                    self.unpacker.unpack(batch.codec(), records).map_err(|fault| match fault {
                        Fault::Corrupt(why) => corrupt(&batch, &why),
                        Fault::Foreign(why) => foreign(&batch, &why.to_string()),
                    })?;
                    (0, self.unpacker.bytes().len())
                }
            };
            self.batch = Some(Reading { batch, packed, at, end, left: batch.records });
            return Ok(true);
        }
    }
}

/// Whether a control batch ends a transaction that came to nothing: its only record's key is a version and a type.
fn aborts(records: &[u8]) -> bool {
    let record = Record::read(records, &mut 0, &Batch::default());
    record.and_then(|record| array::<2>(record.key?, 2)).is_some_and(|kind| i16::from_be_bytes(kind) == 0)
}

fn corrupt(batch: &Batch, why: &str) -> Fault {
    Fault::Corrupt(format!("the batch at offset {} {why}", batch.offset))
}

fn foreign(batch: &Batch, why: &str) -> Fault {
    let offset = batch.offset;
    Fault::Foreign(Error::stop(format!(
        "the batch at offset {offset} {why}; `fetch = \"librdkafka\"` reads it"
    )))
}

/// A record of a batch.
pub(super) struct Record<'a> {
    offset: i64,
    time: i64,
    key: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    /// How many headers there are, and their bytes.
    headers: (i64, &'a [u8]),
}

impl<'a> Record<'a> {
    /// The record at a place, which moves behind it. None: it is not whole.
    #[inline]
    fn read(bytes: &'a [u8], at: &mut usize, batch: &Batch) -> Option<Record<'a>> {
        let length = usize::try_from(varint(bytes, at)?).ok()?;
        let record = bytes.get(*at..at.checked_add(length)?)?;
        *at += length;
        // Its attributes are of no use so far.
        let at = &mut 1;
        let time = varint(record, at)?;
        let time = batch.appended().unwrap_or_else(|| batch.time.saturating_add(time));
        let number = varint(record, at)?;
        if !(0..=i64::from(batch.last)).contains(&number) {
            return None;
        }
        let offset = batch.offset.saturating_add(number);
        let (key, value) = (field(record, at)?, field(record, at)?);
        let headers = (varint(record, at)?, record.get(*at..)?);
        Some(Record { offset, time, key, value, headers })
    }
}

impl Event for Record<'_> {
    fn offset(&self) -> i64 {
        self.offset
    }

    fn time(&self) -> Option<i64> {
        Some(self.time).filter(|time| *time >= 0)
    }

    fn key(&self) -> Option<&[u8]> {
        self.key
    }

    fn value(&self) -> Option<&[u8]> {
        self.value
    }

    fn headers(&self, mut each: impl FnMut(&[u8], Option<&[u8]>)) {
        let ((count, bytes), at) = (self.headers, &mut 0);
        for _ in 0..count {
            // One that is cut off cannot be: the batch has its checksum.
            let Some(Some(name)) = field(bytes, at) else { return };
            let Some(value) = field(bytes, at) else { return };
            each(name, value);
        }
    }
}

/// Bytes behind their length; a negative one is null.
#[inline]
fn field<'a>(bytes: &'a [u8], at: &mut usize) -> Option<Option<&'a [u8]>> {
    let Ok(length) = usize::try_from(varint(bytes, at)?) else { return Some(None) };
    let found = bytes.get(*at..at.checked_add(length)?)?;
    *at += length;
    Some(Some(found))
}

/// A number in zigzag, seven bits a byte, the lowest first.
#[inline]
fn varint(bytes: &[u8], at: &mut usize) -> Option<i64> {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Some((value >> 1).cast_signed() ^ -((value & 1).cast_signed()));
        }
        shift += 7;
        if shift > 63 {
            return None;
        }
    }
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
