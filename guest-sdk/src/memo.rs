//! What was made of texts that came lately.

use crate::words;

/// What was made of texts that came lately, so that it is not made again for each row: for columns of few different
/// values.
///
/// It knows up to 128 texts of up to 16 bytes, and forgets one when there is no room for another; of longer ones it is
/// made each time. What is made must follow from the text alone.
///
/// ```
/// use tidemill_sdk::{lower, Memo};
///
/// let mut types = Memo::default();
/// for text in ["Click", "click", "Click"] {
///     assert_eq!(types.get(text, |text| lower(text).into_owned()), "click");
/// }
/// ```
#[derive(Clone, Debug)]
pub struct Memo<T> {
    /// Two places for each hash; the one that was taken last comes first.
    places: Vec<[Option<Known<T>>; 2]>,
    /// What was made of the last text that is too long for a place.
    long: Option<T>,
}

#[derive(Clone, Debug)]
struct Known<T> {
    length: usize,
    ends: [u64; 2],
    made: T,
}

/// How many hashes there are, a power of two.
const PLACES: usize = 64;

impl<T> Default for Memo<T> {
    fn default() -> Self {
        Memo { places: (0..PLACES).map(|_| [None, None]).collect(), long: None }
    }
}

impl<T> Memo<T> {
    /// What was made of this text, or is made of it now.
    #[inline]
    pub fn get(&mut self, text: &str, make: impl FnOnce(&str) -> T) -> &T {
        let length = text.len();
        let Some(ends) = words::ends(text.as_bytes()) else { return self.long.insert(make(text)) };
        let hash = (ends[0] ^ ends[1].rotate_left(29) ^ length as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        // The highest bits: all letters are in them.
        #[allow(clippy::cast_possible_truncation)]
        let places = &mut self.places[(hash >> 32) as usize >> (32 - PLACES.ilog2())];
        let is = |known: &Option<Known<T>>| {
            known.as_ref().is_some_and(|known| known.ends == ends && known.length == length)
        };
        let found = places.iter().position(is).unwrap_or_else(|| {
            places.swap(0, 1);
            places[0] = Some(Known { length, ends, made: make(text) });
            0
        });
        places[found].as_ref().map(|known| &known.made).expect("it was known, or was just made")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_got_is_what_would_be_made_however_many_texts_there_are() {
        let mut memo = Memo::default();
        let mut made = 0;
        for i in 0..20_000_usize {
            let text = match i % 3 {
                0 => format!("text {}", i % 7),
                1 => format!("{}", i * 7919 % 30),
                _ => "x".repeat(i % 60),
            };
            let got = memo.get(&text, |text| {
                made += 1;
                text.to_uppercase()
            });
            assert_eq!(*got, text.to_uppercase());
        }
        println!("{made} of 20000 were made");
        assert!(made < 8_000, "{made}");
    }

    #[test]
    fn few_texts_are_made_once() {
        let mut made = Vec::new();
        let mut memo = Memo::default();
        for _ in 0..100 {
            for text in ["page_view", "click", "scroll", "search", "purchase", "Page_View", " CLICK ", ""] {
                memo.get(text, |text| made.push(text.to_owned()));
            }
        }
        assert_eq!(made.len(), 8);
    }
}
