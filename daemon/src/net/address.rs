//! What a daemon may listen on: a TCP address or a Unix socket. Once parsed, an [`Address`] needs no more checks. Nothing is
//! looked up but the number of a zone, which the kernel knows.

use std::{
    fmt,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    path::PathBuf,
    str::FromStr,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, netdevice, socket_with};
use serde::{Deserialize, Deserializer};

use super::{Users, text::deserialize_text};

/// The mode of a Unix socket that asks for none: its owner alone.
const DEFAULT_MODE: u32 = 0o600;
/// Every permission bit there is; setuid and the like mean nothing on a socket.
const MAX_MODE: u32 = 0o777;
const WRITABLE_BY_OTHERS: u32 = 0o002;
const UNIX: &str = "unix:";

/// Where to listen. Parses `127.0.0.1:50051`, `[::1]:50051`, `[fe80::1%eth0]:50051`, `localhost:50051` (IPv4), `unix:/p`,
/// `unix:///p` and `unix:/p?mode=0660&group=adm`. IPv4 that is written in IPv6 is IPv4.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// An IP address and a port; port 0 is any that is free.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(UnixAddress),
}

/// A Unix socket: where, and who may connect as far as the file system is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnixAddress {
    /// Absolute, without control characters.
    pub path: PathBuf,
    /// Permission bits, up to 0777.
    pub mode: u32,
    /// A group's name or number; `None`: as the file system gives it.
    pub group: Option<String>,
}

/// The text is no address. The message says what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// Nothing there.
    #[error(
        "the address is empty; write 127.0.0.1:50051, [::1]:50051 or unix:/run/remex/remexd.sock"
    )]
    Empty,
    /// A URL where an address is asked for.
    #[error("`{0}` is a URL; write only the address and the port, as in 127.0.0.1:50051")]
    Url(String),
    /// Host without a port.
    #[error("`{0}` has no port; write it as in 127.0.0.1:50051 (port 0: any that is free)")]
    NoPort(String),
    /// Port out of range or no number.
    #[error("`{0}` is no port; it is a number from 0 to 65535")]
    Port(String),
    /// IPv6 without brackets.
    #[error("`{0}`: an IPv6 address stands in brackets, as in [::1]:50051")]
    Brackets(String),
    /// A zone that is no network interface.
    #[error("`{0}` is no network interface of this machine; `ip link` shows those that are")]
    Zone(String),
    /// A host name.
    #[error("`{0}` is no IP address; names other than localhost are not looked up")]
    Host(String),
    /// A Unix socket's path that depends on the current folder.
    #[error("`{0}`: the path of a Unix socket is absolute, as in unix:/run/remex/remexd.sock")]
    RelativePath(String),
    /// A path that names a folder.
    #[error("`{0}`: the path of a Unix socket ends with the name of the socket")]
    NoFileName(String),
    /// A path that would spoil the lines that it is printed in.
    #[error("the path of a Unix socket holds a control character: {0}")]
    ControlCharacter(String),
    /// A key behind the `?` that means nothing.
    #[error("unknown key `{0}` for a Unix socket; known are mode and group")]
    UnknownKey(String),
    /// The same key twice.
    #[error("the key `{0}` is given twice")]
    RepeatedKey(String),
    /// A mode that is none.
    #[error("mode=`{0}`: a mode is octal and up to 0777, as in mode=0660")]
    Mode(String),
    /// An empty group.
    #[error("group= is empty; give the name or the number of a group")]
    Group,
}

impl Address {
    /// The authority of a URI: a zone stands behind `%25` there, as RFC 6874 has it.
    pub fn from_uri(authority: &str) -> Result<Self, AddressError> {
        // `%25` alone is a number.
        match authority.split_once("%25") {
            Some((address, zone)) if !zone.starts_with(']') => format!("{address}%{zone}").parse(),
            _ => authority.parse(),
        }
    }

    /// Who may connect of this machine's `users` and of other machines, for a sentence.
    pub fn explain(&self, users: &Users) -> String {
        match self {
            Self::Unix(address) => address.explain(users),
            Self::Tcp(_) if self.is_loopback() => users.explain(),
            Self::Tcp(_) => format!(
                "{}, and every other machine that reaches it",
                users.explain()
            ),
        }
    }

    /// Whether only this machine can connect; true for every Unix socket.
    pub fn is_loopback(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }

    /// Whether only one of both can be listened on, however they are written. Port 0 is any that is free, and IPv6 listeners
    /// take no IPv4, so each family is for itself.
    pub fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Tcp(one), Self::Tcp(two)) => overlap(*one, *two),
            (Self::Unix(one), Self::Unix(two)) => one.path == two.path,
            _ => false,
        }
    }

    /// Whether both are the same socket, whatever its permissions are; two of port 0 may be.
    pub fn is_same_socket(&self, other: &Self) -> bool {
        self == other || matches!(self, Self::Unix(_)) && self.overlaps(other)
    }
}

fn overlap(one: SocketAddr, two: SocketAddr) -> bool {
    let zone = |address| match address {
        SocketAddr::V6(address) => SocketAddrV6::scope_id(&address),
        SocketAddr::V4(_) => 0,
    };
    let every = one.ip().is_unspecified() || two.ip().is_unspecified();
    let same = one.ip() == two.ip() && zone(one) == zone(two);
    one.port() != 0
        && one.port() == two.port()
        && (same || (every && one.is_ipv4() == two.is_ipv4()))
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if text.is_empty() {
            return Err(AddressError::Empty);
        }
        if text.starts_with(UNIX) {
            return text.parse().map(Self::Unix);
        }
        if text.contains("://") {
            return Err(AddressError::Url(text.to_owned()));
        }
        parse_tcp(text).map(Self::Tcp)
    }
}

fn parse_tcp(text: &str) -> Result<SocketAddr, AddressError> {
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(match address {
            SocketAddr::V6(v6) if v6.scope_id() != 0 => address,
            _ => SocketAddr::new(address.ip().to_canonical(), address.port()),
        });
    }
    let (host, port) = text
        .rsplit_once(':')
        .ok_or_else(|| AddressError::NoPort(text.to_owned()))?;
    if host.contains(':') && !(host.starts_with('[') && host.ends_with(']')) {
        // `[::1]` alone splits within its brackets.
        return Err(if text.starts_with('[') {
            AddressError::NoPort(text.to_owned())
        } else {
            AddressError::Brackets(text.to_owned())
        });
    }
    // `parse` of a number takes a sign, a port has none.
    let port = Some(port)
        .filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|port| port.parse().ok())
        .ok_or_else(|| AddressError::Port(port.to_owned()))?;
    if host == "localhost" {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    match zoned(host) {
        Some((address, zone)) => {
            let index = index_of(zone).ok_or_else(|| AddressError::Zone(zone.to_owned()))?;
            Ok(SocketAddrV6::new(address, port, 0, index).into())
        }
        None => Err(AddressError::Host(host.to_owned())),
    }
}

/// The parts of `[fe80::1%eth0]`.
fn zoned(host: &str) -> Option<(Ipv6Addr, &str)> {
    let (address, zone) = host.strip_prefix('[')?.strip_suffix(']')?.split_once('%')?;
    Some((address.parse().ok()?, zone))
}

/// The number of the network interface that a zone (RFC 4007) names, by its name or its number.
pub fn zone_index(zone: &str) -> Option<u32> {
    if !zone.is_empty() && zone.bytes().all(|byte| byte.is_ascii_digit()) {
        return zone.parse().ok().filter(|index| *index != 0);
    }
    index_of(zone)
}

/// The number of a network interface.
fn index_of(name: &str) -> Option<u32> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, flags, None).ok()?;
    netdevice::name_to_index(socket, name).ok()
}

/// An address as the authority of a URI.
pub fn authority(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => {
            format!("[{}%25{}]:{}", v6.ip(), v6.scope_id(), v6.port())
        }
        _ => address.to_string(),
    }
}

impl UnixAddress {
    /// A socket at `path`, which only the owner may connect to.
    pub fn new(path: &str) -> Result<Self, AddressError> {
        if path.chars().any(char::is_control) {
            return Err(AddressError::ControlCharacter(
                path.escape_debug().to_string(),
            ));
        }
        if !path.starts_with('/') {
            return Err(AddressError::RelativePath(path.to_owned()));
        }
        if path.ends_with('/') || path.ends_with("/.") || path.ends_with("/..") {
            return Err(AddressError::NoFileName(path.to_owned()));
        }
        Ok(Self {
            path: PathBuf::from(path),
            mode: DEFAULT_MODE,
            group: None,
        })
    }

    /// Who of `users` may connect, for a sentence: whoever may not write to the socket cannot.
    pub fn explain(&self, users: &Users) -> String {
        let who = users.explain();
        // Its owner is the daemon's user, and root is asked for no permission.
        if *users == Users::daemon() || self.mode & WRITABLE_BY_OTHERS != 0 {
            return who;
        }
        format!("{who}, as far as its mode {:04o} lets them", self.mode)
    }

    /// Applies one pair of a query; for what has keys of its own beside these, such as a legacy listener's URL.
    pub fn set(&mut self, key: &str, value: &str) -> Result<(), AddressError> {
        match key {
            "mode" => self.mode = parse_mode(value)?,
            "group" if value.is_empty() => return Err(AddressError::Group),
            "group" => self.group = Some(value.to_owned()),
            _ => return Err(AddressError::UnknownKey(key.to_owned())),
        }
        Ok(())
    }
}

fn parse_mode(text: &str) -> Result<u32, AddressError> {
    Some(text)
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| u32::from_str_radix(text, 8).ok())
        .filter(|mode| *mode <= MAX_MODE)
        .ok_or_else(|| AddressError::Mode(text.to_owned()))
}

impl FromStr for UnixAddress {
    type Err = AddressError;

    /// `unix:/p`, `unix:///p`, each with `?mode=` and `&group=`. Nothing is percent-decoded.
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let rest = text.strip_prefix(UNIX).unwrap_or(text);
        let rest = match rest.strip_prefix("//") {
            // `unix://host/p`: there is no host.
            Some(path) if !path.starts_with('/') => {
                return Err(AddressError::RelativePath(text.to_owned()));
            }
            Some(path) => path,
            None => rest,
        };
        let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut address = Self::new(path)?;
        let mut seen = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            if seen.contains(&key) {
                return Err(AddressError::RepeatedKey(key.to_owned()));
            }
            address.set(key, value)?;
            seen.push(key);
        }
        Ok(address)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(address) => address.fmt(f),
        }
    }
}

impl fmt::Display for UnixAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{UNIX}{}", self.path.display())?;
        let mut separator = '?';
        if self.mode != DEFAULT_MODE {
            write!(f, "{separator}mode={:04o}", self.mode)?;
            separator = '&';
        }
        if let Some(group) = &self.group {
            write!(f, "{separator}group={group}")?;
        }
        Ok(())
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserialize_text(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address, AddressError> {
        text.parse()
    }

    fn unix(path: &str, mode: u32, group: Option<&str>) -> Address {
        Address::Unix(UnixAddress {
            path: PathBuf::from(path),
            mode,
            group: group.map(str::to_owned),
        })
    }

    #[test]
    fn what_is_an_address() {
        let tcp = |text: &str| Ok(Address::Tcp(text.parse().unwrap()));
        assert_eq!(parse("127.0.0.1:50051"), tcp("127.0.0.1:50051"));
        assert_eq!(parse("[::1]:0"), tcp("[::1]:0"));
        assert_eq!(parse("[fe80::1%2]:80"), tcp("[fe80::1%2]:80"));
        assert_eq!(parse("localhost:8080"), tcp("127.0.0.1:8080"));
        for (text, same) in [
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
            ("[0:0:0:0:0:0:0:1]:1", "[::1]:1"),
            ("[::]:1", "[::]:1"),
            ("[0:0:0:0:0:0:13.1.68.3]:1", "[::13.1.68.3]:1"),
            ("[::FFFF:127.0.0.1]:1", "127.0.0.1:1"),
            // RFC 4007, section 11.
            ("[FE80::1%lo]:1", "[fe80::1%1]:1"),
            ("[fe80:0:0:0:0:0:0:1%1]:1", "[fe80::1%1]:1"),
            ("[ff02::1%lo]:0", "[ff02::1%1]:0"),
        ] {
            assert_eq!(parse(text), tcp(same), "{text}");
            assert_eq!(Address::from_uri(text), tcp(same), "{text}");
        }
        assert_eq!(parse("unix:/p"), Ok(unix("/p", 0o600, None)));
        assert_eq!(parse("unix:///p/q"), Ok(unix("/p/q", 0o600, None)));
        assert_eq!(parse("unix:/p?"), Ok(unix("/p", 0o600, None)));
        assert_eq!(
            parse("unix:/p?mode=0660&group=adm"),
            Ok(unix("/p", 0o660, Some("adm")))
        );
        assert_eq!(
            parse("unix:///p?group=4&mode=777"),
            Ok(unix("/p", 0o777, Some("4")))
        );
    }

    #[test]
    fn what_is_none_says_why() {
        use AddressError as E;
        let text = str::to_owned;
        let table = [
            ("", E::Empty),
            ("http://127.0.0.1:1", E::Url(text("http://127.0.0.1:1"))),
            ("127.0.0.1", E::NoPort(text("127.0.0.1"))),
            ("[::1]", E::NoPort(text("[::1]"))),
            ("::1:80", E::Brackets(text("::1:80"))),
            ("localhost:65536", E::Port(text("65536"))),
            ("localhost:+1", E::Port(text("+1"))),
            ("127.0.0.1:", E::Port(text(""))),
            ("example.org:80", E::Host(text("example.org"))),
            ("127.1:80", E::Host(text("127.1"))),
            ("[fe80::1%none]:80", E::Zone(text("none"))),
            ("[fe80::1%]:80", E::Zone(text(""))),
            ("[fe80::1%4294967296]:80", E::Zone(text("4294967296"))),
            (
                "[fe80::1%longer-than-any-name-is]:80",
                E::Zone(text("longer-than-any-name-is")),
            ),
            ("[fe80::1%25lo]:80", E::Zone(text("25lo"))),
            ("[127.0.0.1%lo]:80", E::Host(text("[127.0.0.1%lo]"))),
            ("127.0.0.1%lo:80", E::Host(text("127.0.0.1%lo"))),
            ("fe80::1%lo:80", E::Brackets(text("fe80::1%lo:80"))),
            ("[1::2::3]:80", E::Host(text("[1::2::3]"))),
            (":80", E::Host(text(""))),
            ("unix:p", E::RelativePath(text("p"))),
            ("unix:", E::RelativePath(text(""))),
            ("unix://p", E::RelativePath(text("unix://p"))),
            ("unix:/", E::NoFileName(text("/"))),
            ("unix:/a/..", E::NoFileName(text("/a/.."))),
            ("unix:/a\nb", E::ControlCharacter(text("/a\\nb"))),
            ("unix:/p?owner=me", E::UnknownKey(text("owner"))),
            ("unix:/p?mode=0660&mode=0600", E::RepeatedKey(text("mode"))),
            ("unix:/p?mode=1777", E::Mode(text("1777"))),
            ("unix:/p?mode=0o66", E::Mode(text("0o66"))),
            ("unix:/p?mode", E::Mode(text(""))),
            ("unix:/p?group=", E::Group),
        ];
        for (input, error) in table {
            assert_eq!(parse(input), Err(error), "{input}");
        }
    }

    #[test]
    fn what_is_shown_parses_back() {
        for text in [
            "[::1]:80",
            "unix:/p",
            "unix:/p?mode=0000",
            "unix:/p?mode=0660&group=adm",
            "unix:/p?group=adm",
        ] {
            assert_eq!(parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_zone_in_a_uri_is_escaped() {
        for (text, index) in [
            ("[fe80::1%25lo]:80", 1),
            ("[fe80::1%251]:80", 1),
            ("[fe80::1%lo]:80", 1),
            ("[fe80::1%25]:80", 25),
            ("[fe80::1%2525]:80", 25),
        ] {
            let Ok(Address::Tcp(parsed)) = Address::from_uri(text) else {
                panic!("{text}")
            };
            let zoned = SocketAddrV6::new("fe80::1".parse().unwrap(), 80, 0, index);
            assert_eq!(parsed, zoned.into(), "{text}");
            let shown = authority(parsed);
            assert_eq!(shown, format!("[fe80::1%25{index}]:80"));
            assert_eq!(Address::from_uri(&shown), Ok(Address::Tcp(parsed)));
        }
        let unknown = Address::from_uri("[fe80::1%25none]:80");
        assert_eq!(unknown, Err(AddressError::Zone("none".to_owned())));
    }

    #[test]
    fn loopback_is_what_only_this_machine_reaches() {
        for (text, expected) in [
            ("127.0.0.1:1", true),
            ("127.9.9.9:1", true),
            ("[::1]:1", true),
            ("[::ffff:127.0.0.1]:1", true),
            ("unix:/p", true),
            ("0.0.0.0:1", false),
            ("[::]:1", false),
            ("192.0.2.7:1", false),
        ] {
            assert_eq!(parse(text).unwrap().is_loopback(), expected, "{text}");
        }
    }
}
