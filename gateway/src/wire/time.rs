//! The time service: a strftime format is answered with the time in it. Directives are C's; widths are ignored, so that no
//! short request asks for a long reply, and what is no directive stands for itself. Pure: the time is passed in.

use jiff::Zoned;

use crate::limits::MOST_TIME_BYTES;

/// What an empty request asks for.
pub const DEFAULT_FORMAT: &str = "%Y-%m-%d %X";

/// `now` in `format`, cut behind a whole character at [`MOST_TIME_BYTES`].
pub fn format(format: &str, now: &Zoned) -> String {
    let format = if format.is_empty() {
        DEFAULT_FORMAT
    } else {
        format
    };
    let mut out = String::with_capacity(2 * format.len());
    let mut rest = format;
    while let Some((text, directive)) = rest.split_once('%') {
        out.push_str(text);
        rest = one(directive, now, &mut out);
    }
    out.push_str(rest);
    let end = out.floor_char_boundary(MOST_TIME_BYTES);
    out.truncate(end);
    out
}

/// Appends what stands behind a `%`, and returns the text behind it.
fn one<'a>(text: &'a str, now: &Zoned, out: &mut String) -> &'a str {
    // glibc's flags, widths and modifiers.
    let bare = text.trim_start_matches(['_', '-', '0', '^', '#']);
    let bare = bare.trim_start_matches(|character: char| character.is_ascii_digit());
    let bare = bare.strip_prefix(['E', 'O']).unwrap_or(bare);
    let mut characters = bare.chars();
    let Some(directive) = characters.next() else {
        out.push('%');
        return text;
    };
    let Some(meaning) = meaning(directive) else {
        out.push('%');
        return text;
    };
    // Every meaning is a format that jiff knows; if one were not, the directive stands for itself.
    match jiff::fmt::strtime::format(meaning, now) {
        Ok(text) => out.push_str(&text),
        Err(_) => out.extend(['%', directive]),
    }
    characters.as_str()
}

/// C's directive in terms of jiff's, in the C locale.
fn meaning(directive: char) -> Option<&'static str> {
    Some(match directive {
        'a' => "%a",
        'A' => "%A",
        'b' | 'h' => "%b",
        'B' => "%B",
        'c' => "%a %b %e %H:%M:%S %Y",
        'C' => "%C",
        'd' => "%d",
        'D' | 'x' => "%m/%d/%y",
        'e' => "%e",
        'F' => "%Y-%m-%d",
        'g' => "%g",
        'G' => "%G",
        'H' => "%H",
        'I' => "%I",
        'j' => "%j",
        'k' => "%k",
        'l' => "%l",
        'm' => "%m",
        'M' => "%M",
        'n' => "\n",
        'p' => "%p",
        'P' => "%P",
        'r' => "%I:%M:%S %p",
        'R' => "%H:%M",
        's' => "%s",
        'S' => "%S",
        't' => "\t",
        'T' | 'X' => "%H:%M:%S",
        'u' => "%u",
        'U' => "%U",
        'V' => "%V",
        'w' => "%w",
        'W' => "%W",
        'y' => "%y",
        'Y' => "%Y",
        'z' => "%z",
        'Z' => "%Z",
        '%' => "%%",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn now() -> Zoned {
        jiff::civil::datetime(2026, 11, 3, 4, 5, 6, 0)
            .to_zoned(jiff::tz::TimeZone::UTC)
            .unwrap()
    }

    #[test]
    fn formats_are_strftimes() {
        for (text, expected) in [
            ("", "2026-11-03 04:05:06"),
            ("%Y-%m-%d %X", "2026-11-03 04:05:06"),
            ("%Y年%m月%d日", "2026年11月03日"),
            ("%c", "Tue Nov  3 04:05:06 2026"),
            ("%x %D %F", "11/03/26 11/03/26 2026-11-03"),
            ("%a %A %b %h %B", "Tue Tuesday Nov Nov November"),
            (
                "%d %e|%H %I %k %l|%M %S|%p %P",
                "03  3|04 04  4  4|05 06|AM am",
            ),
            ("%s", "1793678706"),
            (
                "%j %U %V %W %u %w %G %g %C %y",
                "307 44 45 44 2 2 2026 26 20 26",
            ),
            ("%R %T %r", "04:05 04:05:06 04:05:06 AM"),
            ("%z %Z", "+0000 UTC"),
            ("a%%b%n%tc", "a%b\n\tc"),
            ("plain", "plain"),
        ] {
            assert_eq!(format(text, &now()), expected, "{text}");
        }
    }

    #[test]
    fn widths_and_flags_are_ignored() {
        for (text, expected) in [
            ("%999999Y", "2026"),
            ("%10d|%-d|%_d|%^a", "03|03|03|Tue"),
            ("%Ey %Od", "26 03"),
        ] {
            assert_eq!(format(text, &now()), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_directive_stands_for_itself() {
        for text in ["%", "100%", "%Q", "%5", "%é", "% d"] {
            assert_eq!(format(text, &now()), text);
        }
    }

    #[test]
    fn the_reply_has_an_end() {
        for (text, expected) in [
            ("a".repeat(8192), 8192),
            ("a".repeat(8193), 8192),
            ("%c".repeat(8192), 8192),
            // Behind a whole character, of three bytes.
            ("年".repeat(8192), 8190),
        ] {
            assert_eq!(format(&text, &now()).len(), expected);
        }
    }

    proptest! {
        #[test]
        fn no_format_fails(text in any::<String>(), directives in "(%[0-9_EO^-]{0,3}[!-~]){0,9}") {
            format(&text, &now());
            format(&directives, &now());
        }
    }
}
