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
        XxHash64::oneshot(0, self)
    }
}

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
