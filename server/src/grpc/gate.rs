//! What is asked of a request before anything of it is read: that it is a call of gRPC, and how long its caller waits.

use std::time::Duration;

use http::{
    HeaderMap, HeaderValue, Method, StatusCode,
    header::{ALLOW, CONTENT_TYPE},
    request::Parts,
};
use remex::error::Reason;
use tonic::{Status, body::Body};

/// The header that says how long a caller waits.
const GRPC_TIMEOUT: &str = "grpc-timeout";

/// What callers are told that speak something else.
const SPOKEN: &str = "This port speaks gRPC: POST, with the content type application/grpc, over HTTP/2. It speaks neither gRPC-Web nor JSON.\n";

/// Digits that a timeout has at most, as gRPC has it.
const MAX_TIMEOUT_DIGITS: usize = 8;

/// A request that is no call. A browser may send those by itself, on behalf of any page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoCall {
    /// Only POST is.
    Method,
    /// Only `application/grpc` is, alone or followed by `+proto` or `;`.
    ContentType,
}

impl NoCall {
    /// The answer, in HTTP's own terms, and to a person.
    pub(super) fn into_response(self) -> http::Response<Body> {
        let mut response = http::Response::new(Body::new(SPOKEN.to_owned()));
        let text = HeaderValue::from_static("text/plain");
        response.headers_mut().insert(CONTENT_TYPE, text);
        match self {
            Self::Method => {
                *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
                let post = HeaderValue::from_static("POST");
                response.headers_mut().insert(ALLOW, post);
            }
            Self::ContentType => *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE,
        }
        response
    }
}

/// Whether this is a call.
pub(super) fn check(request: &Parts) -> Result<(), NoCall> {
    if request.method != Method::POST {
        return Err(NoCall::Method);
    }
    let mut types = request.headers.get_all(CONTENT_TYPE).iter();
    match (types.next(), types.next()) {
        (Some(only), None) if is_grpc(only.as_bytes()) => Ok(()),
        _ => Err(NoCall::ContentType),
    }
}

fn is_grpc(content_type: &[u8]) -> bool {
    const GRPC: &[u8] = b"application/grpc";
    const PROTO: &[u8] = b"+proto";
    let Some((start, rest)) = content_type.split_at_checked(GRPC.len()) else {
        return false;
    };
    let rest = match rest.split_at_checked(PROTO.len()) {
        Some((suffix, rest)) if suffix.eq_ignore_ascii_case(PROTO) => rest,
        _ => rest,
    };
    start.eq_ignore_ascii_case(GRPC) && matches!(rest.first(), None | Some(b';'))
}

/// How long the caller waits; `None`: as long as it takes.
pub(super) fn timeout(headers: &HeaderMap) -> Result<Option<Duration>, Status> {
    let mut values = headers.get_all(GRPC_TIMEOUT).iter();
    match (values.next(), values.next()) {
        (None, _) => Ok(None),
        (Some(value), None) => match parse_timeout(value.as_bytes()) {
            Some(timeout) => Ok(Some(timeout)),
            None => Err(malformed()),
        },
        (Some(_), Some(_)) => Err(malformed()),
    }
}

fn malformed() -> Status {
    let why = "is no timeout: 1 to 8 digits and a unit of H, M, S, m, u, n";
    Reason::InvalidField.field(GRPC_TIMEOUT, why)
}

fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if !(1..=MAX_TIMEOUT_DIGITS).contains(&digits.len()) || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    // Eight digits of hours are no overflow.
    match unit {
        b'H' => Some(Duration::from_secs(number * 3600)),
        b'M' => Some(Duration::from_secs(number * 60)),
        b'S' => Some(Duration::from_secs(number)),
        b'm' => Some(Duration::from_millis(number)),
        b'u' => Some(Duration::from_micros(number)),
        b'n' => Some(Duration::from_nanos(number)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn checked(method: &str, types: &[&str]) -> Result<(), NoCall> {
        let mut request = Request::builder().method(method);
        for &content_type in types {
            request = request.header(CONTENT_TYPE, content_type);
        }
        check(&request.body(()).unwrap().into_parts().0)
    }

    #[test]
    fn pitfall_56_only_grpcs_own_content_types_are_calls() {
        for calls in [
            "application/grpc",
            "application/grpc+proto",
            "application/grpc;charset=utf-8",
            "application/grpc+proto;x",
            "Application/gRPC",
        ] {
            assert_eq!(checked("POST", &[calls]), Ok(()), "{calls}");
        }
        for other in [
            "",
            "text/plain",
            "application/x-www-form-urlencoded",
            "application/json",
            "application/grp",
            "application/grpcx",
            "application/grpc+json",
            "application/grpc+protox",
            "application/grpc-web",
            "application/grpc-web+proto",
            "text/plain;application/grpc",
            " application/grpc",
        ] {
            let no_call = Err(NoCall::ContentType);
            assert_eq!(checked("POST", &[other]), no_call, "{other:?}");
        }
        assert_eq!(checked("POST", &[]), Err(NoCall::ContentType));
        let twice = ["application/grpc", "text/plain"];
        assert_eq!(checked("POST", &twice), Err(NoCall::ContentType));
    }

    #[test]
    fn pitfall_56_only_post_is_a_call() {
        for method in ["GET", "HEAD", "PUT", "OPTIONS", "DELETE", "PATCH", "post"] {
            let no_call = Err(NoCall::Method);
            assert_eq!(checked(method, &["application/grpc"]), no_call, "{method}");
        }
    }

    fn timeout_of(values: &[&str]) -> Result<Option<Duration>, Option<Reason>> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(GRPC_TIMEOUT, value.parse().unwrap());
        }
        timeout(&headers).map_err(|status| Reason::of(&status))
    }

    #[test]
    fn timeouts_are_grpcs() {
        for (value, expected) in [
            ("1H", Duration::from_hours(1)),
            ("2M", Duration::from_mins(2)),
            ("0S", Duration::ZERO),
            ("00000003m", Duration::from_millis(3)),
            ("5m", Duration::from_millis(5)),
            ("6u", Duration::from_micros(6)),
            ("7n", Duration::from_nanos(7)),
            ("99999999H", Duration::from_hours(99_999_999)),
        ] {
            assert_eq!(timeout_of(&[value]), Ok(Some(expected)), "{value}");
        }
        assert_eq!(timeout_of(&[]), Ok(None));
        for value in [
            "",
            "1",
            "S",
            "-1S",
            "+1S",
            "1.5S",
            "1s",
            "123456789S",
            "1 S",
            "1SS",
        ] {
            let malformed = Err(Some(Reason::InvalidField));
            assert_eq!(timeout_of(&[value]), malformed, "{value:?}");
        }
        assert!(timeout_of(&["1S", "1S"]).is_err());
    }
}
