//! Opens one connection, or says why it could not and what to do.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use super::{
    error::ConnectError,
    greeting::{Greeted, NoGreeting, greet},
};
use crate::{
    Endpoint,
    net::{connect_tcp, connect_unix},
};

/// Bound on connecting: name, all of its addresses, and the server's first word together.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

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
        Endpoint::Http(server) => Box::new(connect_tcp(server).await?),
        Endpoint::Unix(path) => Box::new(connect_unix(path).await?),
    })
}
