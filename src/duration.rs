//! How a duration is typed: one dialect for remexd, remex-gateway and remex, in flags, files and URLs. Pure.

use std::time::Duration;

use jiff::SignedDuration;

/// The text is no duration. What it says follows the text: `--timeout "soon" is no duration: …`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is no duration: write for example 30s, 500ms, 1h30m, 1.5s or a number of seconds")]
pub struct DurationError;

/// `30s`, `500ms`, `1h30m`, `1.5s`, or a number of seconds: `90`, `0.5`.
///
/// ```
/// use std::time::Duration;
///
/// assert_eq!(remex::duration::parse("1h30m"), Ok(Duration::from_secs(5400)));
/// assert_eq!(remex::duration::parse("90"), Ok(Duration::from_secs(90)));
/// assert!(remex::duration::parse("soon").is_err());
/// ```
pub fn parse(text: &str) -> Result<Duration, DurationError> {
    let is_number = !text.is_empty() && text.bytes().all(|byte| b".0123456789".contains(&byte));
    let parsed: Result<SignedDuration, _> = if is_number {
        format!("{text}s").parse()
    } else {
        text.parse()
    };
    parsed
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .ok_or(DurationError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_read() {
        for (text, millis) in [
            ("30s", 30_000),
            ("2m", 120_000),
            ("500ms", 500),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            ("1.5s", 1500),
            ("8760h", 31_536_000_000),
            ("90", 90_000),
            ("0.25", 250),
            ("0", 0),
            ("0s", 0),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_millis(millis)), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "soon",
            "s",
            ".",
            "1.2.3",
            "-1",
            "-1s",
            "1s ago",
            "1y",
            "0x10",
            "1e3",
            "٣s",
            "99999999999999999999",
            "99999999999999999999s",
            "18446744073709551615h",
        ] {
            assert_eq!(parse(text), Err(DurationError), "{text}");
        }
    }
}
