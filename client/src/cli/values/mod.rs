//! The values of options, parsed once. Pure.

mod legacy;

use std::str::FromStr;

use encoding_rs::{Encoding, REPLACEMENT, UTF_16BE, UTF_16LE};
use remex_client::Signal;
use thiserror::Error;

pub(crate) use self::legacy::{LegacyAddress, StreamAddress, WireArgs};

/// The longest id that a caller may choose.
const REQUEST_ID_BYTES_MAX: usize = 1024;
/// The longest key of a label.
const LABEL_KEY_BYTES_MAX: usize = 63;
/// The longest value of a label.
const LABEL_VALUE_BYTES_MAX: usize = 256;

/// A value cannot be read. What it says follows the value: `--label "x" is no label: …`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum ValueError {
    #[error("is no variable: write NAME=VALUE, or NAME alone for the local value")]
    EnvVar,
    #[error("is empty: write what to run")]
    NoCommand,
    #[error("is empty: write a name, a number or UID:GID")]
    NoUser,
    #[error("is no id: write 1 to 1,024 bytes, the same ones for the same run")]
    RequestId,
    #[error("is no label: write KEY=VALUE")]
    Label,
    #[error("has a key that no label may have: write 1 to 63 characters of a-z, 0-9 and ._/-")]
    LabelKey,
    #[error("has too long a value: write at most 256 bytes")]
    LabelValue,
    #[error("is relative: write an absolute path, on the server's machine")]
    RelativeFolder,
    #[error("is no signal: write for example TERM, SIGTERM or 15")]
    Signal,
    #[error("is no character set: write a label of the WHATWG's such as utf-8, gbk or shift_jis")]
    Charset,
    #[error("is not used on a socket: write for example utf-8 or gbk")]
    WideCharset,
}

/// A signal by name or number.
pub(crate) fn signal(text: &str) -> Result<Signal, ValueError> {
    // As it is typed behind kill, too: -9.
    let name = text.strip_prefix('-').unwrap_or(text);
    name.parse().map_err(|_| ValueError::Signal)
}

/// The path of a folder on the server's machine.
pub(crate) fn folder(path: &str) -> Result<String, ValueError> {
    if path.starts_with('/') {
        Ok(path.to_owned())
    } else {
        Err(ValueError::RelativeFolder)
    }
}

/// What /bin/sh is to run.
pub(crate) fn shell(text: &str) -> Result<String, ValueError> {
    not_empty(text, ValueError::NoCommand)
}

/// A user of the server's machine, which knows whether there is one.
pub(crate) fn user(name: &str) -> Result<String, ValueError> {
    not_empty(name, ValueError::NoUser)
}

/// An id of the caller's own.
pub(crate) fn request_id(id: &str) -> Result<String, ValueError> {
    if id.len() > REQUEST_ID_BYTES_MAX {
        return Err(ValueError::RequestId);
    }
    not_empty(id, ValueError::RequestId)
}

fn not_empty(text: &str, error: ValueError) -> Result<String, ValueError> {
    if text.is_empty() {
        Err(error)
    } else {
        Ok(text.to_owned())
    }
}

/// A character set by any label of the WHATWG's, if it has a code for ASCII in one byte.
pub(crate) fn charset(label: &str) -> Result<&'static Encoding, ValueError> {
    match Encoding::for_label(label.as_bytes()) {
        None => Err(ValueError::Charset),
        Some(wide) if [UTF_16BE, UTF_16LE, REPLACEMENT].contains(&wide) => {
            Err(ValueError::WideCharset)
        }
        Some(encoding) => Ok(encoding),
    }
}

/// `NAME=VALUE`, or `NAME` for the value that it has here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct EnvVar {
    pub(crate) name: String,
    pub(crate) value: Option<String>,
}

impl FromStr for EnvVar {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        if name.is_empty() {
            return Err(ValueError::EnvVar);
        }
        let name = name.to_owned();
        Ok(Self { name, value })
    }
}

/// `KEY=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Label {
    pub(crate) key: String,
    pub(crate) value: String,
}

impl FromStr for Label {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (key, value) = text.split_once('=').ok_or(ValueError::Label)?;
        let plain = |byte: u8| {
            byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._/-".contains(&byte)
        };
        if !(1..=LABEL_KEY_BYTES_MAX).contains(&key.len()) || !key.bytes().all(plain) {
            return Err(ValueError::LabelKey);
        }
        if value.len() > LABEL_VALUE_BYTES_MAX {
            return Err(ValueError::LabelValue);
        }
        Ok(Self {
            key: key.to_owned(),
            value: value.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_may_be_empty_and_hold_equal_signs() {
        for (text, name, value) in [
            ("A", "A", None),
            ("A=", "A", Some("")),
            ("A=b=c", "A", Some("b=c")),
        ] {
            let var: EnvVar = text.parse().unwrap();
            assert_eq!((var.name.as_str(), var.value.as_deref()), (name, value));
        }
        assert!("".parse::<EnvVar>().is_err());
        assert!("=b".parse::<EnvVar>().is_err());
    }

    #[test]
    fn labels_are_those_that_the_api_takes() {
        let longest = format!("{}={}", "k".repeat(63), "v".repeat(256));
        for text in ["a=", "a=b=c", "example.org/job-1=7", &longest] {
            assert!(text.parse::<Label>().is_ok(), "{text}");
        }
        for (text, error) in [
            ("a", ValueError::Label),
            ("=b", ValueError::LabelKey),
            ("Foo=1", ValueError::LabelKey),
            ("a b=1", ValueError::LabelKey),
            (&format!("{}=1", "k".repeat(64)), ValueError::LabelKey),
            (&format!("k={}", "v".repeat(257)), ValueError::LabelValue),
        ] {
            assert_eq!(text.parse::<Label>(), Err(error), "{text}");
        }
    }

    #[test]
    fn charsets_go_by_any_label() {
        assert_eq!(charset("GB2312"), Ok(encoding_rs::GBK));
        assert!(matches!(charset("klingon"), Err(ValueError::Charset)));
        assert!(matches!(charset("utf-16"), Err(ValueError::WideCharset)));
    }
}
