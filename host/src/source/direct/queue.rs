//! The messages of one partition, for its lane.

use std::time::Duration;

use super::super::collect::Collector;
use super::super::group::Polled;
use super::Complaints;
use super::fetcher::Feed;
use super::records::{Fault, Reader};
use super::shared::Found;
use crate::{Error, Result};

/// A fault that comes so often in a row is none of the way.
const OFTEN: u32 = 3;

/// Reads what is fetched of one partition.
pub(in super::super) struct Queue {
    feed: Feed,
    reader: Reader,
    /// The turn that the reader's chunk is of.
    turn: u64,
    /// Faults in a row.
    faults: u32,
    complaints: Complaints,
}

impl Queue {
    pub(in super::super) fn new(feed: Feed) -> Queue {
        Queue { feed, reader: Reader::default(), turn: 0, faults: 0, complaints: Complaints::default() }
    }

    /// Takes the partition back to an offset.
    pub(in super::super) fn seek(&mut self, offset: i64) {
        self.reader.clear();
        self.feed.seek(offset);
    }

    /// Puts what is there into the collector, up to where it is full; waits if there is nothing.
    pub(in super::super) fn poll(&mut self, wait: Duration, into: &mut Collector) -> Result<Polled> {
        let before = into.position();
        loop {
            // What is left may be of before a seek, or of a partition that is another's by now.
            if !self.reader.is_empty() && self.feed.turn() != Some(self.turn) {
                self.reader.clear();
            }
            if self.reader.is_empty() {
                let Some((turn, found)) = self.feed.next(wait) else { return Ok(Polled::Nothing) };
                self.turn = turn;
                match found {
                    Found::Gone => return Ok(Polled::Gone),
                    Found::Chunk(chunk) => self.reader.begin(chunk),
                }
                into.arrive();
            }
            let partition = self.feed.partition();
            match self.reader.read(into) {
                Ok(()) if into.position() > before || into.full() => {
                    self.faults = 0;
                    return Ok(Polled::Messages);
                }
                // A chunk may have nothing for us: markers, what was aborted, offsets before ours.
                Ok(()) => {}
                Err(Fault::Corrupt(why)) => {
                    self.reader.clear();
                    self.faults += 1;
                    let out = if self.faults < OFTEN { "" } else { "; `fetch = \"librdkafka\"` may read it" };
                    self.complaints
                        .say(|| format!("kafka: partition {partition}: {why}; it is fetched again{out}"));
                    self.feed.rest();
                    return Ok(Polled::Trouble);
                }
                Err(Fault::Foreign(e)) => {
                    return Err(Error::new(e.kind(), format!("partition {partition}: {e}")));
                }
            }
        }
    }
}
