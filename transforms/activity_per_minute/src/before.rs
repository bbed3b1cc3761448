//! State of version 1, of a time when only events were counted: what was counted and not handed out yet.
//!
//! Two lists, each its length (u32) and its counts: minute (i64), events (i64), the lengths of event type and device (u32
//! each), and both texts. Integers are little-endian.

use tidemill_sdk::stored::Input;
use tidemill_sdk::window::{Ready, State, StateOf, Window};
use tidemill_sdk::{Coded, Result, Timestamp};

use crate::ActivityPerMinute;

type Counted = Ready<(Coded, Coded), (i64, i64, i64)>;

/// The counts of both lists wait to be handed out. Nobody knows whose events they were: no user, no session.
pub(crate) fn migrate(state: &[u8]) -> Result<StateOf<ActivityPerMinute>> {
    let mut input = Input::new(state);
    let ready = counts(&mut input).filter(|_| input.rest().is_empty());
    Ok(State::new(Timestamp::MIN, vec![], ready.ok_or("the state of version 1 is damaged")?))
}

fn counts(input: &mut Input<'_>) -> Option<Vec<Counted>> {
    let mut counts = Vec::new();
    for _ in 0..2 {
        // One by one: a wrong length must not allocate.
        for _ in 0..number(input, 4)? {
            let (start, events) = (number(input, 8)?, number(input, 8)?);
            let (event_type, device) = (number(input, 4)?, number(input, 4)?);
            let key = (text(input, event_type)?.into(), text(input, device)?.into());
            let (start, end) = (Timestamp(start), Timestamp(start.checked_add(Timestamp::MINUTE)?));
            counts.push(Ready { window: Window { start, end }, key, value: (events, 0, 0) });
        }
    }
    Some(counts)
}

/// A number of so many bytes.
fn number(input: &mut Input<'_>, bytes: usize) -> Option<i64> {
    let mut number = [0; 8];
    number[..bytes].copy_from_slice(input.take(bytes)?);
    Some(i64::from_le_bytes(number))
}

fn text(input: &mut Input<'_>, length: i64) -> Option<String> {
    let bytes = input.take(usize::try_from(length).ok()?)?;
    std::str::from_utf8(bytes).ok().map(Into::into)
}
