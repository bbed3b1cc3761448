//! Text in the form in which it is compared.

use std::borrow::Cow;

/// Trimmed and in lower case, by Unicode's rules. Allocates only if letters change.
///
/// ```
/// assert_eq!(tidemill_sdk::lower(" Page_View\n"), "page_view");
/// ```
pub fn lower(text: &str) -> Cow<'_, str> {
    let text = trim(text);
    if is_lower(text) {
        Cow::Borrowed(text)
    } else if text.is_ascii() {
        Cow::Owned(text.to_ascii_lowercase())
    } else {
        Cow::Owned(text.to_lowercase())
    }
}

/// [`lower`] that uses a buffer again and again instead of allocating.
///
/// ```
/// let mut buffer = String::new();
/// assert_eq!(tidemill_sdk::lower_into(" Page_View\n", &mut buffer), "page_view");
/// ```
#[inline]
pub fn lower_into<'a>(text: &'a str, buffer: &'a mut String) -> &'a str {
    let text = trim(text);
    if is_lower(text) {
        return text;
    }
    buffer.clear();
    if text.is_ascii() {
        copy(text, buffer);
        buffer.make_ascii_lowercase();
    } else {
        // Not letter by letter: a final sigma depends on its place.
        buffer.push_str(&text.to_lowercase());
    }
    buffer
}

/// `str::trim`, without decoding where text plainly begins and ends with a letter.
#[inline]
fn trim(text: &str) -> &str {
    match text.as_bytes() {
        [first, .., last] if first.is_ascii_graphic() && last.is_ascii_graphic() => text,
        _ => text.trim(),
    }
}

/// Appends ASCII. In Wasm a copy of variable length is a call into the host: short ones are made of words.
#[inline]
fn copy(text: &str, buffer: &mut String) {
    if text.len() > 64 {
        return buffer.push_str(text);
    }
    let mut rest = text;
    while let Some((word, after)) = rest.split_at_checked(8) {
        buffer.push_str(word);
        rest = after;
    }
    for letter in rest.chars() {
        buffer.push(letter);
    }
}

/// Whether lower case would change nothing.
#[inline]
fn is_lower(text: &str) -> bool {
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let last = rest.iter().fold(0, |word, byte| word << 8 | u64::from(*byte));
    let found = words.iter().fold(suspects(last), |found, word| found | suspects(u64::from_le_bytes(*word)));
    found == 0 || (!text.is_ascii() && text.chars().all(|c| c.to_lowercase().eq([c])))
}

/// The highest bit of each byte that is an upper case letter or beyond ASCII.
#[inline]
const fn suspects(word: u64) -> u64 {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGH: u64 = 0x80 * ONES;
    let low = word & !HIGH;
    // The sums carry into the highest bit from `A` on, and from the letter after `Z` on.
    let (from_a, after_z) = (low + (0x80 - 0x41) * ONES, low + (0x80 - 0x5b) * ONES);
    (from_a & !after_z | word) & HIGH
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_what_the_standard_library_makes_of_it() {
        let texts = [
            "",
            " ",
            "a",
            "A",
            " Page_View ",
            "\u{a0}x\u{2003}",
            "ÄÖÜ straße",
            "ΑΣ ΟΔΟΣ",
            "İstanbul",
            "ﬀ",
            "Ǆ",
            "日本語",
            "aÉ",
            "é",
            "ᾈ",
            "🦀",
            "x\0Y",
        ];
        let mut buffer = String::from("left over");
        for text in texts {
            let want = text.trim().to_lowercase();
            assert_eq!(lower(text), want, "{text:?}");
            assert_eq!(lower_into(text, &mut buffer), want, "{text:?}");
            assert_eq!(matches!(lower(text), Cow::Borrowed(_)), text.trim() == want, "{text:?}");
        }
        for c in '\0'..=char::MAX {
            let text = format!("x{c}y");
            assert_eq!(lower(&text), text.trim().to_lowercase());
        }
    }
}
