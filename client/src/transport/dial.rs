//! Opens one connection, or says why it could not and what to do.

use std::{io, sync::Arc, time::Duration};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    time::timeout,
};

use super::{
    error::ConnectError,
    greeting::{Greeted, NoGreeting, greet},
    tls,
};
use crate::{
    Credentials, Endpoint,
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
pub(super) async fn dial(
    endpoint: &Endpoint,
    credentials: &Credentials,
) -> Result<Connection, ConnectError> {
    let connected = timeout(CONNECT_TIMEOUT, async {
        let socket = socket(endpoint, credentials).await?;
        greet(socket).await.map_err(|error| {
            let endpoint = endpoint.clone();
            match error {
                NoGreeting::Closed => ConnectError::Closed { endpoint },
                NoGreeting::Foreign => ConnectError::NotHttp2 { endpoint },
                NoGreeting::SpeaksTls => ConnectError::NeedsTls { endpoint },
                NoGreeting::Tls(error) => ConnectError::Tls {
                    endpoint,
                    why: tls::why(&error, credentials.files()),
                },
            }
        })
    });
    connected.await.unwrap_or_else(|_| {
        Err(ConnectError::TimedOut {
            endpoint: endpoint.clone(),
        })
    })
}

async fn socket(
    endpoint: &Endpoint,
    credentials: &Credentials,
) -> Result<Box<dyn Socket>, ConnectError> {
    let failed = |source| ConnectError::Io {
        endpoint: endpoint.clone(),
        source: Arc::new(source),
    };
    Ok(match endpoint {
        Endpoint::Http(server) => Box::new(connect_tcp(server).await.map_err(failed)?),
        Endpoint::Unix(path) => Box::new(connect_unix(path).await.map_err(failed)?),
        Endpoint::Https(server) => {
            let config = credentials.tls()?;
            let stream = connect_tcp(server).await.map_err(failed)?;
            let connected = tls::connect(server, stream, config).await;
            Box::new(connected.map_err(|error| match tls::of(&error) {
                Some(error) => ConnectError::Tls {
                    endpoint: endpoint.clone(),
                    why: tls::why(error, credentials.files()),
                },
                None if error.kind() == io::ErrorKind::UnexpectedEof => ConnectError::Closed {
                    endpoint: endpoint.clone(),
                },
                None => failed(error),
            })?)
        }
    })
}
