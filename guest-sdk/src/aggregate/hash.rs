//! Hashes that are the same in every version: they are in states and in sketches.

use twox_hash::XxHash3_64;

use crate::{Date, Timestamp};

/// What has a hash that never changes: XXH3 of its bytes (64 bits, no seed). Integers are eight bytes, little-endian; of
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
        XxHash3_64::oneshot(self.as_bytes())
    }
}

impl Stable for [u8] {
    #[inline]
    fn hash(&self) -> u64 {
        XxHash3_64::oneshot(self)
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
                XxHash3_64::oneshot(&$int.to_le_bytes())
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
                XxHash3_64::oneshot(parts.as_flattened())
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
        assert_eq!("".hash(), 0x2d06_8005_38d3_94c2);
        let texts =
            ["a", "user-00001", "0123456789abcdef0", &"x".repeat(200), &"x".repeat(1000)].map(|t| t.hash());
        let others =
            [7_i64.hash(), Timestamp(7).hash(), true.hash(), ("a", 7).hash(), [0_u8, 255][..].hash()];
        assert_eq!(
            texts,
            [
                0xe6c6_32b6_1e96_4e1f,
                0x6035_79c1_f576_ed9a,
                0xc92e_2385_daf3_6034,
                0x50ef_124f_b1e4_de53,
                0xc0a4_877b_962c_ba82,
            ]
        );
        assert_eq!(
            others,
            [
                0x8167_1e58_d6b5_96af,
                0x8167_1e58_d6b5_96af,
                0x2fbc_5935_64db_792e,
                0x44df_7519_ffb3_6088,
                0xa99b_043a_346c_8bf3,
            ]
        );
    }
}
