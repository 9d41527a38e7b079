//! Opens one connection, or says why it could not and what to do.

use std::{
    io,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::fs::{Mode, OFlags};
use socket2::{SockRef, TcpKeepalive};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream, lookup_host},
    time::timeout,
};

use super::{
    error::ConnectError,
    eyeballs,
    greeting::{Greeted, NoGreeting, greet},
};
use crate::Endpoint;

/// Bound on connecting: name, all of its addresses, and the server's first word together.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Time between two of TCP's probes of a connection in silence. They and retransmission alone decide whether a server is
/// still there: one that is stopped or asleep for a while is, and nothing of HTTP/2 or of ours is shorter.
const KEEPALIVE: Duration = Duration::from_mins(1);
/// Probes without an answer after which it is not.
const KEEPALIVE_PROBES: u32 = 15;

/// The longest path that fits into a socket's address.
const MAX_SOCKET_PATH_BYTES: usize = 107;

/// A socket of any kind, or TLS over it.
pub(super) trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

/// A connection whose peer speaks HTTP/2.
pub(super) type Connection = Greeted<Box<dyn Socket>>;

/// Connects, within [`CONNECT_TIMEOUT`].
pub(super) async fn dial(endpoint: &Endpoint) -> Result<Connection, ConnectError> {
    let connected = timeout(CONNECT_TIMEOUT, async {
        let socket = socket(endpoint).await.map_err(|source| ConnectError::Io {
            endpoint: endpoint.clone(),
            source: Arc::new(source),
        })?;
        let endpoint = endpoint.clone();
        greet(socket).await.map_err(|error| match error {
            NoGreeting::Closed => ConnectError::Closed { endpoint },
            NoGreeting::Foreign => ConnectError::NotHttp2 { endpoint },
        })
    });
    connected.await.unwrap_or_else(|_| {
        Err(ConnectError::TimedOut {
            endpoint: endpoint.clone(),
        })
    })
}

async fn socket(endpoint: &Endpoint) -> io::Result<Box<dyn Socket>> {
    Ok(match endpoint {
        Endpoint::Http { host, port } => Box::new(connect_tcp(host, *port).await?),
        Endpoint::Unix(path) => Box::new(connect_unix(path).await?),
    })
}

async fn connect_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses = lookup_host((host, port)).await?.collect();
    let stream = eyeballs::connect(addresses).await?;
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE)
        .with_retries(KEEPALIVE_PROBES);
    SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
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

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn tcp_asks_every_minute_and_nothing_gives_up_sooner() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let stream = connect_tcp("127.0.0.1", port).await.unwrap();
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), KEEPALIVE);
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEPALIVE);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEPALIVE_PROBES);
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
        assert!(socket.tcp_nodelay().unwrap());
    }
}
