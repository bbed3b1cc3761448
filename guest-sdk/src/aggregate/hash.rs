//! Hashes that are the same in every version: they are in states and in sketches.

use twox_hash::XxHash64;

use crate::{Date, Timestamp};

/// What has a hash that never changes: XXH64 of its bytes (seed 0). Integers are eight bytes, little-endian; of
/// a tuple, the hashes of its parts are hashed.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no stable hash",
    note = "&str, &[u8], integers, bool, Timestamp, Date and tuples of two to four of them have one"
)]
pub trait Stable {
    /// The hash.
    fn hash(&self) -> u64;
}

impl Stable for str {
    #[inline]
    fn hash(&self) -> u64 {
        self.as_bytes().hash()
    }
}

impl Stable for [u8] {
    /// Once in a component, not wherever it is needed.
    #[inline(never)]
    fn hash(&self) -> u64 {
        if self.len() < 32 { short(self) } else { long(self) }
    }
}

#[cold]
#[inline(never)]
fn long(data: &[u8]) -> u64 {
    XxHash64::oneshot(0, data)
}

/// XXH64 of less than 32 bytes, without loops: in Wasm each turn of one costs as much as what is done in it.
#[inline]
fn short(data: &[u8]) -> u64 {
    let (words, rest) = data.as_chunks::<8>();
    let mut hash = PRIME_5.wrapping_add(data.len() as u64);
    if let Some(word) = words.first() {
        hash = eight(hash, *word);
    }
    if let Some(word) = words.get(1) {
        hash = eight(hash, *word);
    }
    if let Some(word) = words.get(2) {
        hash = eight(hash, *word);
    }
    let (half, rest) = rest.split_first_chunk::<4>().map_or((None, rest), |(half, rest)| (Some(half), rest));
    if let Some(half) = half {
        hash ^= u64::from(u32::from_le_bytes(*half)).wrapping_mul(PRIME_1);
        hash = hash.rotate_left(23).wrapping_mul(PRIME_2).wrapping_add(PRIME_3);
    }
    hash = match *rest {
        [] => hash,
        [a] => one(hash, a),
        [a, b] => one(one(hash, a), b),
        [a, b, c, ..] => one(one(one(hash, a), b), c),
    };
    hash = (hash ^ hash >> 33).wrapping_mul(PRIME_2);
    hash = (hash ^ hash >> 29).wrapping_mul(PRIME_3);
    hash ^ hash >> 32
}

#[inline]
fn eight(hash: u64, word: [u8; 8]) -> u64 {
    let round = u64::from_le_bytes(word).wrapping_mul(PRIME_2).rotate_left(31).wrapping_mul(PRIME_1);
    (hash ^ round).rotate_left(27).wrapping_mul(PRIME_1).wrapping_add(PRIME_4)
}

#[inline]
fn one(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte).wrapping_mul(PRIME_5)).rotate_left(11).wrapping_mul(PRIME_1)
}

const PRIME_1: u64 = 0x9e37_79b1_85eb_ca87;
const PRIME_2: u64 = 0xc2b2_ae3d_27d4_eb4f;
const PRIME_3: u64 = 0x1656_67b1_9e37_79f9;
const PRIME_4: u64 = 0x85eb_ca77_c2b2_ae63;
const PRIME_5: u64 = 0x27d4_eb2f_1656_67c5;

impl<T: Stable + ?Sized> Stable for &T {
    #[inline]
    fn hash(&self) -> u64 {
        (**self).hash()
    }
}

impl Stable for String {
    #[inline]
    fn hash(&self) -> u64 {
        self.as_str().hash()
    }
}

macro_rules! integer {
    ($($type:ty, |$value:ident| $int:expr;)*) => {
        $(impl Stable for $type {
            #[inline]
            fn hash(&self) -> u64 {
                let $value = *self;
                XxHash64::oneshot(0, &$int.to_le_bytes())
            }
        })*
    };
}

integer! {
    bool, |value| i64::from(value);
    i32, |value| i64::from(value);
    i64, |value| value;
    u32, |value| i64::from(value);
    u64, |value| value;
    Date, |value| i64::from(value.0);
    Timestamp, |value| value.0;
}

macro_rules! tuple {
    ($count:literal: $($part:ident $index:tt),+) => {
        impl<$($part: Stable),+> Stable for ($($part,)+) {
            fn hash(&self) -> u64 {
                let parts: [[u8; 8]; $count] = [$(self.$index.hash().to_le_bytes()),+];
                XxHash64::oneshot(0, parts.as_flattened())
            }
        }
    };
}

tuple!(2: A 0, B 1);
tuple!(3: A 0, B 1, C 2);
tuple!(4: A 0, B 1, C 2, D 3);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_every_length_have_the_hash_that_the_crate_gives() {
        let text: Vec<u8> = (0..100_u8).map(|i| i.wrapping_mul(37) ^ 0x95).collect();
        for length in 0..text.len() {
            for start in [0, 1, 3] {
                let text = &text[start..length.max(start)];
                assert_eq!(text.hash(), XxHash64::oneshot(0, text), "{} bytes", text.len());
            }
        }
    }

    /// If this fails, states and sketches that were written before are worth nothing.
    #[test]
    fn hashes_never_change() {
        assert_eq!("".hash(), 0xef46_db37_51d8_e999);
        let texts =
            ["a", "user-00001", "0123456789abcdef0", &"x".repeat(200), &"x".repeat(1000)].map(|t| t.hash());
        let others =
            [7_i64.hash(), Timestamp(7).hash(), true.hash(), ("a", 7).hash(), [0_u8, 255][..].hash()];
        assert_eq!(
            texts,
            [
                0xd24e_c4f1_a98c_6e5b,
                0xf8c1_df91_3996_a7a0,
                0xf4e9_1132_0106_d43c,
                0xc5a4_d3c0_5d71_062a,
                0x4cb9_a3b6_9cb7_00e1
            ]
        );
        assert_eq!(
            others,
            [
                0x0876_cd40_6afd_e455,
                0x0876_cd40_6afd_e455,
                0x9f29_cb17_a2a4_9995,
                0x134e_7c9a_4a0c_3a7c,
                0xe0d9_7d9a_0313_1d7d
            ]
        );
    }
}
