//! Connects to a server of the old protocol.

use std::{fmt::Display, io, time::Duration};

use remex_client::{
    CONNECT_TIMEOUT,
    net::{HostPort, connect_tcp, connect_unix, lookup},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::UdpSocket,
    time::timeout,
};

use crate::cli::{Failure, values::StreamAddress};

/// A connection, of whatever kind.
pub(super) trait Connection: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Connection for T {}

pub(super) async fn stream(server: &StreamAddress) -> Result<Box<dyn Connection>, Failure> {
    Ok(match server {
        StreamAddress::Tcp(server) => Box::new(within_time(server, connect_tcp(server)).await?),
        StreamAddress::Unix(path) => {
            Box::new(within_time(&format!("unix:{}", path.display()), connect_unix(path)).await?)
        }
    })
}

/// A socket that hears of nobody but the server, and of its absence.
pub(super) async fn datagram(server: &HostPort) -> Result<UdpSocket, Failure> {
    let connect = async {
        let mut last = io::Error::from(io::ErrorKind::NotFound);
        // No packet goes out before the command, so the first that has a route is as good as any.
        for address in lookup(server).await? {
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
