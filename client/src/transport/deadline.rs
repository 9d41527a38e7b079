//! A deadline that a caller has set: the header `grpc-timeout`. Pure.

use std::time::Duration;

use http::HeaderMap;

const HEADER: &str = "grpc-timeout";
/// gRPC's TimeoutValue: "positive integer as ASCII string of at most 8 digits".
const MAX_DIGITS: usize = 8;

/// How long a call may take; `None`: as long as it likes. What is no `grpc-timeout` is left to the server to refuse.
pub(super) fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(HEADER)?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let is_number =
        (1..=MAX_DIGITS).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    let number: u32 = digits.parse().ok().filter(|_| is_number)?;
    let duration = match unit {
        "H" => Duration::from_hours(number.into()),
        "M" => Duration::from_mins(number.into()),
        "S" => Duration::from_secs(number.into()),
        "m" => Duration::from_millis(number.into()),
        "u" => Duration::from_micros(number.into()),
        "n" => Duration::from_nanos(number.into()),
        _ => return None,
    };
    Some(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Option<Duration> {
        let mut headers = HeaderMap::new();
        headers.insert(HEADER, text.parse().unwrap());
        timeout(&headers)
    }

    #[test]
    fn every_unit_is_read_and_nothing_else() {
        assert_eq!(of("2H"), Some(Duration::from_hours(2)));
        assert_eq!(of("2M"), Some(Duration::from_mins(2)));
        assert_eq!(of("2S"), Some(Duration::from_secs(2)));
        assert_eq!(of("2m"), Some(Duration::from_millis(2)));
        assert_eq!(of("2u"), Some(Duration::from_micros(2)));
        assert_eq!(of("00000002n"), Some(Duration::from_nanos(2)));
        assert_eq!(of("99999999H"), Some(Duration::from_hours(99_999_999)));
        for wrong in ["", "S", "2", "2s", "-2S", "+2S", "123456789S", "2 S", "2é"] {
            assert_eq!(of(wrong), None, "{wrong:?}");
        }
        assert_eq!(timeout(&HeaderMap::new()), None);
    }
}
