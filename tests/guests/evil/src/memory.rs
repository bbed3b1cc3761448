//! Vectors and strings that Rust does not allow. They are handed to the host and never looked at here.
#![allow(unsafe_code)]

/// Strings that all have the same bytes in the same place.
pub(crate) fn aliases(bytes: usize, count: usize) -> Vec<String> {
    let text: &'static mut [u8] = vec![b'x'; bytes].leak();
    let start = text.as_mut_ptr();
    // Safety: none, they would be freed more than once. The host ends the instance before.
    (0..count).map(|_| unsafe { String::from_raw_parts(start, bytes, bytes) }).collect()
}

/// A vector that reaches far beyond the memory.
pub(crate) fn beyond() -> Vec<u8> {
    let start: *mut u8 = std::ptr::without_provenance_mut(0xffff_0000);
    // Safety: none. The host must see that nothing is there.
    unsafe { Vec::from_raw_parts(start, 0xfff0, 0xfff0) }
}

/// A string that is not UTF-8.
pub(crate) fn not_utf8() -> String {
    // Safety: none. The host must look.
    unsafe { String::from_utf8_unchecked(vec![b'a', 0xff, 0xfe]) }
}
