//! Opens one HTTP/2 connection, or says why it could not and what to do.

use std::{
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    time::Duration,
};

use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustix::fs::{Mode, OFlags};
use thiserror::Error;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    time::timeout,
};
use tonic::body::Body;

use crate::{
    Endpoint,
    gather::Gather,
    greeting::{Greeted, Greeting},
};

/// Bound on connecting: name, socket and the server's first word together.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Flow-control window of one call. Set by hand as all of these: what hyper adapts would reset both windows to 64 KiB.
const STREAM_WINDOW_BYTES: u32 = 1 << 20;
/// Flow-control window of a connection, so that it takes sixteen calls that nobody reads to hold up the others.
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// The largest DATA frame taken.
const MAX_FRAME_BYTES: u32 = 128 << 10;
/// The most metadata that one answer may carry.
const MAX_HEADER_BYTES: u32 = 64 << 10;
/// In silence, the peer is asked this often whether it is still there.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(15);
/// How long it may take to answer that.
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);
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

pub(crate) type Sender = http2::SendRequest<Body>;

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
    let (stream, greeting) = Greeted::new(stream);
    let stream = Gather::new(stream);
    let Ok((sender, connection)) = settings().handshake(TokioIo::new(stream)).await else {
        return Err(ConnectError::Closed { endpoint });
    };
    // Ends with its last sender and call; every error it ends with is also told to the calls.
    tokio::spawn(connection);
    match greeting.await {
        Ok(Greeting::Http2) => Ok(sender),
        Ok(Greeting::Foreign) => Err(ConnectError::NotHttp2 { endpoint }),
        Err(_) => Err(ConnectError::Closed { endpoint }),
    }
}

fn settings() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .timer(TokioTimer::new())
        .adaptive_window(false)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .max_header_list_size(MAX_HEADER_BYTES)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true);
    builder
}
