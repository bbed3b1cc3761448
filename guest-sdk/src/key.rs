//! Keys of groups: kept in an owned form, looked up in a borrowed one, so that a key that is there costs no allocation.

use std::fmt::Debug;

use crate::field::Issuer;
use crate::{Coded, Date, Stored, Term, Timestamp, words};

/// What rows are grouped by: `String`, [`Coded`], integers, [`Timestamp`], [`Date`], `bool`, `Option`s of them, tuples of
/// up to four, or `()` if all rows of a window are one group.
///
/// [`Coded`] is for texts that are read as such: of most rows only their numbers are looked at.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no key",
    note = "a key is a String, Coded, i64, i32, u64, u32, bool, Timestamp or Date, an Option of one, a tuple of up to four, or ()"
)]
pub trait Key: Clone + Debug + Ord + Stored + 'static {
    /// The borrowed form: `&str` of `String`, a tuple of borrowed forms of a tuple, else the type itself.
    type Ref<'a>: Copy + Debug;
    /// What is compared instead of a key where that is quicker.
    type Code: Copy + Debug + PartialEq;

    /// Whether keys of the same code are the same. (The same key may have several codes.)
    const CODED: bool;

    /// Its code.
    fn code(key: Self::Ref<'_>) -> Self::Code;

    /// Spreads a key over 64 bits, of which the lower ones may be much the same for keys that differ little. Not stable:
    /// only for tables in memory.
    fn hash(key: Self::Ref<'_>, seed: u64) -> u64;
    /// Much the same for keys that are likely to be the same, and quicker than a hash: a number, or where a text lies. In
    /// a column with a dictionary the same texts lie at the same place.
    #[inline]
    fn hint(key: Self::Ref<'_>) -> usize {
        let _ = key;
        0
    }
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
    type Code = ();

    const CODED: bool = false;

    #[inline]
    fn code(_: &str) {}

    #[inline]
    fn hash(key: &str, seed: u64) -> u64 {
        // The length begins a text: `ab` + `c` is not `a` + `bc`.
        words::fold(key.as_bytes(), seed.wrapping_add(key.len() as u64), mix)
    }

    #[inline]
    fn hint(key: &str) -> usize {
        key.as_ptr().addr()
    }

    #[inline]
    fn is(&self, key: &str) -> bool {
        words::same(self.as_bytes(), key.as_bytes())
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

/// The same hash and the same state as of a `String`.
impl Key for Coded {
    type Ref<'a> = Term<'a>;
    type Code = (Issuer, u32);

    const CODED: bool = true;

    #[inline]
    fn code(key: Term<'_>) -> Self::Code {
        (key.issuer, key.code)
    }

    #[inline]
    fn hash(key: Term<'_>, seed: u64) -> u64 {
        String::hash(key.text, seed)
    }

    #[inline]
    fn hint(key: Term<'_>) -> usize {
        key.code as usize
    }

    #[inline]
    fn is(&self, key: Term<'_>) -> bool {
        self.0.is(key.text)
    }

    fn own(key: Term<'_>) -> Self {
        Coded(key.text.into())
    }

    fn view(&self) -> Term<'_> {
        Term::from(&*self.0)
    }

    fn heap(&self) -> usize {
        self.0.heap()
    }
}

macro_rules! plain {
    ($($type:ty, |$key:ident| $bits:expr;)*) => {
        $(impl Key for $type {
            type Ref<'a> = $type;
            type Code = $type;

            const CODED: bool = true;

            #[inline]
            fn code(key: $type) -> $type {
                key
            }

            #[inline]
            fn hash($key: $type, seed: u64) -> u64 {
                mix(seed, $bits)
            }

            #[inline]
            #[allow(clippy::cast_possible_truncation)]
            fn hint($key: $type) -> usize {
                $bits as usize
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
    type Code = Option<K::Code>;

    const CODED: bool = K::CODED;

    #[inline]
    fn code(key: Self::Ref<'_>) -> Self::Code {
        key.map(K::code)
    }

    #[inline]
    fn hash(key: Self::Ref<'_>, seed: u64) -> u64 {
        match key {
            Some(key) => K::hash(key, seed),
            None => mix(seed, u64::MAX),
        }
    }

    #[inline]
    fn hint(key: Self::Ref<'_>) -> usize {
        key.map_or(0, K::hint)
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
    type Code = ();

    const CODED: bool = true;

    fn code((): ()) {}

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
            type Code = ($($part::Code,)+);

            const CODED: bool = $($part::CODED)&&+;

            #[inline]
            fn code(key: Self::Ref<'_>) -> Self::Code {
                ($($part::code(key.$index),)+)
            }

            #[inline]
            fn hash(key: Self::Ref<'_>, seed: u64) -> u64 {
                let hash = seed;
                $(let hash = $part::hash(key.$index, hash);)+
                hash
            }

            #[inline]
            fn hint(key: Self::Ref<'_>) -> usize {
                0_usize $(.wrapping_mul(31).wrapping_add($part::hint(key.$index)))+
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

/// Takes in a word: of the product, its upper half is in the lower half, too.
#[inline]
fn mix(hash: u64, word: u64) -> u64 {
    let product = (hash ^ word).wrapping_mul(FACTOR);
    product ^ product >> 32
}

/// A hash of which any bits tell keys apart: in what [`Key::hash`] gives, the last letters are in the upper bits only.
///
/// Its factor is known, so somebody who may write events can make keys collide. That costs time, which the host bounds,
/// and the number of groups is bounded; what std offers against it costs three times as much a row.
#[inline]
pub(crate) fn spread(hash: u64) -> u64 {
    let product = hash.wrapping_mul(FACTOR);
    product ^ product >> 32
}

/// Wasm has no 128-bit product, whose upper half would do all of this at once.
const FACTOR: u64 = 0xd6e8_feb8_6659_fd93;

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
                    hashes.insert(spread(<(Timestamp, String, String)>::hash(key, 0x9e37_79b9_7f4a_7c15)));
                }
            }
        }
        assert_eq!(hashes.len(), 100 * texts.len() * texts.len());
        // A table uses the low bits to place and the high bits to tell apart.
        let bits = |shift: u32| hashes.iter().map(|hash| hash >> shift & 0x7f).collect::<HashSet<_>>().len();
        assert_eq!((bits(0), bits(57)), (128, 128));
    }

    #[test]
    fn texts_that_differ_in_a_letter_have_places_of_their_own() {
        let words = ["", "a", "ab", "abcd", "/page/", "location_of_", "0123456789012345"];
        for word in words {
            for (at, length) in [(0, 2), (1, 4), (3, 9)] {
                let texts = (0..512).map(|i| format!("{word}{i:0length$}{}", &"xyz"[..at]));
                let places: HashSet<u64> =
                    texts.map(|text| super::spread(<String as Key>::hash(&text, 7)) & 1023).collect();
                println!("{word:20} {} of 512 places, of which chance alone takes 403", places.len());
                assert!(places.len() > 350, "{word} {at} {length}: {}", places.len());
            }
        }
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
