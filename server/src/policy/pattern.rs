//! Patterns of arguments, paths and names: exact, or with `*` for anything within one element. Pure.

use std::mem;

/// The longest pattern, in bytes.
pub const MAX_PATTERN_BYTES: usize = 1024;

/// The longest text that a pattern with a `*` matches.
pub const MAX_MATCHED_BYTES: usize = 4096;

/// A pattern. It matches the whole of a text or nothing of it.
///
/// `*` stands for any bytes within one element: it crosses no separator (`/`, in DNS names `.`), matches nothing of a text
/// with `..` in it, and at the beginning of a pattern no `-`, since that would be an option. `\*` is a star, `\\` a backslash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    meaning: Meaning,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Meaning {
    /// This text, and no other.
    Exact(Vec<u8>),
    /// All that have these elements, each of which is what stands between its stars.
    Starred {
        separator: u8,
        elements: Vec<Vec<Vec<u8>>>,
    },
}

/// The text is no pattern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NotAPattern {
    /// It is longer than a pattern may be.
    #[error("is longer than {MAX_PATTERN_BYTES} bytes")]
    TooLong,
    /// A backslash before something else than a star or a backslash.
    #[error("has a backslash that is before neither * nor another backslash; write \\\\ for one")]
    Escape,
    /// `..` beside a star, which would match nothing.
    #[error("has .. beside a *, which never matches a text with .. in it")]
    Parent,
    /// A NUL, which no argument has.
    #[error("has a NUL")]
    Nul,
}

impl Pattern {
    /// Of arguments and paths.
    pub fn parse(text: &str) -> Result<Self, NotAPattern> {
        Self::with_separator(text, b'/')
    }

    /// With elements that `separator` separates.
    pub fn with_separator(text: &str, separator: u8) -> Result<Self, NotAPattern> {
        if text.len() > MAX_PATTERN_BYTES {
            return Err(NotAPattern::TooLong);
        }
        if text.contains('\0') {
            return Err(NotAPattern::Nul);
        }
        let (mut elements, mut pieces, mut piece) = (Vec::new(), Vec::new(), Vec::new());
        let mut is_exact = true;
        let mut bytes = text.bytes();
        while let Some(byte) = bytes.next() {
            match byte {
                b'*' => {
                    is_exact = false;
                    pieces.push(mem::take(&mut piece));
                }
                byte if byte == separator => {
                    pieces.push(mem::take(&mut piece));
                    elements.push(mem::take(&mut pieces));
                }
                b'\\' => {
                    let escaped = bytes.next().filter(|next| matches!(next, b'*' | b'\\'));
                    piece.push(escaped.ok_or(NotAPattern::Escape)?);
                }
                byte => piece.push(byte),
            }
        }
        pieces.push(piece);
        elements.push(pieces);
        if !is_exact && text.contains("..") {
            return Err(NotAPattern::Parent);
        }
        let meaning = if is_exact {
            let elements: Vec<_> = elements.iter().map(|pieces| pieces.concat()).collect();
            Meaning::Exact(elements.join(&separator))
        } else {
            Meaning::Starred {
                separator,
                elements,
            }
        };
        Ok(Self {
            text: text.to_owned(),
            meaning,
        })
    }

    /// Whether it is one text and no other.
    pub fn is_exact(&self) -> bool {
        self.literal().is_some()
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The one text that it matches; `None`: there are several.
    pub fn literal(&self) -> Option<&[u8]> {
        match &self.meaning {
            Meaning::Exact(text) => Some(text),
            Meaning::Starred { .. } => None,
        }
    }

    /// Whether it matches `text`, all of it.
    pub fn matches(&self, text: &[u8]) -> bool {
        match &self.meaning {
            Meaning::Exact(exact) => text == exact,
            Meaning::Starred {
                separator,
                elements,
            } => starred_matches(*separator, elements, text),
        }
    }
}

fn starred_matches(separator: u8, elements: &[Vec<Vec<u8>>], text: &[u8]) -> bool {
    let has_parent = text.windows(2).any(|pair| pair == b"..");
    // Nothing is before the first star; or before a separator, which no such text begins with either.
    let first = elements.first().and_then(|pieces| pieces.first());
    let is_option = first.is_some_and(Vec::is_empty) && text.starts_with(b"-");
    if text.len() > MAX_MATCHED_BYTES || has_parent || is_option {
        return false;
    }
    let mut parts = text.split(|byte| *byte == separator);
    let fit = elements
        .iter()
        .all(|pieces| parts.next().is_some_and(|part| element_fits(pieces, part)));
    fit && parts.next().is_none()
}

/// Whether `pieces`, with anything between each two of them, are `text`.
fn element_fits(pieces: &[Vec<u8>], text: &[u8]) -> bool {
    let Some((first, rest)) = pieces.split_first() else {
        return text.is_empty();
    };
    let Some((last, between)) = rest.split_last() else {
        return text == first;
    };
    let inner = text.strip_prefix(first.as_slice());
    let Some(mut inner) = inner.and_then(|inner| inner.strip_suffix(last.as_slice())) else {
        return false;
    };
    // The first place where a piece fits leaves the most to those behind it.
    for piece in between.iter().filter(|piece| !piece.is_empty()) {
        let at = inner
            .windows(piece.len())
            .position(|window| window == piece);
        match at.and_then(|at| inner.get(at + piece.len()..)) {
            Some(behind) => inner = behind,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn matches(pattern: &str, text: &str) -> bool {
        Pattern::parse(pattern).unwrap().matches(text.as_bytes())
    }

    #[test]
    fn a_pattern_matches_all_of_a_text_within_elements() {
        for (pattern, text, expected) in [
            ("restart", "restart", true),
            ("restart", "restart ", false),
            ("restart", "xrestart", false),
            ("", "", true),
            ("", "x", false),
            ("app-*", "app-1", true),
            ("app-*", "app-", true),
            ("app-*", "xapp-1", false),
            ("app-*", "app-1/2", false),
            ("*", "x", true),
            ("*", "", true),
            ("*", "/x", false),
            ("*.log", "a.log", true),
            ("*.log", "a.log.gz", false),
            ("/srv/*/x", "/srv/a/x", true),
            ("/srv/*/x", "/srv/a/b/x", false),
            ("/srv/*", "/srv/", true),
            ("/srv/*", "/srv", false),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "abc", true),
            ("a*b*c", "acb", false),
            ("a*b*c", "ab", false),
            ("ab*ba", "aba", false),
            ("*aa*", "aXaa", true),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            (r"a\\b", r"a\b", true),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn promise_4_no_star_crosses_a_slash_or_matches_parents() {
        for (pattern, text) in [
            ("/srv/*", "/srv/.."),
            ("/srv/*/x", "/srv/../x"),
            ("--file=*", "--file=.."),
            ("*", ".."),
            (".*", ".."),
            ("a*", "a/../b"),
            ("*", "a..b"),
        ] {
            assert!(!matches(pattern, text), "{pattern} {text}");
        }
        // What is written out is meant.
        assert!(matches("../x", "../x"));
        assert_eq!(Pattern::parse("../*"), Err(NotAPattern::Parent));
    }

    #[test]
    fn a_star_at_the_beginning_is_no_option() {
        assert!(!matches("*", "--exec"));
        assert!(!matches("*x", "-x"));
        assert!(matches("-*", "-x"));
        assert!(matches("-x", "-x"));
    }

    #[test]
    fn names_have_elements_too() {
        let pattern = Pattern::with_separator("dns:*.example.org", b'.').unwrap();
        assert!(pattern.matches(b"dns:a.example.org"));
        assert!(!pattern.matches(b"dns:a.b.example.org"));
        assert!(!pattern.matches(b"dns:aXexample.org"));
    }

    #[test]
    fn a_pattern_is_as_it_was_written_and_exact_without_a_star() {
        for (text, is_exact) in [("", true), ("/a/b", true), (r"a\*", true), ("a*", false)] {
            let pattern = Pattern::parse(text).unwrap();
            assert_eq!((pattern.as_str(), pattern.is_exact()), (text, is_exact));
        }
    }

    #[test]
    fn what_is_no_pattern_is_said() {
        for (text, expected) in [
            (r"a\b", NotAPattern::Escape),
            (r"a\", NotAPattern::Escape),
            ("a\0", NotAPattern::Nul),
        ] {
            assert_eq!(Pattern::parse(text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn patterns_and_what_they_match_are_as_long_as_the_limits_and_no_longer() {
        let at = "x".repeat(MAX_PATTERN_BYTES);
        assert!(Pattern::parse(&at).is_ok());
        let beyond = Pattern::parse(&format!("{at}x"));
        assert_eq!(beyond, Err(NotAPattern::TooLong));
        let text = "x".repeat(MAX_MATCHED_BYTES);
        assert!(matches("x*", &text));
        assert!(!matches("x*", &format!("{text}x")));
    }

    /// All ways of it, tried out.
    fn naive(pattern: &[u8], text: &[u8]) -> bool {
        match pattern.split_first() {
            None => text.is_empty(),
            Some((b'*', rest)) => {
                naive(rest, text)
                    || text
                        .split_first()
                        .is_some_and(|(first, behind)| *first != b'/' && naive(pattern, behind))
            }
            Some((byte, rest)) => text
                .split_first()
                .is_some_and(|(first, behind)| first == byte && naive(rest, behind)),
        }
    }

    proptest! {
        #[test]
        fn it_matches_what_trying_all_ways_matches(pattern in "[ab/*]{0,8}", text in "[ab/]{0,10}") {
            prop_assert_eq!(matches(&pattern, &text), naive(pattern.as_bytes(), text.as_bytes()));
        }

        #[test]
        fn whatever_is_exact_matches_itself_alone(text in "[a-c/.\\-]{0,8}", other in "[a-c/.\\-]{0,8}") {
            let pattern = Pattern::parse(&text).unwrap();
            prop_assert!(pattern.matches(text.as_bytes()));
            prop_assert_eq!(pattern.literal(), Some(text.as_bytes()));
            prop_assert_eq!(pattern.matches(other.as_bytes()), text == other);
        }
    }
}
