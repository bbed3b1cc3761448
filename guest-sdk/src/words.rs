//! Texts in words of eight bytes. In Wasm `memcmp` goes byte by byte, and a copy of variable length is a call into the
//! host: either costs more than all the rest that is done with a short text.

/// Whether they are the same.
#[inline]
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    if a.len() != b.len() {
        return false;
    }
    if let (Some(a), Some(b)) = (first_and_last(a), first_and_last(b)) {
        return a == b;
    }
    a.chunks(8).zip(b.chunks(8)).all(|(a, b)| word(a) == word(b))
}

/// All words, one after the other: texts of the same length have the same words if and only if they are the same.
#[inline]
pub(crate) fn fold<T>(text: &[u8], start: T, each: impl Fn(T, u64) -> T) -> T {
    match ends(text) {
        Some([first, last]) => each(each(start, first), last),
        None => text.chunks(8).fold(start, |folded, chunk| each(folded, word(chunk))),
    }
}

/// The first and the last word of a text of up to 16 bytes: all of it. They overlap, so that there is one way for most
/// lengths: a branch that nobody can predict costs more than either way.
#[inline]
pub(crate) fn ends(text: &[u8]) -> Option<[u64; 2]> {
    match first_and_last(text) {
        None if text.len() > 16 => None,
        None => Some([short(text), 0]),
        ends => ends,
    }
}

/// Of a text of 8 to 16 bytes.
#[inline]
fn first_and_last(text: &[u8]) -> Option<[u64; 2]> {
    match (text.first_chunk(), text.last_chunk()) {
        (Some(first), Some(last)) if text.len() <= 16 => {
            Some([u64::from_le_bytes(*first), u64::from_le_bytes(*last)])
        }
        _ => None,
    }
}

/// Up to eight bytes as a word.
#[inline]
pub(crate) fn word(chunk: &[u8]) -> u64 {
    chunk.first_chunk().map_or_else(|| short(chunk), |chunk| u64::from_le_bytes(*chunk))
}

/// Less than eight bytes as a word, the first one lowest; above them 0.
#[inline]
fn short(text: &[u8]) -> u64 {
    if let (Some(first), Some(last)) = (text.first_chunk(), text.last_chunk()) {
        let [first, last] = [*first, *last].map(|half| u64::from(u32::from_le_bytes(half)));
        return first | last << (8 * (text.len() - 4));
    }
    match *text {
        [a] => u64::from(a),
        [a, b] => u64::from(b) << 8 | u64::from(a),
        [a, b, c, ..] => u64::from(c) << 16 | u64::from(b) << 8 | u64::from(a),
        [] => 0,
    }
}

/// `[u8]::is_ascii`, several times as fast in Wasm.
#[inline]
pub(crate) fn is_ascii(data: &[u8]) -> bool {
    const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
    let (words, rest) = data.as_chunks::<8>();
    // Eight words at a time: each turn of a loop costs as much as a word, for the host watches how long it runs.
    let (blocks, words) = words.as_chunks::<8>();
    let any = |words: &[[u8; 8]]| words.iter().fold(0, |any, word| any | u64::from_le_bytes(*word));
    blocks.iter().fold(any(words), |found, block| found | any(block)) & HIGH == 0 && rest.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of every length, each with one that differs in any one byte.
    fn each(mut check: impl FnMut(&[u8], &[u8])) {
        let text: Vec<u8> = (0..100).collect();
        for length in 0..text.len() {
            let text = &text[..length];
            check(text, text);
            for at in 0..length {
                let mut other = text.to_vec();
                other[at] ^= 0x20;
                check(text, &other);
            }
        }
    }

    #[test]
    fn texts_are_compared_and_told_apart() {
        let words = |text: &[u8]| fold(text, Vec::new(), |words, word| [words, vec![word]].concat());
        each(|a, b| {
            assert_eq!(same(a, b), a == b);
            assert_eq!(words(a) == words(b), a == b, "{a:?} {b:?}");
            assert!(a.is_empty() || !same(a, &b[1..]));
        });
    }

    #[test]
    fn a_short_text_is_a_word() {
        let text = [1, 2, 3, 4, 5, 6, 7];
        for length in 0..=7 {
            assert_eq!(short(&text[..length]).to_le_bytes()[..length], text[..length]);
            assert_eq!(short(&text[..length]) >> (8 * length), 0);
        }
    }

    #[test]
    fn bytes_beyond_ascii_are_found_anywhere() {
        for length in 0..200 {
            let mut text = vec![0x7f; length];
            assert!(is_ascii(&text));
            for at in 0..length {
                text[at] = 0x80;
                assert!(!is_ascii(&text), "{length} {at}");
                text[at] = 0x7f;
            }
        }
    }
}
