//! State of version 1, of a time when only events were counted: what was counted and not handed out yet.
//!
//! Two lists, each its length (u32) and its counts: minute (i64), events (i64), the lengths of event type and device (u32
//! each), and both texts. Integers are little-endian.

use tidemill_sdk::window::{Ready, State, StateOf, Window};
use tidemill_sdk::{Result, Timestamp};

use crate::ActivityPerMinute;

type Counted = Ready<(String, String), (i64, i64, i64)>;

/// The counts of both lists wait to be handed out. Nobody knows whose events they were: no user, no session.
pub(crate) fn migrate(state: &[u8]) -> Result<StateOf<ActivityPerMinute>> {
    let mut reader = Reader(state);
    let counts = (|| Some([reader.counts()?, reader.counts()?].concat()))();
    let ready = counts.filter(|_| reader.0.is_empty()).ok_or("the state of version 1 is damaged")?;
    Ok(State::new(Timestamp::MIN, vec![], ready))
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn counts(&mut self) -> Option<Vec<Counted>> {
        // Collected one by one: a wrong length must not allocate.
        (0..self.u32()?).map(|_| self.count()).collect()
    }

    fn count(&mut self) -> Option<Counted> {
        let (minute, events) = (self.i64()?, self.i64()?);
        let (event_type, device) = (self.u32()?, self.u32()?);
        let key = (self.text(event_type)?, self.text(device)?);
        let (start, end) = (Timestamp(minute), Timestamp(minute.checked_add(Timestamp::MINUTE)?));
        Some(Ready { window: Window { start, end }, key, value: (events, 0, 0) })
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

    fn text(&mut self, length: u32) -> Option<String> {
        let (head, rest) = self.0.split_at_checked(length as usize)?;
        self.0 = rest;
        std::str::from_utf8(head).ok().map(Into::into)
    }
}
