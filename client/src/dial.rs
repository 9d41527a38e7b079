//! Opens one HTTP/2 connection, or says why it could not and what to do.

use std::{
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::fs::{Mode, OFlags};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};

use crate::{
    Endpoint,
    heard::{Greeting, Heard},
    http2::Sender,
};

/// Bound on connecting: name, socket and the server's first word together.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest path that fits into a socket's address.
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// A connection could not be had.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConnectError {
    /// The socket cannot be connected.
    #[error("cannot connect to {endpoint}: {source}; {}", hint(endpoint, source))]
    Io {
        /// Where to.
        endpoint: Endpoint,
        /// Why not.
        source: io::Error,
    },
    /// Nothing came within [`CONNECT_TIMEOUT`].
    #[error("{endpoint} did not answer within {} s; check the address, the network, and that remexd runs there", CONNECT_TIMEOUT.as_secs())]
    TimedOut {
        /// Where to.
        endpoint: Endpoint,
    },
    /// The peer closed the connection without a word.
    #[error(
        "{endpoint} closed the connection at once; check that this is remexd's gRPC address, and remexd's log"
    )]
    Closed {
        /// Where to.
        endpoint: Endpoint,
    },
    /// The peer speaks something else.
    #[error("{endpoint} does not speak gRPC without TLS; check that this is remexd's gRPC address")]
    NotHttp2 {
        /// Where to.
        endpoint: Endpoint,
    },
}

fn hint(endpoint: &Endpoint, error: &io::Error) -> &'static str {
    match (endpoint, error.kind()) {
        (Endpoint::Unix(_), io::ErrorKind::PermissionDenied) => {
            "the socket belongs to another user: ask its owner to let you in"
        }
        (Endpoint::Unix(_), io::ErrorKind::NotFound) => "check the path, and that remexd runs",
        _ => "check the address, and that remexd runs there",
    }
}

/// Connects, within [`CONNECT_TIMEOUT`], and drives the connection for as long as its sender or a call lives.
pub(crate) async fn dial(endpoint: &Endpoint) -> Result<Sender, ConnectError> {
    let connected = async {
        match endpoint {
            Endpoint::Http { host, port } => {
                let stream = connect_tcp(host, *port).await;
                handshake(endpoint, stream).await
            }
            Endpoint::Unix(path) => handshake(endpoint, connect_unix(path).await).await,
        }
    };
    timeout(CONNECT_TIMEOUT, connected)
        .await
        .unwrap_or_else(|_| {
            Err(ConnectError::TimedOut {
                endpoint: endpoint.clone(),
            })
        })
}

async fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let stream = TcpStream::connect((host, port)).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

async fn connect_unix(path: &Path) -> io::Result<UnixStream> {
    if path.as_os_str().len() <= MAX_SOCKET_PATH_BYTES {
        return UnixStream::connect(path).await;
    }
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    // A path too long for the address is reached through a handle of its folder.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty())?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
    UnixStream::connect(short).await
}

async fn handshake<S>(endpoint: &Endpoint, stream: io::Result<S>) -> Result<Sender, ConnectError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let endpoint = endpoint.clone();
    let stream = match stream {
        Ok(stream) => stream,
        Err(source) => return Err(ConnectError::Io { endpoint, source }),
    };
    let (stream, greeting) = Heard::new(stream);
    let Ok(sender) = Sender::open(stream).await else {
        return Err(ConnectError::Closed { endpoint });
    };
    match greeting.await {
        Ok(Greeting::Http2) => Ok(sender),
        Ok(Greeting::Foreign) => Err(ConnectError::NotHttp2 { endpoint }),
        Err(_) => Err(ConnectError::Closed { endpoint }),
    }
}
