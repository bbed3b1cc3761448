//! The state of an aggregation as bytes: sorted, so that the same state has the same bytes.
//!
//! A byte that tells the format, then, as postcard writes it: lengths of windows, watermark, open groups, and groups that
//! wait to be handed out.

use std::fmt::Debug;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Window;
use super::kinds::Shape;
use crate::{Key, Result, Timestamp};

/// The format that is written: another one when what is around keys and values changes.
const FORMAT: u8 = 1;

/// What an aggregation keeps from one call to the next, of keys `K`, values `V` and what is emitted of them, `E`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(bound(deserialize = "K: DeserializeOwned, V: DeserializeOwned, E: DeserializeOwned"))]
pub struct State<K, V, E> {
    /// None, of a state that was migrated: windows as they are now.
    pub(super) shape: Option<Shape>,
    /// Windows that end up to here are closed.
    pub watermark: Timestamp,
    /// Groups whose windows are open, by window and key.
    pub open: Vec<Open<K, V>>,
    /// What waits to be handed out, in that order.
    pub ready: Vec<Ready<K, E>>,
}

/// A group whose window is open.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ready<K, E> {
    /// Its window.
    pub window: Window,
    /// Its key.
    pub key: K,
    /// What is emitted.
    pub value: E,
}

impl<K, V, E> Default for State<K, V, E> {
    /// Nothing.
    fn default() -> Self {
        State { shape: None, watermark: Timestamp::MIN, open: vec![], ready: vec![] }
    }
}

impl<K: Key, V: DeserializeOwned, E: DeserializeOwned> State<K, V, E> {
    /// Reads a state.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        let (format, bytes) = bytes.split_first().ok_or("the state is damaged: it is empty")?;
        if *format != FORMAT {
            return Err(format!("the state has format {format}; known here is {FORMAT}"));
        }
        match postcard::take_from_bytes(bytes) {
            Ok((state, [])) => Ok(state),
            Ok((_, rest)) => Err(format!("the state is damaged: {} bytes too many", rest.len())),
            Err(error) => Err(format!("the state is damaged: {error}")),
        }
    }

    /// Whether it can be taken up by windows of this shape.
    pub(super) fn check(&self, now: Shape) -> Result<()> {
        let then = self.shape.unwrap_or(now);
        // Sessions may go on with another gap: it only says what is added to them from here on.
        let same = then == now || matches!((then, now), (Shape::Sessions { .. }, Shape::Sessions { .. }));
        if !same {
            let (then, now) = (then.words(), now.words());
            return Err(format!(
                "the state has {then}, this version has {now}: what is open cannot be carried over"
            ));
        }
        if !self.open.is_sorted_by(|a, b| (a.window, &a.key) < (b.window, &b.key)) {
            return Err("the state is damaged: its groups are not in order".into());
        }
        let known = |window: Window| match now {
            Shape::Fixed { .. } => now.of(window.start).any(|have| have == window),
            Shape::Sessions { .. } => window.start <= window.end,
        };
        match self.open.iter().find(|open| !known(open.window)) {
            Some(Open { window: Window { start, end }, .. }) => {
                Err(format!("the state is damaged: there is no window from {start} to {end}"))
            }
            None => Ok(()),
        }
    }
}

/// A state whose keys and values lie elsewhere.
pub(super) type Borrowed<'a, K, V, E> = State<&'a K, &'a V, &'a E>;

/// The state as bytes.
pub(super) fn encode<K: Serialize, V: Serialize, E: Serialize>(
    state: &Borrowed<'_, K, V, E>,
) -> Result<Vec<u8>> {
    postcard::to_extend(state, vec![FORMAT]).map_err(|error| format!("the state cannot be written: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    type Text = State<String, i64, i64>;

    fn state() -> Text {
        let window = |start| Window { start: Timestamp(start), end: Timestamp(start + 60) };
        State {
            shape: Some(Shape::Fixed { size: 60, slide: 60 }),
            watermark: Timestamp(-7),
            open: vec![
                Open { window: window(0), key: "ä".into(), value: 3, changed: true },
                Open { window: window(60), key: "".into(), value: i64::MIN, changed: false },
            ],
            ready: vec![Ready { window: window(-60), key: "b".into(), value: 9 }],
        }
    }

    fn bytes(state: &Text) -> Vec<u8> {
        postcard::to_extend(state, vec![FORMAT]).expect("memory grows")
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
            Err("the state is damaged: 1 bytes too many".into())
        );
        assert_eq!(Text::decode(&[9]), Err("the state has format 9; known here is 1".into()));
        assert!(Text::decode(&[&[FORMAT][..], &[0xff; 64]].concat()).is_err());
    }

    #[test]
    fn a_reference_is_written_like_what_it_refers_to() {
        let owned = state();
        let open = |open: &Open<String, i64>| (open.window, open.key.clone(), open.value, open.changed);
        let values: Vec<_> = owned.open.iter().map(open).collect();
        let borrowed = State {
            shape: owned.shape,
            watermark: owned.watermark,
            open: values
                .iter()
                .map(|(window, key, value, changed)| Open { window: *window, key, value, changed: *changed })
                .collect(),
            ready: owned
                .ready
                .iter()
                .map(|ready| Ready { window: ready.window, key: &ready.key, value: &ready.value })
                .collect(),
        };
        assert_eq!(encode(&borrowed), Ok(bytes(&owned)));
    }

    #[test]
    fn what_does_not_fit_is_refused_in_words() {
        let check = |change: fn(&mut Text), now| {
            let mut state = state();
            change(&mut state);
            state.check(now)
        };
        let minutes = Shape::Fixed { size: 60, slide: 60 };
        assert_eq!(check(|_| (), minutes), Ok(()));
        assert_eq!(check(|state| state.shape = None, minutes), Ok(()));
        let other = check(|_| (), Shape::Fixed { size: 5_000_000, slide: 1_000_000 });
        let words = "the state has windows of 60µs, this version has windows of 5s every 1s: what is open cannot be carried over";
        assert_eq!(other, Err(words.into()));
        assert!(check(|_| (), Shape::Sessions { gap: 60 }).is_err());
        let order = Err("the state is damaged: its groups are not in order".to_owned());
        assert_eq!(check(|state| state.open.swap(0, 1), minutes), order);
        assert_eq!(check(|state| state.open[1] = state.open[0].clone(), minutes), order);
        let window = check(|state| state.open[1].window.end.0 += 1, minutes);
        assert!(
            window.is_err_and(|error| error.starts_with("the state is damaged: there is no window from"))
        );
        let sessions = |state: &mut Text| state.shape = Some(Shape::Sessions { gap: 1 });
        assert_eq!(check(sessions, Shape::Sessions { gap: 2 }), Ok(()));
    }
}
