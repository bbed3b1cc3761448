//! Bitmaps: least significant bit first, as in the contract. For validity and for booleans.

/// Bits that are read. None: all are set.
#[derive(Clone, Copy, Debug)]
pub struct Bits<'a>(Option<&'a [u8]>);

impl<'a> Bits<'a> {
    /// Takes a bitmap, if there is one, for so many rows; none if it is too short.
    pub(super) fn new(bytes: Option<&'a [u8]>, rows: usize) -> Option<Self> {
        match bytes {
            Some(bytes) if bytes.len() < rows.div_ceil(8) => None,
            _ => Some(Bits(bytes)),
        }
    }

    /// Whether the bit of this row is set.
    #[inline]
    pub(super) fn get(self, row: usize) -> bool {
        match self.0 {
            None => true,
            Some(bytes) => bytes[row >> 3] >> (row & 7) & 1 == 1,
        }
    }
}

/// Bits that grow.
#[derive(Clone, Debug, Default)]
pub struct BitsBuilder {
    bytes: Vec<u8>,
    len: usize,
}

impl BitsBuilder {
    /// Empty, with room for so many bits.
    pub(super) fn with_capacity(bits: usize) -> Self {
        BitsBuilder { bytes: Vec::with_capacity(bits.div_ceil(8)), len: 0 }
    }

    /// So many set bits.
    pub(super) fn set(bits: usize) -> Self {
        let mut bytes = vec![0xff; bits.div_ceil(8)];
        if let (Some(last), used @ 1..) = (bytes.last_mut(), bits % 8) {
            *last = (1 << used) - 1;
        }
        BitsBuilder { bytes, len: bits }
    }

    /// Appends a bit.
    #[inline]
    pub(super) fn push(&mut self, bit: bool) {
        if self.len.is_multiple_of(8) {
            self.bytes.push(0);
        }
        if bit {
            self.bytes[self.len >> 3] |= 1 << (self.len & 7);
        }
        self.len += 1;
    }

    /// Keeps the first bits.
    pub(super) fn truncate(&mut self, bits: usize) {
        if bits < self.len {
            self.len = bits;
            self.bytes.truncate(bits.div_ceil(8));
            // `push` only ever sets bits: those beyond the end must be clear.
            if let (Some(last), used @ 1..) = (self.bytes.last_mut(), bits % 8) {
                *last &= (1 << used) - 1;
            }
        }
    }

    /// The bitmap.
    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_pushed_is_read_and_truncation_leaves_no_trace() {
        for n in 0..40 {
            let mut builder = BitsBuilder::set(n);
            for i in 0..20 {
                builder.push(i % 3 == 0);
            }
            builder.truncate(n + 5);
            for _ in 0..9 {
                builder.push(false);
            }
            let bytes = builder.finish();
            let bits = Bits::new(Some(&bytes), n + 14).expect("long enough");
            let read: Vec<bool> = (0..n + 14).map(|i| bits.get(i)).collect();
            let want: Vec<bool> = (0..n + 14).map(|i| i < n || (i < n + 5 && (i - n) % 3 == 0)).collect();
            assert_eq!(read, want, "{n}");
        }
    }

    #[test]
    fn a_bitmap_that_is_too_short_is_refused() {
        assert!(Bits::new(Some(&[0xff]), 9).is_none());
        assert!(Bits::new(None, 9).expect("no bitmap").get(8));
    }
}
