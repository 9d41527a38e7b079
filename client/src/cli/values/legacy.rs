//! Where a server of the old protocol is, and how it lays out its replies. Pure.

use std::{path::PathBuf, str::FromStr};

use remex_client::{
    net::{self, HostPort, NoHostPort},
    wire::{Ack, Endian, Filename, Wire, WireName},
};
use thiserror::Error;

/// How a server of the old protocol lays out its replies: the keys of a listener's URL.
#[derive(Debug, Clone, Default, clap::Args)]
pub(crate) struct WireArgs {
    /// The layout of its replies. Default: json-header.
    #[arg(long, value_name = "WIRE", value_enum)]
    pub(crate) wire: Option<WireName>,
    /// The byte order of its lengths. Default: little.
    #[arg(long, value_name = "ORDER", value_enum)]
    pub(crate) endian: Option<Endian>,
    /// What stands between length and output on the wire ascii-length. Default: wait.
    #[arg(long, value_name = "ACK", value_enum)]
    pub(crate) ack: Option<Ack>,
    /// The key of its JSON header that has the size. Default: total_size, data_size or size.
    #[arg(long, value_name = "KEY")]
    pub(crate) size_key: Option<String>,
}

/// An option that says nothing of the wire that was chosen.
#[derive(Debug, PartialEq, Eq, Error)]
pub(crate) enum WireError {
    #[error("--{option} goes with --wire {with}")]
    Misplaced {
        option: &'static str,
        with: &'static str,
    },
    #[error("a datagram has no wire: leave out --{0}")]
    Datagram(&'static str),
}

impl WireArgs {
    /// The wire that was typed.
    pub(crate) fn wire(&self) -> Result<Wire, WireError> {
        let name = self.wire.unwrap_or_default();
        let with = |option, given: bool, fits: bool, with| {
            if given && !fits {
                return Err(WireError::Misplaced { option, with });
            }
            Ok(())
        };
        let counts = matches!(name, WireName::JsonHeader | WireName::Length);
        let is_given = self.endian.is_some();
        with("endian", is_given, counts, "json-header and length")?;
        let acks = name == WireName::AsciiLength;
        with("ack", self.ack.is_some(), acks, "ascii-length")?;
        let has_header = name == WireName::JsonHeader;
        let is_given = self.size_key.is_some();
        with("size-key", is_given, has_header, "json-header")?;
        let endian = self.endian.unwrap_or_default();
        Ok(match name {
            WireName::JsonHeader => Wire::JsonHeader {
                endian,
                size_key: self.size_key.clone(),
                filename: Filename::default(),
            },
            WireName::Length => Wire::Length { endian },
            WireName::AsciiLength => Wire::AsciiLength {
                ack: self.ack.unwrap_or_default(),
            },
            WireName::Raw => Wire::Raw { reply_end: None },
        })
    }

    /// Nothing was said of a wire, as it has to be for datagrams.
    pub(crate) fn none(&self) -> Result<(), WireError> {
        let given = [
            ("wire", self.wire.is_some()),
            ("endian", self.endian.is_some()),
            ("ack", self.ack.is_some()),
            ("size-key", self.size_key.is_some()),
        ];
        match given.into_iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(WireError::Datagram(option)),
            None => Ok(()),
        }
    }
}

/// The address of a server of the old protocol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LegacyAddress {
    /// A command goes over a connection.
    Stream(StreamAddress),
    /// `udp://HOST:PORT`: it is a datagram.
    Datagram(HostPort),
}

/// Where a connection leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum StreamAddress {
    /// `HOST:PORT` or `tcp://HOST:PORT`.
    Tcp(HostPort),
    /// `unix:/PATH` or `unix:///PATH`.
    Unix(PathBuf),
}

/// The text is no such address. What it says follows the text.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum AddressError {
    #[error("is no server's address: write HOST:PORT, udp://HOST:PORT or unix:/PATH")]
    Unknown,
    #[error("has {0:?} at its end: end it after HOST:PORT, and say the wire with --wire")]
    Path(String),
    #[error(transparent)]
    HostPort(#[from] NoHostPort),
}

impl FromStr for LegacyAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            if let Some(at) = path.find('?') {
                return Err(AddressError::Path(path[at..].to_owned()));
            }
            let path = net::socket_path(path).ok_or(AddressError::Unknown)?;
            return Ok(Self::Stream(StreamAddress::Unix(path)));
        }
        match text.split_once("://") {
            None => Ok(Self::Stream(StreamAddress::Tcp(alone(text)?.parse()?))),
            Some(("tcp", rest)) => {
                let server = HostPort::from_uri(alone(rest)?)?;
                Ok(Self::Stream(StreamAddress::Tcp(server)))
            }
            Some(("udp", rest)) => Ok(Self::Datagram(HostPort::from_uri(alone(rest)?)?)),
            Some(_) => Err(AddressError::Unknown),
        }
    }
}

/// `text`, if no path and no query follow it.
fn alone(text: &str) -> Result<&str, AddressError> {
    match text.find(['/', '?']) {
        Some(at) => Err(AddressError::Path(text[at..].to_owned())),
        None => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_say_what_carries_the_command() {
        let at = |host: &str| format!("{host}:8080").parse().unwrap();
        let tcp = |host| LegacyAddress::Stream(StreamAddress::Tcp(at(host)));
        let unix = LegacyAddress::Stream(StreamAddress::Unix("/run/x".into()));
        for (text, expected) in [
            ("example.org:8080", tcp("example.org")),
            ("[::1]:8080", tcp("[::1]")),
            ("tcp://127.0.0.1:8080", tcp("127.0.0.1")),
            ("udp://[::1]:8080", LegacyAddress::Datagram(at("[::1]"))),
            ("[FE80:0::1%eth0]:8080", tcp("[fe80::1%eth0]")),
            ("tcp://[fe80::1%25eth0]:8080", tcp("[fe80::1%eth0]")),
            (
                "udp://[::ffff:192.0.2.7]:8080",
                LegacyAddress::Datagram(at("[::ffff:192.0.2.7]")),
            ),
            ("unix:/run/x", unix.clone()),
            ("unix:///run/x", unix),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_told_how_to_be_one() {
        for (text, said) in [
            ("host", "HOST:PORT"),
            ("http://host:1", "udp://HOST:PORT"),
            ("unix:x", "unix:/PATH"),
            ("tcp://h:1/exec?wire=raw", "--wire"),
            ("h:1/exec", "--wire"),
            ("unix:/x?service=exec", "--wire"),
        ] {
            let error = text.parse::<LegacyAddress>().unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }

    #[test]
    fn options_of_another_wire_are_refused() {
        let given = WireArgs {
            wire: None,
            endian: Some(Endian::Big),
            ack: None,
            size_key: None,
        };
        let of = |wire| {
            WireArgs {
                wire,
                ..given.clone()
            }
            .wire()
        };
        let endian = Endian::Big;
        assert_eq!(of(Some(WireName::Length)), Ok(Wire::Length { endian }));
        assert!(of(None).is_ok());
        for wire in [WireName::AsciiLength, WireName::Raw] {
            let said = of(Some(wire)).unwrap_err().to_string();
            assert_eq!(said, "--endian goes with --wire json-header and length");
        }
        let ack = WireArgs {
            ack: Some(Ack::Wait),
            ..given.clone()
        };
        assert!(ack.wire().is_err());
        let key = WireArgs {
            wire: Some(WireName::Length),
            size_key: Some("size".to_owned()),
            ..given.clone()
        };
        assert!(key.wire().is_err());
        assert_eq!(given.none(), Err(WireError::Datagram("endian")));
        assert_eq!(WireArgs::default().none(), Ok(()));
    }
}
