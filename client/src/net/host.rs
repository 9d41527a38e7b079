//! A server's host and port, as they are typed. Pure: a name is looked up, and a zone found, when it is connected to.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    str::FromStr,
};

use http::uri::Authority;
use thiserror::Error;

/// A machine, by its name or its address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Host {
    /// A name.
    Name(String),
    /// An address.
    Address(IpAddr),
    /// An address of one link, such as `fe80::1%eth0` (RFC 4007).
    Zoned {
        /// The address.
        address: Ipv6Addr,
        /// The link: the name of a network interface of this machine, or its index.
        zone: String,
    },
}

/// `HOST:PORT`; IPv6 in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostPort {
    /// The machine.
    pub host: Host,
    /// Its port.
    pub port: u16,
}

/// The text has no host, or no port. What it says follows the text: `"host" is no address: …`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("is no address: write HOST:PORT")]
pub struct NoHostPort;

/// How a zone is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Syntax {
    /// Behind `%`.
    Plain,
    /// Behind `%25`, as in a URI (RFC 6874); `%` alone is understood.
    Uri,
}

impl Host {
    /// Whether it is this machine as it is written: an address of the loopback, or the name `localhost`.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Name(name) => name.eq_ignore_ascii_case("localhost"),
            Self::Address(address) => address.to_canonical().is_loopback(),
            Self::Zoned { address, .. } => address.is_loopback(),
        }
    }

    /// An IPv6 address, without brackets.
    pub(crate) fn ipv6(text: &str, syntax: Syntax) -> Option<Self> {
        let Some((address, zone)) = text.split_once('%') else {
            let address: Ipv6Addr = text.parse().ok()?;
            return Some(Self::Address(address.into()));
        };
        let zone = match zone.strip_prefix("25") {
            // `%25` alone is an index.
            Some(zone) if syntax == Syntax::Uri && !zone.is_empty() => zone,
            _ => zone,
        };
        let plain = |c: char| c.is_ascii_graphic() && !"%[]/?#@".contains(c);
        if zone.is_empty() || !zone.chars().all(plain) {
            return None;
        }
        Some(Self::Zoned {
            address: address.parse().ok()?,
            zone: zone.to_owned(),
        })
    }

    fn name_or_ipv4(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse() {
            return Some(Self::Address(IpAddr::V4(address)));
        }
        let authority: Authority = text.parse().ok()?;
        // An authority may also have a user.
        (authority.host() == text).then(|| Self::Name(text.to_owned()))
    }
}

impl HostPort {
    /// The authority of a URI: the zone of an address stands behind `%25` there, as RFC 6874 has it.
    pub fn from_uri(authority: &str) -> Result<Self, NoHostPort> {
        Self::new(authority, Syntax::Uri)
    }

    fn new(text: &str, syntax: Syntax) -> Result<Self, NoHostPort> {
        match parse(text, syntax) {
            Some((host, Some(port))) => Ok(Self { host, port }),
            _ => Err(NoHostPort),
        }
    }

    /// As it stands in a URI.
    pub(crate) fn uri(&self) -> String {
        match &self.host {
            Host::Zoned { address, zone } => format!("[{address}%25{zone}]:{}", self.port),
            Host::Name(_) | Host::Address(_) => self.to_string(),
        }
    }

    /// What a server is told of where it was called. The zone is this machine's business.
    pub(crate) fn authority(&self) -> String {
        match self.host {
            Host::Zoned { address, .. } => format!("[{address}]:{}", self.port),
            Host::Name(_) | Host::Address(_) => self.to_string(),
        }
    }
}

/// Host and port of `HOST[:PORT]`, `[IPV6][:PORT]`.
pub(crate) fn parse(text: &str, syntax: Syntax) -> Option<(Host, Option<u16>)> {
    let (host, rest) = if let Some(bracketed) = text.strip_prefix('[') {
        let (address, rest) = bracketed.split_once(']')?;
        (Host::ipv6(address, syntax)?, rest)
    } else {
        let (host, rest) = text.split_at(text.find(':').unwrap_or(text.len()));
        (Host::name_or_ipv4(host)?, rest)
    };
    match rest.strip_prefix(':') {
        Some(digits) => Some((host, Some(port(digits)?))),
        None => rest.is_empty().then_some((host, None)),
    }
}

/// `parse` of a number would take a sign.
fn port(digits: &str) -> Option<u16> {
    let digits = Some(digits).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    digits?.parse().ok()
}

impl FromStr for HostPort {
    type Err = NoHostPort;

    fn from_str(text: &str) -> Result<Self, NoHostPort> {
        Self::new(text, Syntax::Plain)
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { host, port } = self;
        match host {
            Host::Address(IpAddr::V6(address)) => write!(f, "[{address}]:{port}"),
            Host::Address(IpAddr::V4(address)) => write!(f, "{address}:{port}"),
            Host::Zoned { address, zone } => write!(f, "[{address}%{zone}]:{port}"),
            Host::Name(name) => write!(f, "{name}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_of_an_address_is_read() {
        for (text, shown) in [
            ("h:80", "h:80"),
            ("build.example:0", "build.example:0"),
            ("192.0.2.7:65535", "192.0.2.7:65535"),
            // RFC 4291, section 2.2.
            (
                "[2001:DB8:0:0:8:800:200C:417A]:1",
                "[2001:db8::8:800:200c:417a]:1",
            ),
            (
                "[2001:0db8:0000:0000:0008:0800:200c:417a]:1",
                "[2001:db8::8:800:200c:417a]:1",
            ),
            ("[FF01::101]:1", "[ff01::101]:1"),
            ("[::1]:8080", "[::1]:8080"),
            ("[::]:1", "[::]:1"),
            ("[0:0:0:0:0:0:13.1.68.3]:1", "[::d01:4403]:1"),
            ("[::FFFF:129.144.52.38]:1", "[::ffff:129.144.52.38]:1"),
            // RFC 4007, section 11.
            ("[fe80::1%eth0]:1", "[fe80::1%eth0]:1"),
            ("[FE80::1%1]:1", "[fe80::1%1]:1"),
            ("[ff02::1%veth-a.100]:1", "[ff02::1%veth-a.100]:1"),
        ] {
            let parsed: HostPort = text.parse().unwrap_or_else(|_| panic!("{text}"));
            assert_eq!(parsed.to_string(), shown, "{text}");
            assert_eq!(shown.parse(), Ok(parsed), "{shown}");
        }
    }

    #[test]
    fn a_zone_in_a_uri_is_escaped_and_a_servers_not_to_know() {
        for (text, zone, shown) in [
            ("[fe80::1%25eth0]:1", "eth0", "[fe80::1%25eth0]:1"),
            ("[fe80::1%251]:1", "1", "[fe80::1%251]:1"),
            ("[fe80::1%eth0]:1", "eth0", "[fe80::1%25eth0]:1"),
            ("[fe80::1%25]:1", "25", "[fe80::1%2525]:1"),
            ("[fe80::1%2525]:1", "25", "[fe80::1%2525]:1"),
        ] {
            let parsed = HostPort::from_uri(text).unwrap();
            let Host::Zoned {
                zone: parsed_zone, ..
            } = &parsed.host
            else {
                panic!("no zone: {text}")
            };
            assert_eq!(parsed_zone, zone, "{text}");
            assert_eq!(parsed.uri(), shown, "{text}");
            assert_eq!(HostPort::from_uri(shown), Ok(parsed.clone()), "{shown}");
            assert_eq!(parsed.authority(), "[fe80::1]:1");
        }
        // Nothing is escaped where there is no URI.
        let plain: HostPort = "[fe80::1%25eth0]:1".parse().unwrap();
        assert_eq!(plain.to_string(), "[fe80::1%25eth0]:1");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "h",
            "h:",
            ":1",
            "h:65536",
            "h:+1",
            "h:1x",
            "h: 1",
            "::1:80",
            "[::1:80",
            "[::1]",
            "[::1]80",
            "[::1]:",
            "[h]:1",
            "[127.0.0.1]:1",
            "[::1%]:1",
            "[::1%a b]:1",
            "[::1%a%b]:1",
            "127.0.0.1%eth0:1",
            "me@h:1",
            "h/x:1",
            "h\u{e9}:1",
            "[1::2::3]:1",
            "[12345::]:1",
            "[::1.2.3]:1",
            "[::1.2.3.256]:1",
        ] {
            assert_eq!(text.parse::<HostPort>(), Err(NoHostPort), "{text}");
            assert_eq!(HostPort::from_uri(text), Err(NoHostPort), "{text}");
        }
    }

    #[test]
    fn this_machine_is_known_by_its_addresses() {
        for (text, local) in [
            ("localhost:1", true),
            ("LOCALHOST:1", true),
            ("127.8.8.8:1", true),
            ("[::1]:1", true),
            ("[0:0:0:0:0:0:0:1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("[::1%lo]:1", true),
            ("[fe80::1%lo]:1", false),
            ("[::]:1", false),
            ("192.0.2.7:1", false),
            ("build:1", false),
        ] {
            let parsed: HostPort = text.parse().unwrap();
            assert_eq!(parsed.host.is_local(), local, "{text}");
        }
    }
}
