//! The values of options, parsed once. Pure.

mod legacy;

use std::{fmt, str::FromStr};

use encoding_rs::{Encoding, REPLACEMENT, UTF_16BE, UTF_16LE};
use thiserror::Error;

pub(crate) use self::legacy::{Ack, Endian, LegacyAddress, StreamAddress, WireArgs, WireName};

/// A value cannot be read; says how to write it.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ValueError {
    #[error("{0:?} is no variable: write NAME=VALUE, or NAME alone for the local value")]
    EnvVar(String),
    #[error("{0:?} is no label: write KEY=VALUE")]
    Label(String),
    #[error("{0:?} is no address: write HOST:PORT")]
    HostPort(String),
    #[error(
        "{0:?} is no character set: write a label of the WHATWG's such as utf-8, gbk or shift_jis"
    )]
    Charset(String),
    #[error("{0:?} is not used on a socket: write for example utf-8 or gbk")]
    WideCharset(String),
}

/// A character set by any label of the WHATWG's, if it has a code for ASCII in one byte.
pub(crate) fn charset(label: &str) -> Result<&'static Encoding, ValueError> {
    match Encoding::for_label(label.as_bytes()) {
        None => Err(ValueError::Charset(label.to_owned())),
        Some(wide) if [UTF_16BE, UTF_16LE, REPLACEMENT].contains(&wide) => {
            Err(ValueError::WideCharset(label.to_owned()))
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
            return Err(ValueError::EnvVar(text.to_owned()));
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
        match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok(Self {
                key: key.to_owned(),
                value: value.to_owned(),
            }),
            _ => Err(ValueError::Label(text.to_owned())),
        }
    }
}

/// `HOST:PORT`; IPv6 in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HostPort {
    pub(crate) host: String,
    pub(crate) port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        if host.contains(':') {
            write!(f, "[{host}]:{port}")
        } else {
            write!(f, "{host}:{port}")
        }
    }
}

impl FromStr for HostPort {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::HostPort(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(wrong)?;
        let port = port.parse().map_err(|_| wrong())?;
        let host = match host.strip_prefix('[') {
            Some(address) => address.strip_suffix(']').ok_or_else(wrong)?,
            None if host.contains(':') => return Err(wrong()),
            None => host,
        };
        if host.is_empty() {
            return Err(wrong());
        }
        let host = host.to_owned();
        Ok(Self { host, port })
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
    fn addresses_have_a_host_and_a_port() {
        for (text, host, port) in [("h:80", "h", 80), ("[::1]:8080", "::1", 8080)] {
            let parsed: HostPort = text.parse().unwrap();
            assert_eq!((parsed.host.as_str(), parsed.port), (host, port));
            assert_eq!(parsed.to_string(), text);
        }
        for text in ["h", "h:", ":1", "h:65536", "::1:80", "[::1:80"] {
            assert!(text.parse::<HostPort>().is_err(), "{text}");
        }
    }

    #[test]
    fn charsets_go_by_any_label() {
        assert_eq!(charset("GB2312"), Ok(encoding_rs::GBK));
        assert!(matches!(charset("klingon"), Err(ValueError::Charset(_))));
        assert!(matches!(charset("utf-16"), Err(ValueError::WideCharset(_))));
    }
}
