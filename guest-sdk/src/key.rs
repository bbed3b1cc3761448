//! Keys of groups: kept in an owned form, looked up in a borrowed one, so that a key that is there costs no allocation.

use std::fmt::Debug;

use crate::{Date, Stored, Timestamp};

/// What rows are grouped by: `String`, integers, [`Timestamp`], [`Date`], `bool`, `Option`s of them, tuples of up to
/// four, or `()` if all rows of a window are one group.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no key",
    note = "a key is a String, i64, i32, u64, u32, bool, Timestamp or Date, an Option of one, a tuple of up to four, or ()"
)]
pub trait Key: Clone + Debug + Ord + Stored + 'static {
    /// The borrowed form: `&str` of `String`, a tuple of borrowed forms of a tuple, else the type itself.
    type Ref<'a>: Copy + Debug;

    /// Spreads a key over 64 bits. Not stable: only for tables in memory.
    fn hash(key: Self::Ref<'_>, seed: u64) -> u64;
    /// Whether it is this key.
    fn is(&self, key: Self::Ref<'_>) -> bool;
    /// The owned form.
    fn own(key: Self::Ref<'_>) -> Self;
    /// The borrowed form.
    fn view(&self) -> Self::Ref<'_>;
    /// Bytes that it holds beyond its own size.
    fn heap(&self) -> usize {
        0
    }
}

impl Key for String {
    type Ref<'a> = &'a str;

    #[inline]
    fn hash(key: &str, seed: u64) -> u64 {
        let (words, rest) = key.as_bytes().as_chunks::<8>();
        let hash = words.iter().fold(seed, |hash, word| mix(hash, u64::from_le_bytes(*word)));
        // The length ends a text: `ab` + `c` is not `a` + `bc`.
        mix(hash, rest.iter().fold(key.len() as u64, |word, &byte| word << 8 | u64::from(byte)))
    }

    #[inline]
    fn is(&self, key: &str) -> bool {
        self == key
    }

    fn own(key: &str) -> Self {
        key.into()
    }

    fn view(&self) -> &str {
        self
    }

    fn heap(&self) -> usize {
        // An allocation has a header, and is rounded up.
        self.len() + 8
    }
}

macro_rules! plain {
    ($($type:ty, |$key:ident| $bits:expr;)*) => {
        $(impl Key for $type {
            type Ref<'a> = $type;

            #[inline]
            fn hash($key: $type, seed: u64) -> u64 {
                mix(seed, $bits)
            }

            #[inline]
            fn is(&self, key: $type) -> bool {
                *self == key
            }

            fn own(key: $type) -> Self {
                key
            }

            fn view(&self) -> $type {
                *self
            }
        })*
    };
}

plain! {
    bool, |key| u64::from(key);
    u32, |key| u64::from(key);
    u64, |key| key;
    i32, |key| i64::from(key).cast_unsigned();
    i64, |key| key.cast_unsigned();
    Date, |key| i64::from(key.0).cast_unsigned();
    Timestamp, |key| key.0.cast_unsigned();
}

impl<K: Key> Key for Option<K> {
    type Ref<'a> = Option<K::Ref<'a>>;

    #[inline]
    fn hash(key: Self::Ref<'_>, seed: u64) -> u64 {
        match key {
            Some(key) => K::hash(key, seed),
            None => mix(seed, u64::MAX),
        }
    }

    #[inline]
    fn is(&self, key: Self::Ref<'_>) -> bool {
        match (self, key) {
            (Some(have), Some(key)) => have.is(key),
            (have, key) => have.is_none() && key.is_none(),
        }
    }

    fn own(key: Self::Ref<'_>) -> Self {
        key.map(K::own)
    }

    fn view(&self) -> Self::Ref<'_> {
        self.as_ref().map(K::view)
    }

    fn heap(&self) -> usize {
        self.as_ref().map_or(0, K::heap)
    }
}

impl Key for () {
    type Ref<'a> = ();

    fn hash((): (), seed: u64) -> u64 {
        seed
    }

    fn is(&self, (): ()) -> bool {
        true
    }

    fn own((): ()) -> Self {}

    fn view(&self) {}
}

macro_rules! tuple {
    ($($part:ident $index:tt),+) => {
        impl<$($part: Key),+> Key for ($($part,)+) {
            type Ref<'a> = ($($part::Ref<'a>,)+);

            #[inline]
            fn hash(key: Self::Ref<'_>, seed: u64) -> u64 {
                let hash = seed;
                $(let hash = $part::hash(key.$index, hash);)+
                hash
            }

            #[inline]
            fn is(&self, key: Self::Ref<'_>) -> bool {
                $(self.$index.is(key.$index))&&+
            }

            fn own(key: Self::Ref<'_>) -> Self {
                ($($part::own(key.$index),)+)
            }

            fn view(&self) -> Self::Ref<'_> {
                ($(self.$index.view(),)+)
            }

            fn heap(&self) -> usize {
                0 $(+ self.$index.heap())+
            }
        }
    };
}

tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);

/// The two halves of a product, folded.
///
/// Its keys are known, so somebody who may write events can make them collide. That costs time, which the host bounds,
/// and the number of groups is bounded; what std offers against it costs three times as much a row.
#[inline]
fn mix(hash: u64, word: u64) -> u64 {
    // Wasm has no 128-bit product: two of 64 bits, the high half turned down, do as well here.
    let product = (hash ^ word).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (product ^ product >> 32).wrapping_mul(0xd6e8_feb8_6659_fd93) ^ hash.rotate_left(23)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_that_differ_have_different_hashes() {
        let texts = [
            "",
            "\0",
            "a",
            "b",
            "ab",
            "ba",
            "aaaaaaaa",
            "aaaaaaaab",
            "aaaaaaaaaaaaaaaa",
            "page_view",
            "page_viex",
        ];
        let mut hashes = HashSet::new();
        for minute in 0..100 {
            for first in texts {
                for second in texts {
                    let key = (Timestamp(minute * Timestamp::MINUTE), first, second);
                    hashes.insert(<(Timestamp, String, String)>::hash(key, 0x9e37_79b9_7f4a_7c15));
                }
            }
        }
        assert_eq!(hashes.len(), 100 * texts.len() * texts.len());
        // A table uses the low bits to place and the high bits to tell apart.
        let spread =
            |shift: u32| hashes.iter().map(|hash| hash >> shift & 0x7f).collect::<HashSet<_>>().len();
        assert_eq!((spread(0), spread(57)), (128, 128));
    }

    #[test]
    fn the_borrowed_form_finds_the_owned_one() {
        type K = (Option<String>, i64, (bool, Date), Timestamp);
        let keys: [<K as Key>::Ref<'_>; 4] = [
            (Some("a"), -1, (true, Date(3)), Timestamp(5)),
            (Some(""), -1, (true, Date(3)), Timestamp(5)),
            (None, -1, (true, Date(3)), Timestamp(5)),
            (None, -1, (false, Date(3)), Timestamp(5)),
        ];
        for (i, key) in keys.into_iter().enumerate() {
            let owned = K::own(key);
            assert_eq!(owned.view(), key);
            assert_eq!(keys.map(|key| owned.is(key)), [0, 1, 2, 3].map(|j| i == j));
        }
        let hashes: HashSet<u64> = keys.into_iter().map(|key| K::hash(key, 1)).collect();
        assert_eq!(hashes.len(), 4);
        assert_eq!((K::own(keys[0]).heap(), K::own(keys[2]).heap()), (9, 0));
    }
}
