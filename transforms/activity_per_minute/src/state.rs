//! The state as bytes, version 1: the queue, then the counters.
//!
//! Each is its length (u32) and its counts: minute (i64), events (i64), the lengths of event type and device (u32 each),
//! and both texts. Integers are little-endian.

use std::collections::VecDeque;

use tidemill_sdk::{Result, Timestamp};

use crate::counts::Count;

/// Queue and counters as bytes.
pub(crate) fn write(queue: &VecDeque<Count>, counts: &[Count]) -> Vec<u8> {
    let mut bytes = Vec::new();
    length(&mut bytes, queue.len());
    queue.iter().for_each(|one| count(&mut bytes, one));
    length(&mut bytes, counts.len());
    counts.iter().for_each(|one| count(&mut bytes, one));
    bytes
}

fn length(bytes: &mut Vec<u8>, length: usize) {
    let length = u32::try_from(length).expect("state is bounded far below 4 GiB");
    bytes.extend_from_slice(&length.to_le_bytes());
}

fn count(bytes: &mut Vec<u8>, count: &Count) {
    bytes.extend_from_slice(&count.minute.0.to_le_bytes());
    bytes.extend_from_slice(&count.events.to_le_bytes());
    length(bytes, count.event_type.len());
    length(bytes, count.device.len());
    bytes.extend_from_slice(count.event_type.as_bytes());
    bytes.extend_from_slice(count.device.as_bytes());
}

/// Queue and counters from bytes.
pub(crate) fn read(bytes: &[u8]) -> Result<(Vec<Count>, Vec<Count>)> {
    let mut reader = Reader(bytes);
    let state = (|| Some((reader.counts()?, reader.counts()?)))();
    state.filter(|_| reader.0.is_empty()).ok_or_else(|| "the state is damaged".into())
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn counts(&mut self) -> Option<Vec<Count>> {
        // Collected one by one: a wrong length must not allocate.
        (0..self.u32()?).map(|_| self.count()).collect()
    }

    fn count(&mut self) -> Option<Count> {
        let (minute, events) = (Timestamp(self.i64()?), self.i64()?);
        let (event_type, device) = (self.u32()?, self.u32()?);
        Some(Count { minute, event_type: self.text(event_type)?, device: self.text(device)?, events })
    }

    fn u32(&mut self) -> Option<u32> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(u32::from_le_bytes(*head))
    }

    fn i64(&mut self) -> Option<i64> {
        let (head, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(i64::from_le_bytes(*head))
    }

    fn text(&mut self, length: u32) -> Option<Box<str>> {
        let (head, rest) = self.0.split_at_checked(length as usize)?;
        self.0 = rest;
        std::str::from_utf8(head).ok().map(Into::into)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let count = |minute, event_type: &str, events| Count {
            minute: Timestamp(minute),
            event_type: event_type.into(),
            device: "".into(),
            events,
        };
        let (queue, counts) = (vec![count(-60, "ä", 1)], vec![count(0, "", i64::MAX), count(60, "click", 2)]);
        let bytes = write(&queue.clone().into(), &counts);
        assert_eq!(read(&bytes), Ok((queue, counts)));
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_err(), "{end}");
        }
        assert!(read(&[&bytes[..], &[0]].concat()).is_err());
        assert!(read(&[0xff; 64]).is_err());
        assert_eq!(read(&[0; 8]), Ok((vec![], vec![])));
    }
}
