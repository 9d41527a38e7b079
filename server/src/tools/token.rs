//! `remexd token new NAME`.

use std::io::{self, Write};

use jiff::{SignedDuration, Timestamp};
use remex::duration;
use serde::Serialize;

use super::{ToolError, operate};
use crate::identity::tokens::{self, Name};

pub(super) fn new(name: &Name, expires: Option<&str>, is_json: bool) -> Result<(), ToolError> {
    let expires = expires
        .map(|text| time(text, Timestamp::now()))
        .transpose()?;
    let token = tokens::new(name.clone(), expires).map_err(|error| {
        ToolError::Internal(format!("the kernel gives no random bytes: {error}"))
    })?;
    if is_json {
        return operate::print_json(&NewToken {
            token: &token.secret,
            line: token.line.to_string(),
        });
    }
    let printed = writeln!(io::stderr(), "{}", token.line)
        .and_then(|()| writeln!(io::stdout(), "{}", token.secret))
        .and_then(|()| io::stdout().flush());
    printed.map_err(|error| ToolError::Internal(format!("the token cannot be printed: {error}")))
}

/// The token, and what stands for it in the file of `--tokens`.
#[derive(Serialize)]
struct NewToken<'a> {
    token: &'a str,
    line: String,
}

/// A time, or how long it is until then.
fn time(text: &str, now: Timestamp) -> Result<Timestamp, ToolError> {
    let after = duration::parse(text).ok();
    let after = after.and_then(|after| SignedDuration::try_from(after).ok());
    let time = match after {
        Some(after) => now.checked_add(after).ok(),
        None => text.parse().ok(),
    };
    match time {
        Some(time) if time > now => Ok(time),
        Some(_) => Err(wrong(text, "is over already")),
        None => Err(wrong(
            text,
            "is no time: write for example 2027-01-31T00:00:00Z, or 720h",
        )),
    }
}

fn wrong(text: &str, why: &str) -> ToolError {
    ToolError::Usage(format!("--expires: {} {why}", text.escape_debug()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_typed_as_a_time_or_a_duration() {
        let now: Timestamp = "2026-11-26T00:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2027-01-31T00:00:00Z", "2027-01-31T00:00:00Z"),
            ("2027-01-31T01:00:00+01:00", "2027-01-31T00:00:00Z"),
            ("24h", "2026-11-27T00:00:00Z"),
            ("90", "2026-11-26T00:01:30Z"),
        ] {
            assert_eq!(time(text, now).unwrap().to_string(), expected, "{text}");
        }
        for text in ["soon", "", "2026-11-25T00:00:00Z", "0", "999999999999h"] {
            let error = time(text, now).unwrap_err();
            assert!(matches!(error, ToolError::Usage(_)), "{text}");
        }
    }
}
