//! Thirty-two bytes looked at in a few instructions.
//!
//! With SSE2 on x86-64; elsewhere the same answers are computed eight bytes at a time.

#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
use sse2 as chosen;
#[cfg(not(all(target_arch = "x86_64", target_feature = "sse2")))]
use words as chosen;

/// Bytes in a block.
pub(super) const WIDTH: usize = 32;

/// Some bytes of a text.
pub(super) type Block = [u8; WIDTH];

/// The block that begins at `at`, if there are as many bytes.
#[inline(always)]
pub(super) fn load(bytes: &[u8], at: usize) -> Option<&Block> {
    bytes.get(at..)?.first_chunk()
}

/// The first byte that ends or interrupts the content of a JSON string: a quote, a backslash, a control character.
/// [`WIDTH`]: there is none.
#[inline(always)]
pub(super) fn stop(block: &Block) -> usize {
    chosen::stop(block)
}

/// The first byte that ends a value: of a text what [`stop`] finds; of a number, `true`, `false` or `null` a comma, a
/// closing bracket, white space or a control character. [`WIDTH`]: there is none.
#[inline(always)]
pub(super) fn end(block: &Block, text: bool) -> usize {
    chosen::end(block, text)
}

/// The first byte that is no decimal digit. [`WIDTH`]: there is none.
#[inline(always)]
pub(super) fn other(block: &Block) -> usize {
    chosen::other(block)
}

/// Some bytes that a text is compared with, again and again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Pattern {
    first: Block,
    /// All ones for each byte of `first` that counts.
    mask: Block,
    /// What is behind the first block.
    rest: Box<[u8]>,
    len: usize,
}

impl Pattern {
    pub(super) fn new(bytes: &[u8]) -> Self {
        let (mut first, mut mask) = ([0; WIDTH], [0; WIDTH]);
        let begin = bytes.len().min(WIDTH);
        first[..begin].copy_from_slice(&bytes[..begin]);
        mask[..begin].fill(0xff);
        Pattern { first, mask, rest: bytes[begin..].into(), len: bytes.len() }
    }

    #[inline(always)]
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether `bytes` have it at `at`, where a block must be. A block behind the end of what can have it is enough.
    #[inline(always)]
    pub(super) fn is_at(&self, bytes: &[u8], at: usize) -> bool {
        load(bytes, at).is_some_and(|block| chosen::equal(block, &self.first, &self.mask))
            && (self.rest.is_empty() || self.rest_is_at(bytes, at + WIDTH))
    }

    #[inline(never)]
    fn rest_is_at(&self, bytes: &[u8], at: usize) -> bool {
        bytes.get(at..).is_some_and(|b| b.starts_with(&self.rest))
    }
}

/// What is unsafe here is only that these instructions are taken for available. They are: the module is left out where
/// the compiler may not use SSE2 anyway, which is a part of x86-64. All of them work on values, none on memory.
#[cfg(all(target_arch = "x86_64", target_feature = "sse2"))]
#[allow(unsafe_code)]
mod sse2 {
    use std::arch::x86_64::{
        __m128i, _mm_and_si128, _mm_cmpeq_epi8, _mm_min_epu8, _mm_movemask_epi8, _mm_or_si128, _mm_set1_epi8,
        _mm_setzero_si128, _mm_sub_epi8, _mm_xor_si128,
    };

    use super::Block;

    /// A bit for each byte for which `test` gives all ones.
    #[inline(always)]
    fn bits(block: &Block, test: impl Fn(__m128i) -> __m128i) -> u32 {
        let [low, high]: [__m128i; 2] = bytemuck::cast(*block);
        // SAFETY: SSE2 is there.
        let [low, high] = unsafe { [_mm_movemask_epi8(test(low)), _mm_movemask_epi8(test(high))] };
        low.cast_unsigned() | high.cast_unsigned() << 16
    }

    #[inline(always)]
    fn is(bytes: __m128i, byte: u8) -> __m128i {
        // SAFETY: SSE2 is there.
        unsafe { _mm_cmpeq_epi8(bytes, _mm_set1_epi8(byte.cast_signed())) }
    }

    #[inline(always)]
    fn is_at_most(bytes: __m128i, bound: u8) -> __m128i {
        // SAFETY: SSE2 is there.
        unsafe { _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(bound.cast_signed())), bytes) }
    }

    #[inline(always)]
    fn either(one: __m128i, other: __m128i) -> __m128i {
        // SAFETY: SSE2 is there.
        unsafe { _mm_or_si128(one, other) }
    }

    #[inline(always)]
    fn stops(block: &Block) -> u32 {
        bits(block, |b| either(either(is(b, b'"'), is(b, b'\\')), is_at_most(b, 0x1f)))
    }

    #[inline(always)]
    fn ends(block: &Block) -> u32 {
        bits(block, |b| {
            // `]` and `}` differ by one bit. SAFETY: SSE2 is there.
            let bracket = is(either(b, unsafe { _mm_set1_epi8(0x20) }), b'}');
            either(either(is(b, b','), bracket), is_at_most(b, b' '))
        })
    }

    /// The first of these bits.
    #[inline(always)]
    fn first(bits: u32) -> usize {
        bits.trailing_zeros() as usize
    }

    #[inline(always)]
    pub(super) fn stop(block: &Block) -> usize {
        first(stops(block))
    }

    /// Without a branch: where members have any order, nobody can foretell whether a text comes.
    #[inline(always)]
    pub(super) fn end(block: &Block, text: bool) -> usize {
        let of_text = 0u32.wrapping_sub(u32::from(text));
        first((stops(block) & of_text) | (ends(block) & !of_text))
    }

    #[inline(always)]
    pub(super) fn other(block: &Block) -> usize {
        // SAFETY: SSE2 is there.
        first(!bits(block, |b| is_at_most(unsafe { _mm_sub_epi8(b, _mm_set1_epi8(0x30)) }, 9)))
    }

    #[inline(always)]
    pub(super) fn equal(block: &Block, with: &Block, mask: &Block) -> bool {
        let [block, with, mask]: [[__m128i; 2]; 3] = [block, with, mask].map(|b| bytemuck::cast(*b));
        // SAFETY: SSE2 is there.
        unsafe {
            let low = _mm_and_si128(_mm_xor_si128(block[0], with[0]), mask[0]);
            let high = _mm_and_si128(_mm_xor_si128(block[1], with[1]), mask[1]);
            _mm_movemask_epi8(_mm_cmpeq_epi8(either(low, high), _mm_setzero_si128())) == 0xffff
        }
    }
}

/// For other processors, and to compare with.
#[cfg(any(test, not(all(target_arch = "x86_64", target_feature = "sse2"))))]
mod words {
    use super::Block;

    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;

    #[inline(always)]
    fn words(block: &Block) -> [u64; 4] {
        let (words, _) = block.as_chunks::<8>();
        let word = |at: usize| u64::from_le_bytes(words[at]);
        [word(0), word(1), word(2), word(3)]
    }

    /// The first byte whose highest bit `test` sets. Most are among the first eight.
    #[inline(always)]
    fn first(block: &Block, test: impl Fn(u64) -> u64) -> usize {
        for (at, word) in words(block).into_iter().enumerate() {
            let found = test(word);
            if found != 0 {
                return at * 8 + found.trailing_zeros() as usize / 8;
            }
        }
        super::WIDTH
    }

    /// The highest bit of each byte that is less than `bound`, which is at most 0x80. No byte borrows from its
    /// neighbour.
    #[inline(always)]
    fn below(word: u64, bound: u64) -> u64 {
        !((word | HIGH) - ONES * bound) & !word & HIGH
    }

    /// The highest bit of each byte that is `byte`.
    #[inline(always)]
    fn is(word: u64, byte: u8) -> u64 {
        below(word ^ (ONES * u64::from(byte)), 1)
    }

    #[inline(always)]
    pub(super) fn stop(block: &Block) -> usize {
        first(block, |w| below(w, 0x20) | is(w, b'"') | is(w, b'\\'))
    }

    #[inline(always)]
    pub(super) fn end(block: &Block, text: bool) -> usize {
        if text {
            return stop(block);
        }
        // `]` and `}` differ by one bit.
        first(block, |w| below(w, 0x21) | is(w, b',') | is(w | (ONES * 0x20), b'}'))
    }

    #[inline(always)]
    pub(super) fn other(block: &Block) -> usize {
        first(block, |w| !(below(w, 0x3a) & !below(w, 0x30)) & HIGH)
    }

    #[inline(always)]
    pub(super) fn equal(block: &Block, with: &Block, mask: &Block) -> bool {
        let (block, with, mask) = (words(block), words(with), words(mask));
        [0, 1, 2, 3].iter().fold(0, |differ, &at| differ | (block[at] ^ with[at]) & mask[at]) == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it means, byte by byte.
    fn plainly(block: &Block, is: impl Fn(u8) -> bool) -> usize {
        block.iter().position(|&b| is(b)).unwrap_or(WIDTH)
    }

    fn agree(block: &Block) {
        let stops = plainly(block, |b| b < 0x20 || b == b'"' || b == b'\\');
        let ends = plainly(block, |b| b <= 0x20 || b",]}".contains(&b));
        let others = plainly(block, |b| !b.is_ascii_digit());
        let expected = [stops, stops, ends, others];
        assert_eq!([stop(block), end(block, true), end(block, false), other(block)], expected, "{block:?}");
        let plain =
            [words::stop(block), words::end(block, true), words::end(block, false), words::other(block)];
        assert_eq!(plain, expected, "{block:?}");
    }

    #[test]
    fn every_byte_is_seen_as_what_it_is() {
        for byte in 0..=255 {
            for other in [b'a', b'5', b'0', b'9', b' ', b',', 0, 0x1f, b'"', 0x7f, 0x80, 0xff] {
                for at in 0..WIDTH {
                    let mut block = [other; WIDTH];
                    block[at] = byte;
                    agree(&block);
                }
            }
        }
    }

    #[test]
    fn a_pattern_is_found_where_it_is() {
        let text: Vec<u8> = (0..100).collect();
        for len in 0..70 {
            let pattern = Pattern::new(&text[10..10 + len]);
            assert_eq!(pattern.len(), len);
            for at in 0..text.len() - WIDTH {
                let found = text[at..].starts_with(&text[10..10 + len]);
                assert_eq!(pattern.is_at(&text, at), found, "{len} at {at}");
                let begins = words::equal(load(&text, at).unwrap(), &pattern.first, &pattern.mask);
                assert!(if len <= WIDTH { begins == found } else { begins || !found });
            }
            for changed in 0..len {
                let mut text = text.clone();
                text[10 + changed] ^= 0x80;
                assert!(!pattern.is_at(&text, 10), "{len}, byte {changed}");
            }
        }
    }
}
