//! Makes text from elsewhere safe to print: control characters and those that reorder a line come out as escapes. Pure.

/// `text` on one line.
pub(crate) fn line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        push(&mut line, c);
    }
    line
}

/// Text of several lines, piece by piece: line ends and tabs stay.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    /// A carriage return came last: half of a line end, or one that would let a line overwrite itself.
    carriage_return: bool,
}

impl Lines {
    /// The next piece.
    pub(crate) fn piece(&mut self, text: &str) -> String {
        let mut escaped = String::with_capacity(text.len());
        for c in text.chars() {
            if std::mem::take(&mut self.carriage_return) {
                escaped.push_str(if c == '\n' { "\r" } else { "\\r" });
            }
            match c {
                '\r' => self.carriage_return = true,
                '\n' | '\t' => escaped.push(c),
                _ => push(&mut escaped, c),
            }
        }
        escaped
    }

    /// What was held back.
    pub(crate) fn end(self) -> &'static str {
        if self.carriage_return { "\\r" } else { "" }
    }
}

fn push(to: &mut String, c: char) {
    if is_harmful(c) {
        to.extend(c.escape_default());
    } else {
        to.push(c);
    }
}

/// Whether a character acts on a terminal, or on the order in which text is shown, instead of being seen: as the daemons
/// have it for their logs.
fn is_harmful(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_no_control_characters() {
        assert_eq!(
            line("a\n\t\r\u{1b}[31m\u{7f}\u{9b}é漢"),
            r"a\n\t\r\u{1b}[31m\u{7f}\u{9b}é漢"
        );
        let reordering = "\u{202e}abc\u{2066}\u{200e}\u{61c}\u{2028}";
        assert_eq!(
            line(reordering),
            r"\u{202e}abc\u{2066}\u{200e}\u{61c}\u{2028}"
        );
    }

    #[test]
    fn lines_keep_their_ends_wherever_they_are_cut() {
        let text = "a\r\nb\rc\n\td\u{1b}c\r";
        let whole = "a\r\nb\\rc\n\td\\u{1b}c\\r";
        for cut in 0..=text.len() {
            let mut lines = Lines::default();
            let mut escaped = lines.piece(&text[..cut]);
            escaped += &lines.piece(&text[cut..]);
            escaped += lines.end();
            assert_eq!(escaped, whole, "cut at {cut}");
        }
    }
}
