//! The state of an aggregation as bytes: sorted, so that the same state has the same bytes.
//!
//! A byte that tells the format, then, as [`Stored`] writes it: lengths of windows, watermark, open groups, and groups that
//! wait to be handed out.

use super::Window;
use super::groups::order;
use super::kinds::{Shape, Windows};
use crate::stored::{Input, Stored};
use crate::{Key, Result, Timestamp};

/// The format that is written: another one when what is around keys and values changes.
const FORMAT: u8 = 1;

/// What an aggregation keeps from one call to the next, of keys `K`, values `V` and what is emitted of them, `E`.
#[derive(Clone, Debug, PartialEq)]
pub struct State<K, V, E> {
    /// None: windows as they are now.
    pub(super) shape: Option<Shape>,
    /// Windows that end up to here are closed.
    pub watermark: Timestamp,
    /// Groups whose windows are open, by window and key.
    pub open: Vec<Open<K, V>>,
    /// What waits to be handed out, in that order.
    pub ready: Vec<Ready<K, E>>,
}

/// A group whose window is open.
#[derive(Clone, Debug, PartialEq)]
pub struct Open<K, V> {
    /// Its window.
    pub window: Window,
    /// Its key.
    pub key: K,
    /// What was made of its rows.
    pub value: V,
    /// Whether anything came since it was last handed out.
    pub changed: bool,
}

/// Something that waits to be handed out.
#[derive(Clone, Debug, PartialEq)]
pub struct Ready<K, E> {
    /// Its window.
    pub window: Window,
    /// Its key.
    pub key: K,
    /// What is emitted.
    pub value: E,
}

impl<K, V, E> State<K, V, E> {
    /// A state that was made of another one: open groups must be sorted by window and key.
    pub fn new(watermark: Timestamp, open: Vec<Open<K, V>>, ready: Vec<Ready<K, E>>) -> Self {
        State { shape: None, watermark, open, ready }
    }
}

impl<K: Key, V: Stored, E: Stored> State<K, V, E> {
    /// Reads a state.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        match bytes {
            [FORMAT, rest @ ..] => {
                let mut input = Input::new(rest);
                let state = Self::read(&mut input).filter(|_| input.rest().is_empty());
                state.ok_or_else(|| {
                    format!("the state is damaged, {} bytes before its end", input.rest().len())
                })
            }
            [format, ..] => Err(format!("the state has format {format}; known here is {FORMAT}")),
            [] => Err("the state is damaged: it is empty".into()),
        }
    }

    #[inline(never)]
    fn read(input: &mut Input<'_>) -> Option<Self> {
        let (shape, watermark) = Stored::read(input)?;
        let (open, ready) = (Stored::read(input)?, Stored::read(input)?);
        Some(State { shape, watermark, open, ready })
    }

    /// Whether it can be taken up by these windows.
    #[inline(never)]
    pub(super) fn check<W: Windows>(&self, windows: &W) -> Result<()> {
        let now = windows.shape();
        let then = self.shape.unwrap_or(now);
        // Sessions may go on with another gap: it only says what is added to them from here on.
        let same = then == now || (W::SESSIONS && then.is_sessions());
        if !same {
            return Err("the state has windows of other lengths: what is open cannot be carried over".into());
        }
        if !self.open.is_sorted_by(|a, b| order((a.window, &a.key), (b.window, &b.key)).is_lt()) {
            return Err("the state is damaged: its groups are not in order".into());
        }
        if !self.open.iter().all(|open| windows.has(open.window)) {
            return Err("the state is damaged: it has windows that there are not".into());
        }
        Ok(())
    }
}

impl<K: Stored, V: Stored> Stored for Open<K, V> {
    fn write(&self, bytes: &mut Vec<u8>) {
        write_open(self.window, &self.key, &self.value, self.changed, bytes);
    }

    fn read(input: &mut Input<'_>) -> Option<Self> {
        let (window, key) = (Stored::read(input)?, Stored::read(input)?);
        let (value, changed) = (Stored::read(input)?, Stored::read(input)?);
        Some(Open { window, key, value, changed })
    }
}

/// Appends an open group whose parts lie elsewhere.
pub(super) fn write_open<K: Stored, V: Stored>(
    window: Window,
    key: &K,
    value: &V,
    changed: bool,
    bytes: &mut Vec<u8>,
) {
    window.write(bytes);
    key.write(bytes);
    value.write(bytes);
    changed.write(bytes);
}

impl<K: Stored, E: Stored> Stored for Ready<K, E> {
    fn write(&self, bytes: &mut Vec<u8>) {
        self.window.write(bytes);
        self.key.write(bytes);
        self.value.write(bytes);
    }

    fn read(input: &mut Input<'_>) -> Option<Self> {
        let (window, key, value) = Stored::read(input)?;
        Some(Ready { window, key, value })
    }
}

/// What is before the groups of a state.
pub(super) fn begin(shape: Shape, watermark: Timestamp) -> Vec<u8> {
    let mut bytes = vec![FORMAT];
    (Some(shape), watermark).write(&mut bytes);
    bytes
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::{Sessions, Sliding, Tumbling};
    use super::*;

    type Text = State<String, i64, i64>;

    fn minutes() -> Tumbling {
        Tumbling::of(Duration::from_micros(60))
    }

    fn state() -> Text {
        let window = |start| Window { start: Timestamp(start), end: Timestamp(start + 60) };
        State {
            shape: Some(minutes().shape()),
            watermark: Timestamp(-7),
            open: vec![
                Open { window: window(0), key: "ä".into(), value: 3, changed: true },
                Open { window: window(60), key: "".into(), value: i64::MIN, changed: false },
            ],
            ready: vec![Ready { window: window(-60), key: "b".into(), value: 9 }],
        }
    }

    fn bytes(state: &Text) -> Vec<u8> {
        let mut bytes = begin(state.shape.expect("a shape"), state.watermark);
        state.open.write(&mut bytes);
        state.ready.write(&mut bytes);
        bytes
    }

    #[test]
    fn what_is_written_is_read_and_nothing_else() {
        let bytes = bytes(&state());
        assert_eq!(Text::decode(&bytes), Ok(state()));
        for end in 0..bytes.len() {
            assert!(Text::decode(&bytes[..end]).is_err(), "{end}");
        }
        assert_eq!(
            Text::decode(&[&bytes[..], &[0]].concat()),
            Err("the state is damaged, 1 bytes before its end".into())
        );
        assert_eq!(Text::decode(&[9]), Err("the state has format 9; known here is 1".into()));
        assert!(Text::decode(&[&[FORMAT][..], &[0xff; 64]].concat()).is_err());
    }

    #[test]
    fn what_does_not_fit_is_refused_in_words() {
        fn check<W: Windows>(change: fn(&mut Text), windows: W) -> Result<()> {
            let mut state = state();
            change(&mut state);
            state.check(&windows)
        }
        assert_eq!(check(|_| (), minutes()), Ok(()));
        assert_eq!(check(|state| state.shape = None, minutes()), Ok(()));
        let other = check(|_| (), Sliding::of(Duration::from_secs(5), Duration::from_secs(1)));
        let words = "the state has windows of other lengths: what is open cannot be carried over";
        assert_eq!(other, Err(words.into()));
        let sessions = |gap| Sessions::of(Duration::from_micros(gap));
        assert!(check(|_| (), sessions(60)).is_err());
        let order = Err("the state is damaged: its groups are not in order".to_owned());
        assert_eq!(check(|state| state.open.swap(0, 1), minutes()), order);
        assert_eq!(check(|state| state.open[1] = state.open[0].clone(), minutes()), order);
        let window = check(|state| state.open[1].window.end.0 += 1, minutes());
        assert_eq!(window, Err("the state is damaged: it has windows that there are not".into()));
        let other_gap = |state: &mut Text| state.shape = Some(Sessions::of(Duration::from_micros(1)).shape());
        assert_eq!(check(other_gap, sessions(2)), Ok(()));
    }
}
