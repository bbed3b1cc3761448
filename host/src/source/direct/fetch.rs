//! The request Fetch, and its answer, which is read piece by piece: records go from the socket into memory of their own,
//! not by way of a buffer for the whole answer, which would stay for as long as the slowest of its partitions is read.
//! Versions 4 to 12 (<https://kafka.apache.org/protocol#The_Messages_Fetch>); from 13 on topics have no names.

use std::io::{self, Read, Take};
use std::ops::RangeInclusive;
use std::time::Duration;

use kafka_protocol::messages::TopicName;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchRequest, FetchTopic};
use kafka_protocol::protocol::StrBytes;

use super::connection::{Connection, skip_tags, varint};
use super::limits::Limits;
use super::records::Aborted;
use crate::Result;

const VERSIONS: RangeInclusive<i16> = 4..=12;
/// From here on an answer has its own error, …
const OWN_ERROR: i16 = 7;
/// … partitions say where their log begins, …
const LOG_START: i16 = 5;
/// … and from which other broker to fetch, …
const REPLICA: i16 = 11;
/// … and lengths are numbers of any size, with tags behind all that may have more some day.
const FLEXIBLE: i16 = 12;

/// What is asked of a partition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) partition: i32,
    pub(super) offset: i64,
    /// The leader's epoch, so that one who is not the leader any more does not answer.
    pub(super) epoch: i32,
    /// Bytes, more or less.
    pub(super) most: usize,
}

/// What a broker answered of a partition.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Answered {
    pub(super) partition: i32,
    /// Kafka's code; 0: none.
    pub(super) error: i16,
    pub(super) aborted: Vec<Aborted>,
    pub(super) records: Vec<u8>,
}

/// Asks a broker, and shows what it answers of each partition as soon as it is there. Gives back how long the broker
/// wants not to be asked again.
pub(super) fn fetch(
    connection: &mut Connection,
    topic: &str,
    limits: &Limits,
    asked: &[Asked],
    mut each: impl FnMut(Answered),
) -> Result<Duration> {
    let version = connection.version::<FetchRequest>(VERSIONS)?;
    connection.send(version, &request(topic, limits, asked))?;
    let most = asked.iter().map(|asked| asked.most).max().unwrap_or_default();
    let mut answer = connection.answer::<FetchRequest>(version)?;
    let read = Wire { from: &mut answer, flexible: version >= FLEXIBLE, most }.answer(version, &mut each);
    let left = answer.limit();
    read.and_then(|pause| if left == 0 { Ok(pause) } else { Err(wrong("bytes behind its end")) })
        .map_err(|e| connection.failed(&e))
}

fn request(topic: &str, limits: &Limits, asked: &[Asked]) -> FetchRequest {
    let size = |bytes: usize| i32::try_from(bytes).unwrap_or(i32::MAX);
    let partitions = asked.iter().map(|asked| {
        FetchPartition::default()
            .with_partition(asked.partition)
            .with_fetch_offset(asked.offset)
            .with_current_leader_epoch(asked.epoch)
            .with_partition_max_bytes(size(asked.most))
    });
    let topic = FetchTopic::default()
        .with_topic(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partitions(partitions.collect());
    FetchRequest::default()
        .with_max_wait_ms(limits.wait_ms)
        .with_min_bytes(limits.least)
        .with_max_bytes(size(limits.most))
        .with_isolation_level(i8::from(limits.committed))
        // No session: each request names all that it wants.
        .with_session_id(0)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

/// Reads an answer. No length is believed that goes beyond its end.
struct Wire<'a, R> {
    from: &'a mut Take<R>,
    flexible: bool,
    /// Bytes that were asked for of a partition.
    most: usize,
}

impl<R: Read> Wire<'_, R> {
    fn answer(&mut self, version: i16, each: &mut impl FnMut(Answered)) -> io::Result<Duration> {
        let throttled = self.i32()?;
        let error = if version >= OWN_ERROR { self.i16()? } else { 0 };
        if version >= OWN_ERROR {
            self.i32()?;
        }
        if error != 0 {
            return Err(wrong(&super::named(error)));
        }
        for _ in 0..self.count()? {
            let name = if self.flexible { self.count()? } else { usize::try_from(self.i16()?).unwrap_or(0) };
            self.skip(name)?;
            for _ in 0..self.count()? {
                each(self.partition(version)?);
            }
            self.tags()?;
        }
        self.tags()?;
        Ok(Duration::from_millis(u64::try_from(throttled).unwrap_or(0)))
    }

    fn partition(&mut self, version: i16) -> io::Result<Answered> {
        let (partition, error) = (self.i32()?, self.i16()?);
        // The high watermark and the last stable offset: a reader of what is committed is sent nothing beyond.
        self.skip(16)?;
        if version >= LOG_START {
            self.skip(8)?;
        }
        let mut aborted = Vec::new();
        for _ in 0..self.count()? {
            let (producer, first) = (self.i64()?, self.i64()?);
            aborted.push(Aborted { first, producer });
            self.tags()?;
        }
        if version >= REPLICA {
            self.skip(4)?;
        }
        let length = self.count()?;
        // As much as was asked for; what is more has to come first.
        let mut records = Vec::with_capacity(length.min(self.most));
        self.from.by_ref().take(length as u64).read_to_end(&mut records)?;
        if records.len() < length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.tags()?;
        Ok(Answered { partition, error, aborted, records })
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.from.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    fn i16(&mut self) -> io::Result<i16> {
        self.bytes().map(i16::from_be_bytes)
    }

    fn i32(&mut self) -> io::Result<i32> {
        self.bytes().map(i32::from_be_bytes)
    }

    fn i64(&mut self) -> io::Result<i64> {
        self.bytes().map(i64::from_be_bytes)
    }

    /// How many things follow, or bytes that are no text; null: none. Things have a byte each at the least, so so many
    /// bytes must be there.
    fn count(&mut self) -> io::Result<usize> {
        let count = match self.flexible {
            true => i64::from(varint(self.from)?) - 1,
            false => self.i32()?.into(),
        };
        match u64::try_from(count) {
            Err(_) => Ok(0),
            Ok(count) if count > self.from.limit() => Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => usize::try_from(count).map_err(|_| wrong("a length beyond all memory")),
        }
    }

    fn skip(&mut self, bytes: usize) -> io::Result<()> {
        let skipped = io::copy(&mut self.from.by_ref().take(bytes as u64), &mut io::sink())?;
        if skipped == bytes as u64 { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
    }

    /// Passes over what later versions may have added.
    fn tags(&mut self) -> io::Result<()> {
        if self.flexible { skip_tags(self.from) } else { Ok(()) }
    }
}

fn wrong(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
#[path = "fetch_tests.rs"]
mod tests;
