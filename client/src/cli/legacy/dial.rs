//! Connects to a server of the old protocol.

use std::{fmt::Display, io, time::Duration};

use remex_client::CONNECT_TIMEOUT;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UdpSocket, UnixStream, lookup_host},
    time::timeout,
};

use crate::cli::{
    Failure,
    values::{HostPort, StreamAddress},
};

/// A connection, of whatever kind.
pub(super) trait Connection: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection for T {}

pub(super) async fn stream(server: &StreamAddress) -> Result<Box<dyn Connection>, Failure> {
    match server {
        StreamAddress::Tcp(server) => {
            let HostPort { host, port } = server;
            let connect = async {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                Ok(stream)
            };
            Ok(Box::new(within_time(server, connect).await?))
        }
        StreamAddress::Unix(path) => {
            let connect = UnixStream::connect(path);
            Ok(Box::new(within_time(&path.display(), connect).await?))
        }
    }
}

/// A socket that hears of nobody but the server, and of its absence.
pub(super) async fn datagram(server: &HostPort) -> Result<UdpSocket, Failure> {
    let HostPort { host, port } = server;
    let connect = async {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        for address in lookup_host((host.as_str(), *port)).await? {
            let any = if address.is_ipv4() { "0.0.0.0" } else { "::" };
            let socket = UdpSocket::bind((any, 0)).await?;
            match socket.connect(address).await {
                Ok(()) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    };
    within_time(server, connect).await
}

async fn within_time<T>(
    server: &dyn Display,
    connect: impl Future<Output = io::Result<T>>,
) -> Result<T, Failure> {
    let failed = |why: &dyn Display| {
        Failure::new(format!(
            "cannot connect to {server}: {why}; check the address, and that the server runs there"
        ))
    };
    let within = Duration::as_secs(&CONNECT_TIMEOUT);
    timeout(CONNECT_TIMEOUT, connect)
        .await
        .map_err(|_| failed(&format!("no answer within {within} s")))?
        .map_err(|error| failed(&error))
}
