//! Where a server is: the text of `--server`, parsed once. Pure: nothing here connects or looks up a name.

use std::{fmt, path::PathBuf, str::FromStr};

use http::uri::Authority;
use thiserror::Error;

/// The port of a URI that names none.
pub const DEFAULT_PORT: u16 = 50051;

/// The address of a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    /// `http://HOST:PORT`: HTTP/2 without TLS.
    Http {
        /// A name or an address; IPv6 without brackets.
        host: String,
        /// The TCP port.
        port: u16,
    },
    /// `unix:/PATH` or `unix:///PATH`: a Unix socket.
    Unix(PathBuf),
}

impl Endpoint {
    /// The HTTP/2 `:authority` of calls to it. A socket's path is no valid one, so that is `localhost`.
    pub fn authority(&self) -> String {
        match self {
            Self::Http { host, port } if host.contains(':') => format!("[{host}]:{port}"),
            Self::Http { host, port } => format!("{host}:{port}"),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

/// A server that runs with no flags: `http://127.0.0.1:50051`.
impl Default for Endpoint {
    fn default() -> Self {
        Self::Http {
            host: "127.0.0.1".to_owned(),
            port: DEFAULT_PORT,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { .. } => write!(f, "http://{}", self.authority()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// The text is no address of a server.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EndpointError {
    /// It begins with no scheme.
    #[error("{0:?} has no scheme: write http://HOST:PORT or unix:/PATH")]
    NoScheme(String),
    /// It begins with a scheme that is none of ours.
    #[error("{0:?} is no scheme of remex: write http://HOST:PORT or unix:/PATH")]
    UnknownScheme(String),
    /// TLS.
    #[error(
        "https:// is not supported by this version: use http:// on the same machine, or unix:/PATH"
    )]
    TlsUnsupported,
    /// What stands behind `http://` is not `HOST` or `HOST:PORT`.
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

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let Some((scheme, rest)) = text.split_once(':') else {
            return Err(EndpointError::NoScheme(text.to_owned()));
        };
        if scheme.eq_ignore_ascii_case("unix") {
            return parse_unix(rest);
        }
        // `localhost:50051` has a colon and no scheme all the same.
        let Some(rest) = rest.strip_prefix("//") else {
            return Err(EndpointError::NoScheme(text.to_owned()));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "http" => parse_http(rest),
            "https" => Err(EndpointError::TlsUnsupported),
            _ => Err(EndpointError::UnknownScheme(scheme.to_owned())),
        }
    }
}

fn parse_unix(rest: &str) -> Result<Endpoint, EndpointError> {
    let path = rest.strip_prefix("//").unwrap_or(rest);
    if !path.starts_with('/') || path.contains('\0') {
        return Err(EndpointError::SocketPath(path.to_owned()));
    }
    Ok(Endpoint::Unix(PathBuf::from(path)))
}

fn parse_http(rest: &str) -> Result<Endpoint, EndpointError> {
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (text, path) = rest.split_at(end);
    if !matches!(path, "" | "/") {
        return Err(EndpointError::Path(path.to_owned()));
    }
    let wrong = || EndpointError::Authority(text.to_owned());
    let authority: Authority = text.parse().map_err(|_| wrong())?;
    let host = authority.host();
    // An authority may also carry a user, and a port that is empty or too large.
    let port = match text.strip_prefix(host) {
        Some("") => DEFAULT_PORT,
        Some(_) => authority.port_u16().ok_or_else(wrong)?,
        None => return Err(wrong()),
    };
    let host = match host.strip_prefix('[') {
        Some(bracketed) => {
            let address = bracketed.strip_suffix(']').ok_or_else(wrong)?;
            address.parse::<std::net::Ipv6Addr>().map_err(|_| wrong())?;
            address
        }
        None => host,
    };
    if host.is_empty() {
        return Err(wrong());
    }
    Ok(Endpoint::Http {
        host: host.to_owned(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(host: &str, port: u16) -> Endpoint {
        Endpoint::Http {
            host: host.to_owned(),
            port,
        }
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
    fn what_is_wrong_is_told_apart() {
        use EndpointError as E;
        for (text, error) in [
            ("localhost", E::NoScheme("localhost".into())),
            ("localhost:50051", E::NoScheme("localhost:50051".into())),
            ("ftp://x", E::UnknownScheme("ftp".into())),
            ("https://x:1", E::TlsUnsupported),
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
    fn a_socket_has_a_valid_authority() {
        let endpoint = Endpoint::Unix("/run/remex/remexd.sock".into());
        assert_eq!(endpoint.authority(), "localhost");
    }
}
