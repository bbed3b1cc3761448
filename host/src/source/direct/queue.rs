//! The messages of one partition, for its lane.

use std::time::Duration;

use super::super::collect::Collector;
use super::super::group::Polled;
use super::Complaints;
use super::fetcher::{Feed, Found};
use super::records::{Fault, Reader};
use crate::{Error, Result};

/// Reads what is fetched of one partition.
pub(in super::super) struct Queue {
    feed: Feed,
    reader: Reader,
    /// The turn that the reader's chunk is of.
    turn: u64,
    complaints: Complaints,
}

impl Queue {
    pub(in super::super) fn new(feed: Feed) -> Queue {
        Queue { turn: feed.turn(), feed, reader: Reader::default(), complaints: Complaints::default() }
    }

    /// Puts what is there into the collector, up to where it is full; waits if there is nothing.
    pub(in super::super) fn poll(&mut self, wait: Duration, into: &mut Collector) -> Result<Polled> {
        let before = into.position();
        loop {
            // A seek came meanwhile: what is left is of before it.
            if !self.reader.is_empty() && self.feed.turn() != self.turn {
                self.reader.clear();
            }
            if self.reader.is_empty() {
                let (turn, found) = self.feed.next(wait);
                self.turn = turn;
                match found {
                    None => return Ok(Polled::Nothing),
                    Some(Found::Gone) => return Ok(Polled::Gone),
                    Some(Found::Chunk(chunk)) => self.reader.begin(chunk),
                }
                into.arrive();
            }
            match self.reader.read(into) {
                // A chunk may have nothing for us: markers, what was aborted, offsets before ours.
                Ok(()) if into.position() > before || into.full() => return Ok(Polled::Messages),
                Ok(()) => {}
                Err(Fault::Corrupt(why)) => {
                    self.reader.clear();
                    let partition = self.feed.partition();
                    self.complaints
                        .say(|| format!("kafka: partition {partition}: {why}; it is fetched again"));
                    self.feed.rest();
                    return Ok(Polled::Trouble);
                }
                Err(Fault::Foreign(e)) => {
                    return Err(Error::new(e.kind(), format!("partition {}: {e}", self.feed.partition())));
                }
            }
        }
    }
}
