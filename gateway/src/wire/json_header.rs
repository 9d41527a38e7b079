//! `json-header`: int32 length of a JSON header, the header, the body. The header is pure ASCII, and a superset of the
//! tutorial's: clients read the size by its key and ignore the rest. Pure.

use std::io;

use bytes::Bytes;
use remex_client::wire::{Endian, LENGTH_BYTES, SIZE_KEYS, key};
use serde::{Serialize, Serializer, ser::SerializeMap};
use serde_json::ser::Formatter;

use super::{Head, Summary, Then};
use crate::limits::MOST_FILENAME_BYTES;

/// Clients that store what they receive store it under this name.
const FILENAME: &str = "output.txt";

pub(super) fn head(size_key: Option<&str>, endian: Endian, summary: &Summary) -> Head {
    let size_key = size_key.unwrap_or(SIZE_KEYS[0]);
    // Written behind room for its length; a Vec takes all that is written, and nothing in it fails to serialize.
    let mut bytes = vec![0; LENGTH_BYTES];
    let header = Header { size_key, summary };
    let mut serializer = serde_json::Serializer::with_formatter(&mut bytes, Python);
    if header.serialize(&mut serializer).is_err() {
        bytes.truncate(LENGTH_BYTES);
    }
    let length = i32::try_from(bytes.len() - LENGTH_BYTES).unwrap_or(i32::MAX);
    bytes[..LENGTH_BYTES].copy_from_slice(&endian.int32(length));
    Head {
        bytes: Bytes::from(bytes),
        then: Then::Body,
    }
}

/// JSON as Python writes it, since clients without a parser look for `"total_size": ` as it stands: with a space behind each
/// colon and comma, and what is not ASCII escaped.
struct Python;

impl Formatter for Python {
    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        first: bool,
    ) -> io::Result<()> {
        writer.write_all(if first { b"" } else { b", " })
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(b": ")
    }

    fn write_string_fragment<W: ?Sized + io::Write>(
        &mut self,
        writer: &mut W,
        fragment: &str,
    ) -> io::Result<()> {
        for character in fragment.chars() {
            if character.is_ascii() {
                write!(writer, "{character}")?;
            } else {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
        }
        Ok(())
    }
}

/// The last word of a command, unless no file could be called so.
pub fn last_word(command: &str) -> Option<String> {
    let word = command.split_whitespace().next_back()?;
    (word.len() <= MOST_FILENAME_BYTES).then(|| word.to_owned())
}

struct Header<'a> {
    size_key: &'a str,
    summary: &'a Summary,
}

impl Serialize for Header<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { size_key, summary } = self;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry(size_key, &summary.body_bytes())?;
        map.serialize_entry(key::MD5, &hex(summary.md5))?;
        let filename = summary.filename.as_deref().unwrap_or(FILENAME);
        map.serialize_entry(key::FILENAME, filename)?;
        map.serialize_entry(key::STDOUT_SIZE, &summary.stdout_bytes)?;
        map.serialize_entry(key::STDERR_SIZE, &summary.stderr_bytes)?;
        map.serialize_entry(key::EXIT_CODE, &summary.ending.exit_code)?;
        let signal = summary.ending.signal.map(|signal| signal.to_string());
        map.serialize_entry(key::SIGNAL, &signal)?;
        map.serialize_entry(key::TRUNCATED, &summary.truncated)?;
        map.serialize_entry(key::EXECUTION_ID, &plain(&summary.execution_id))?;
        map.end()
    }
}

fn hex(digest: [u8; 16]) -> String {
    format!("{:032x}", u128::from_be_bytes(digest))
}

/// The id as the server gave it, unless that would bring anything but ASCII into the header.
fn plain(id: &str) -> &str {
    if id.bytes().all(|byte| byte.is_ascii_graphic()) {
        id
    } else {
        ""
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use remex_client::Signal;

    use super::*;
    use crate::wire::Ending;

    fn summary() -> Summary {
        Summary {
            stdout_bytes: 3,
            stderr_bytes: 4,
            md5: [0x0a; 16],
            ending: Ending::success(),
            truncated: false,
            filename: None,
            execution_id: "0198".to_owned(),
        }
    }

    #[test]
    fn the_layout_is_the_tutorials_and_more() {
        let head = head(None, Endian::Little, &summary());
        let json = concat!(
            r#"{"total_size": 7, "md5": "0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a0a", "filename": "output.txt", "stdout_size": 3, "#,
            r#""stderr_size": 4, "exit_code": 0, "signal": null, "truncated": false, "execution_id": "0198"}"#
        );
        let length = u8::try_from(json.len()).unwrap();
        assert_eq!(&head.bytes[..4], [length, 0, 0, 0]);
        assert_eq!(&head.bytes[4..], json.as_bytes());
        assert_eq!(head.then, Then::Body);
    }

    #[test]
    fn key_and_byte_order_are_the_listeners() {
        let head = head(Some("data_size"), Endian::Big, &summary());
        assert_eq!(&head.bytes[..3], [0, 0, 0]);
        assert!(head.bytes[4..].starts_with(br#"{"data_size": 7, "#));
    }

    #[test]
    fn a_signal_is_no_exit_code() {
        let summary = Summary {
            ending: Ending {
                signal: Signal::new(37),
                ..Ending::default()
            },
            ..summary()
        };
        let head = head(None, Endian::Little, &summary);
        let json: serde_json::Value = serde_json::from_slice(&head.bytes[4..]).unwrap();
        assert!(json["exit_code"].is_null());
        assert_eq!(json["signal"], "SIGRTMIN+3");
    }

    #[test]
    fn a_reply_may_be_named_after_its_command() {
        let longest = "f".repeat(255);
        for (command, expected) in [
            ("get a.txt", Some("a.txt")),
            ("get 文件.txt\n", Some("文件.txt")),
            ("dir", Some("dir")),
            (&*longest, Some(&*longest)),
            (&format!("{longest}f"), None),
            (" ", None),
        ] {
            assert_eq!(last_word(command).as_deref(), expected, "{command}");
        }
        let summary = Summary {
            filename: Some("文\"🦀".to_owned()),
            ..summary()
        };
        let head = head(None, Endian::Little, &summary);
        assert!(head.bytes[4..].is_ascii());
        let json: serde_json::Value = serde_json::from_slice(&head.bytes[4..]).unwrap();
        assert_eq!(json["filename"], "文\"🦀");
    }

    #[test]
    fn an_id_that_is_more_than_printable_ascii_is_left_out() {
        for (id, expected) in [
            ("0198-a~!", "0198-a~!"),
            ("é", ""),
            ("0198é", ""),
            ("01 98", ""),
            ("0198\n", ""),
            ("", ""),
        ] {
            let summary = Summary {
                execution_id: id.to_owned(),
                ..summary()
            };
            let head = head(None, Endian::Little, &summary);
            let json: serde_json::Value = serde_json::from_slice(&head.bytes[4..]).unwrap();
            assert_eq!(json["execution_id"], expected, "{id:?}");
        }
    }

    proptest! {
        #[test]
        fn the_header_is_ascii_json_of_its_length(id in any::<String>(), stdout in any::<u32>(), stderr in any::<u32>()) {
            let summary = Summary {
                stdout_bytes: stdout.into(),
                stderr_bytes: stderr.into(),
                execution_id: id,
                ..Summary::default()
            };
            let head = head(None, Endian::Little, &summary);
            prop_assert!(head.bytes[4..].is_ascii());
            let length = i32::from_le_bytes(head.bytes[..4].try_into().unwrap());
            prop_assert_eq!(usize::try_from(length).unwrap(), head.bytes.len() - 4);
            let json: serde_json::Value = serde_json::from_slice(&head.bytes[4..]).unwrap();
            prop_assert_eq!(json["total_size"].as_u64(), Some(summary.body_bytes()));
            for key in key::ALL {
                prop_assert!(json.get(key).is_some(), "{} is missing", key);
            }
        }
    }
}
