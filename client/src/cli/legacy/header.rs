//! The JSON header of a reply, as any server of the protocol may write it. Pure.

use serde_json::{Map, Value};
use thiserror::Error;

use remex_client::{
    Signal,
    wire::{SIZE_KEYS, key},
};

/// What a header says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) body_bytes: u64,
    /// Set if it is a digest at all: servers out of the tutorial send "abcdefg1234".
    pub(super) md5: Option<[u8; 16]>,
    /// The exit code; `None` if the header says that there is none. 0 if it says nothing.
    pub(super) status: Option<u8>,
}

/// A header cannot be understood.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum HeaderError {
    #[error("the answer's header is not JSON; check that the server speaks json-header")]
    Json,
    #[error(
        "the answer's header has none of total_size, data_size and size; say which key has the size with --size-key"
    )]
    Size,
    #[error("the answer's header has no size by that --size-key")]
    SizeKey,
}

/// Reads a header whose size goes by `size_key`, or by any of the usual names.
pub(super) fn parse(header: &[u8], size_key: Option<&str>) -> Result<Header, HeaderError> {
    let header: Map<String, Value> =
        serde_json::from_slice(header).map_err(|_| HeaderError::Json)?;
    let size = |name: &str| header.get(name)?.as_u64();
    let body_bytes = match size_key {
        Some(name) => size(name).ok_or(HeaderError::SizeKey)?,
        None => SIZE_KEYS
            .into_iter()
            .find_map(size)
            .ok_or(HeaderError::Size)?,
    };
    let md5 = header
        .get(key::MD5)
        .and_then(Value::as_str)
        .and_then(digest);
    Ok(Header {
        body_bytes,
        md5,
        status: status(&header),
    })
}

fn status(header: &Map<String, Value>) -> Option<u8> {
    if let Some(signal) = header.get(key::SIGNAL).and_then(Value::as_str) {
        return signal
            .parse()
            .ok()
            .map(|signal: Signal| 128 + signal.number());
    }
    match header.get(key::EXIT_CODE) {
        None => Some(0),
        Some(code) => code.as_u64().and_then(|code| u8::try_from(code).ok()),
    }
}

/// 32 hexadecimal digits as 16 bytes.
fn digest(text: &str) -> Option<[u8; 16]> {
    let digits: &[u8; 32] = text.as_bytes().try_into().ok()?;
    let mut bytes = [0; 16];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_go_by_three_names() {
        for key in SIZE_KEYS {
            let header = parse(
                format!(r#"{{"{key}": 5, "md5": "abcdefg1234"}}"#).as_bytes(),
                None,
            );
            let expected = Header {
                body_bytes: 5,
                md5: None,
                status: Some(0),
            };
            assert_eq!(header, Ok(expected));
        }
        let header = br#"{"size": 1, "bytes": 2}"#;
        assert_eq!(parse(header, Some("bytes")).unwrap().body_bytes, 2);
        assert_eq!(parse(header, Some("other")), Err(HeaderError::SizeKey));
    }

    #[test]
    fn exit_codes_are_those_of_the_header() {
        for (says, status) in [
            ("", Some(0)),
            (r#", "exit_code": 7, "signal": null"#, Some(7)),
            (r#", "exit_code": null, "signal": "SIGKILL""#, Some(137)),
            (r#", "exit_code": null, "signal": "SIGRTMIN+3""#, Some(165)),
            (r#", "exit_code": null, "signal": null"#, None),
            (r#", "exit_code": -1"#, None),
            (r#", "exit_code": 256"#, None),
        ] {
            let header = parse(format!(r#"{{"total_size": 0{says}}}"#).as_bytes(), None);
            assert_eq!(header.unwrap().status, status, "{says}");
        }
    }

    #[test]
    fn only_a_digest_is_taken_for_one() {
        assert_eq!(
            digest("D41D8CD98F00B204E9800998ecf8427e").map(|bytes| bytes[0]),
            Some(0xd4)
        );
        for text in [
            "abcdefg1234",
            "",
            "z41d8cd98f00b204e9800998ecf8427e",
            "ééééééééééééééé é",
        ] {
            assert_eq!(digest(text), None, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for (header, error) in [
            (&b"[1]"[..], HeaderError::Json),
            (b"\xff", HeaderError::Json),
            (b"{}", HeaderError::Size),
            (br#"{"size": -1}"#, HeaderError::Size),
            (br#"{"size": "5"}"#, HeaderError::Size),
        ] {
            assert_eq!(parse(header, None), Err(error));
        }
    }
}
