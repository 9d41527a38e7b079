//! Text from outside, made harmless for terminals and for files read by line. Pure.

use std::{borrow::Cow, fmt::Write};

/// How an escape is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spelling {
    /// `\n`, `\u{1b}`.
    Text,
    /// `\u000a`, `\u001b`: as within a string of JSON.
    Json,
}

/// Whether a character acts on a terminal, or on the order in which text is shown, instead of being seen.
pub fn is_harmful(character: char) -> bool {
    character.is_control()
        || matches!(character,
            // Marks, overrides and isolates of the writing direction; line and paragraph separators.
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// `text` with what is harmful spelled out; newlines and tabs too.
pub fn escape(text: &str, spelling: Spelling) -> Cow<'_, str> {
    if !text.chars().any(is_harmful) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        match spelling {
            _ if !is_harmful(character) => safe.push(character),
            Spelling::Text => safe.extend(character.escape_default()),
            // All that is harmful lies in the basic plane: no surrogates.
            Spelling::Json => {
                // Writing to a String cannot fail.
                let _ = write!(safe, "\\u{:04x}", u32::from(character));
            }
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_seen_stays_as_it_is() {
        let text = "größe 目录 \"\\\" 🦀";
        assert!(matches!(escape(text, Spelling::Text), Cow::Borrowed(same) if same == text));
    }

    #[test]
    fn what_acts_is_spelled_out() {
        let text = "a\n\u{1b}[2J\u{9b}\u{202e}\u{2028}\u{61c}\0";
        assert_eq!(
            escape(text, Spelling::Text),
            "a\\n\\u{1b}[2J\\u{9b}\\u{202e}\\u{2028}\\u{61c}\\u{0}"
        );
        assert_eq!(
            escape(text, Spelling::Json),
            "a\\u000a\\u001b[2J\\u009b\\u202e\\u2028\\u061c\\u0000"
        );
    }
}
