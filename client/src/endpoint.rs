//! Where a server is: the text of `--server`, parsed once. Pure: nothing here connects or looks up a name.

use std::{fmt, net::Ipv4Addr, path::PathBuf, str::FromStr};

use thiserror::Error;

use crate::net::{self, Host, HostPort, Syntax};

/// The port of a URI that names none.
pub const DEFAULT_PORT: u16 = 50051;

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `http://HOST:PORT`: HTTP/2 without TLS.
    Http(HostPort),
    /// `https://HOST:PORT`: HTTP/2 over TLS.
    Https(HostPort),
    /// `unix:/PATH` or `unix:///PATH`: a Unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// The HTTP/2 `:authority` of calls to it. A socket's path is no valid one, so that is `localhost`.
    pub fn authority(&self) -> String {
        match self {
            Self::Http(server) | Self::Https(server) => server.authority(),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }

    /// Whether it is on this machine as written: a socket, an address of the loopback, or the name `localhost`.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Http(server) | Self::Https(server) => server.host.is_local(),
            Self::Unix(_) => true,
        }
    }

    /// Whether nobody between here and there can read what is said: it goes over TLS, or stays on this machine.
    pub fn is_private(&self) -> bool {
        matches!(self, Self::Https(_)) || self.is_local()
    }
}

/// A server that runs with no flags: `http://127.0.0.1:50051`.
impl Default for Endpoint {
    fn default() -> Self {
        Self::Http(HostPort {
            host: Host::Address(Ipv4Addr::LOCALHOST.into()),
            port: DEFAULT_PORT,
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http(server) => write!(f, "http://{}", server.uri()),
            Self::Https(server) => write!(f, "https://{}", server.uri()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The text is no address of a server.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// It begins with a scheme that is none of ours.
    #[error(
        "{0:?} is no scheme of remex: write http://HOST:PORT, https://HOST:PORT, unix:/PATH or HOST:PORT"
    )]
    UnknownScheme(String),
    /// It is not `HOST` or `HOST:PORT`, alone or behind a scheme.
    #[error(
        "{0:?} is not HOST:PORT: write for example http://127.0.0.1:{DEFAULT_PORT} or http://[::1]:{DEFAULT_PORT}"
    )]
    Authority(String),
    /// There is something behind the address.
    #[error("{0:?} does not belong into a server's address: end it after HOST:PORT")]
    Path(String),
    /// The path of a socket is not absolute.
    #[error("{0:?} is not an absolute path: write unix:/PATH")]
    SocketPath(String),
}

/// `http://`, `https://`, `unix:`, or `HOST[:PORT]`, which is `http://` on this machine and `https://` elsewhere.
impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let has_prefix = |prefix: &str| {
            let begin = text.get(..prefix.len());
            begin.is_some_and(|begin| begin.eq_ignore_ascii_case(prefix))
        };
        if has_prefix("unix:") {
            return parse_unix(&text["unix:".len()..]);
        }
        let Some((scheme, rest)) = text.split_once("://") else {
            let server = parse_authority(text, Syntax::Plain)?;
            return Ok(if server.host.is_local() {
                Self::Http(server)
            } else {
                Self::Https(server)
            });
        };
        match scheme.to_ascii_lowercase().as_str() {
            "http" => parse_authority(rest, Syntax::Uri).map(Self::Http),
            "https" => parse_authority(rest, Syntax::Uri).map(Self::Https),
            _ => Err(EndpointError::UnknownScheme(scheme.to_owned())),
        }
    }
}

fn parse_unix(rest: &str) -> Result<Endpoint, EndpointError> {
    let path = net::socket_path(rest).ok_or_else(|| {
        let path = rest.strip_prefix("//").unwrap_or(rest);
        EndpointError::SocketPath(path.to_owned())
    })?;
    Ok(Endpoint::Unix(path))
}

/// Host and port of `HOST[:PORT][/]`; an IPv6 address may stand without its brackets if no port follows.
fn parse_authority(rest: &str, syntax: Syntax) -> Result<HostPort, EndpointError> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (text, path) = rest.split_at(end);
    if !matches!(path, "" | "/") {
        return Err(EndpointError::Path(path.to_owned()));
    }
    let bare = Host::ipv6(text, syntax).map(|host| (host, None));
    let (host, port) = bare
        .or_else(|| net::parse(text, syntax))
        .ok_or_else(|| EndpointError::Authority(text.to_owned()))?;
    Ok(HostPort {
        host,
        port: port.unwrap_or(DEFAULT_PORT),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(host: &str, port: u16) -> Endpoint {
        let bare = Host::ipv6(host, Syntax::Plain).map(|host| HostPort { host, port });
        Endpoint::Http(bare.unwrap_or_else(|| format!("{host}:{port}").parse().unwrap()))
    }

    #[test]
    fn addresses_parse_and_print() {
        for (text, endpoint, printed) in [
            (
                "http://127.0.0.1:50051",
                Endpoint::default(),
                "http://127.0.0.1:50051",
            ),
            (
                "HTTP://localhost:1/",
                http("localhost", 1),
                "http://localhost:1",
            ),
            (
                "http://[::1]:50051",
                http("::1", 50051),
                "http://[::1]:50051",
            ),
            (
                "http://[FE80::1%25eth0]/",
                http("fe80::1%eth0", 50051),
                "http://[fe80::1%25eth0]:50051",
            ),
            (
                "http://[fe80::1%eth0]:1",
                http("fe80::1%eth0", 1),
                "http://[fe80::1%25eth0]:1",
            ),
            (
                "http://[::ffff:192.0.2.7]:1",
                http("::ffff:192.0.2.7", 1),
                "http://[::ffff:192.0.2.7]:1",
            ),
            (
                "http://build.example",
                http("build.example", 50051),
                "http://build.example:50051",
            ),
            (
                "unix:/run/x.sock",
                Endpoint::Unix("/run/x.sock".into()),
                "unix:/run/x.sock",
            ),
            (
                "unix:///run/x.sock",
                Endpoint::Unix("/run/x.sock".into()),
                "unix:/run/x.sock",
            ),
        ] {
            assert_eq!(text.parse(), Ok(endpoint.clone()), "{text}");
            assert_eq!(endpoint.to_string(), printed);
            assert_eq!(printed.parse(), Ok(endpoint), "{printed}");
        }
    }

    #[test]
    fn an_address_of_this_machine_needs_no_scheme() {
        for (text, host, port) in [
            ("localhost", "localhost", 50051),
            ("LOCALHOST:1", "LOCALHOST", 1),
            ("127.0.0.1:50051", "127.0.0.1", 50051),
            ("127.8.8.8", "127.8.8.8", 50051),
            ("[::1]:1", "::1", 1),
            ("[::1]", "::1", 50051),
            ("::1", "::1", 50051),
            ("0:0:0:0:0:0:0:1", "::1", 50051),
            ("[::FFFF:127.0.0.1]:1", "::ffff:127.0.0.1", 1),
            ("[::1%lo]:1", "::1%lo", 1),
            ("::1%1", "::1%1", 50051),
        ] {
            assert_eq!(text.parse(), Ok(http(host, port)), "{text}");
        }
    }

    #[test]
    fn an_address_of_another_machine_means_tls() {
        for (text, printed) in [
            ("https://x:1", "https://x:1"),
            ("HTTPS://localhost/", "https://localhost:50051"),
            ("build.example", "https://build.example:50051"),
            ("192.0.2.7:1", "https://192.0.2.7:1"),
            ("[2001:db8::1]:1", "https://[2001:db8::1]:1"),
            ("fe80::1%eth0", "https://[fe80::1%25eth0]:50051"),
        ] {
            let endpoint: Endpoint = text.parse().unwrap();
            assert!(matches!(endpoint, Endpoint::Https(_)), "{text}");
            assert!(endpoint.is_private());
            assert_eq!(endpoint.to_string(), printed);
            assert_eq!(printed.parse(), Ok(endpoint), "{printed}");
        }
        assert!(http("localhost", 1).is_private());
        assert!(!http("build.example", 1).is_private());
    }

    #[test]
    fn what_is_wrong_is_told_apart() {
        use EndpointError as E;
        for (text, error) in [
            ("", E::Authority(String::new())),
            ("localhost:", E::Authority("localhost:".into())),
            ("localhost:x", E::Authority("localhost:x".into())),
            ("ftp:x", E::Authority("ftp:x".into())),
            ("ftp://x", E::UnknownScheme("ftp".into())),
            ("http://[::1%]:1", E::Authority("[::1%]:1".into())),
            (
                "http://127.0.0.1%25lo:1",
                E::Authority("127.0.0.1%25lo:1".into()),
            ),
            ("http://", E::Authority(String::new())),
            ("http://:1", E::Authority(":1".into())),
            ("http://x:", E::Authority("x:".into())),
            ("http://x:65536", E::Authority("x:65536".into())),
            ("http://me@x:1", E::Authority("me@x:1".into())),
            ("http://[x]:1", E::Authority("[x]:1".into())),
            ("http://x:1/api", E::Path("/api".into())),
            ("unix:relative", E::SocketPath("relative".into())),
            ("unix://host/p", E::SocketPath("host/p".into())),
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(error), "{text}");
        }
    }

    #[test]
    fn an_authority_is_valid_and_names_nothing_of_this_machine() {
        let endpoint = Endpoint::Unix("/run/remex/remexd.sock".into());
        assert_eq!(endpoint.authority(), "localhost");
        assert_eq!(http("fe80::1%eth0", 1).authority(), "[fe80::1]:1");
    }
}
