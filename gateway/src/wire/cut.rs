//! Where a body that is too long is cut: behind a whole character, with a note that says so and still fits. Pure.

use encoding_rs::Encoding;

/// The longest character of any charset, in bytes.
const MOST_CHARACTER_BYTES: usize = 4;

/// What ends a cut body.
pub fn cut_note(kept: u64, total: u64) -> String {
    format!("\n[remex: cut, {kept} of {total} bytes]")
}

/// How much output a body of at most `most` bytes keeps of `total`: all of it, or what leaves room for the note.
pub fn kept(most: u64, total: u64) -> u64 {
    if total <= most {
        return total;
    }
    // No note has more digits than this one.
    let note = cut_note(most, total).len();
    most.saturating_sub(u64::try_from(note).unwrap_or(u64::MAX))
}

/// The longest prefix of `bytes`, up to `most`, that ends with a whole character of `charset`; `most` itself if the bytes
/// are no text in it.
pub fn boundary(bytes: &[u8], most: usize, charset: &'static Encoding) -> usize {
    let most = most.min(bytes.len());
    (0..MOST_CHARACTER_BYTES)
        .filter_map(|fewer| most.checked_sub(fewer))
        .find(|&len| {
            charset
                .decode_without_bom_handling_and_without_replacement(&bytes[..len])
                .is_some()
        })
        .unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use encoding_rs::{GB18030, GBK, UTF_8};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_fits_is_kept() {
        assert_eq!(kept(100, 100), 100);
        assert_eq!(kept(100, 0), 0);
        let kept = kept(100, 101);
        assert_eq!(kept, 100 - 31);
        assert!(usize::try_from(kept).unwrap() + cut_note(kept, 101).len() <= 100);
    }

    #[test]
    fn no_character_is_cut() {
        let text = "a目录";
        assert_eq!(boundary(text.as_bytes(), 7, UTF_8), 7);
        assert_eq!(boundary(text.as_bytes(), 6, UTF_8), 4);
        assert_eq!(boundary(text.as_bytes(), 3, UTF_8), 1);
        assert_eq!(boundary(text.as_bytes(), 99, UTF_8), 7);
        let gbk = GBK.encode(text).0;
        assert_eq!(boundary(&gbk, 4, GBK), 3);
        // The longest characters have four bytes.
        for charset in [UTF_8, GB18030] {
            let text = charset.encode("🦀🦀").0;
            for (most, end) in [(8, 8), (7, 4), (6, 4), (5, 4), (4, 4), (3, 0), (0, 0)] {
                assert_eq!(boundary(&text, most, charset), end, "{most}");
            }
        }
        assert_eq!(boundary(b"\xff\xff\xff\xff\xff\xff", 5, UTF_8), 5);
    }

    proptest! {
        #[test]
        fn note_and_output_fit(most in 64_u64..10_000_000, more in 1_u64..u64::MAX / 2) {
            let total = most + more;
            let kept = kept(most, total);
            prop_assert!(kept + cut_note(kept, total).len() as u64 <= most);
        }

        #[test]
        fn a_prefix_of_text_is_text(text in any::<String>(), most in 0_usize..40) {
            let end = boundary(text.as_bytes(), most, UTF_8);
            prop_assert!(end <= most && text.is_char_boundary(end));
        }
    }
}
