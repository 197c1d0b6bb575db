//! Finding the end of what needs no escape: most of the bytes of most bodies, so eight at a time.

/// How many bytes from the start on are neither a control character nor `"` nor `\`.
pub(super) fn length(bytes: &[u8]) -> usize {
    let (words, rest) = bytes.as_chunks::<8>();
    let mut length = 0;
    for word in words {
        let found = special(u64::from_le_bytes(*word));
        if found != 0 {
            return length + (found.trailing_zeros() / 8) as usize;
        }
        length += 8;
    }
    let is_special = |b: &u8| *b < 0x20 || matches!(b, b'"' | b'\\');
    length + rest.iter().position(is_special).unwrap_or(rest.len())
}

/// Sets the top bit of each special byte. A borrow can set the bit of a byte above a special one too, so only the lowest
/// set bit counts.
const fn special(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const TOPS: u64 = 0x8080_8080_8080_8080;
    let control = word.wrapping_sub(ONES * 0x20);
    let quote = (word ^ (ONES * b'"' as u64)).wrapping_sub(ONES);
    let backslash = (word ^ (ONES * b'\\' as u64)).wrapping_sub(ONES);
    // Bytes with a top bit of their own are of multi-byte characters, never special.
    (control | quote | backslash) & !word & TOPS
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    fn one_by_one(bytes: &[u8]) -> usize {
        bytes
            .iter()
            .take_while(|b| **b >= 0x20 && !matches!(b, b'"' | b'\\'))
            .count()
    }

    #[test]
    fn each_byte_is_found_at_each_place_beside_each_other() {
        for byte in 0..=u8::MAX {
            for beside in [0x20, b'!', b'#', b'[', b']', 0x7f, 0x80, 0xff] {
                for place in 0..17 {
                    let mut bytes = [beside; 17];
                    bytes[place] = byte;
                    assert_eq!(super::length(&bytes), one_by_one(&bytes), "{bytes:?}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn eight_at_a_time_is_as_one_by_one(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(super::length(&bytes), one_by_one(&bytes));
        }
    }
}
