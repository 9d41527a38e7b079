//! As many connections to one server as its calls need, each for a bounded number of them: what one connection suffers,
//! its calls alone suffer, and no call waits behind a peer's bound on streams.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
};

use http::{Request, Response, Uri, header::AUTHORIZATION};
use tonic::{Status, body::Body, transport::Channel};
use tower::Service;

use super::{
    call::call,
    connector::Connector,
    error::{ConnectError, Unsent, find},
};
use crate::{Credentials, Endpoint};

/// Calls at once on one connection; one more opens another.
pub const MAX_CALLS_PER_CONNECTION: usize = 100;
/// Connections at once. A call that would need one more is refused, and has not run.
pub const MAX_CONNECTIONS: usize = 64;
/// What the server may send of one call unread, in bytes. Windows are set by hand, as adaptive ones begin at 64 KiB.
pub const STREAM_WINDOW_BYTES: u32 = 1 << 20;

/// What the server may send of all calls of a connection unread: the most that there is. Calls that nobody reads hold up
/// neither each other nor any other call.
const CONNECTION_WINDOW_BYTES: u32 = (1 << 31) - 1;
/// An event of the fewest bytes of output, as a frame: 5 bytes of gRPC, a sequence, a time, a stream, an offset.
const SMALLEST_EVENT_BYTES: u64 = 32;
/// What h2 counts a smaller frame as that is not read. It closes a connection when that exceeds half of its window.
const SMALL_FRAME_BYTES: u64 = 256;
const _: () = {
    let events =
        MAX_CALLS_PER_CONNECTION as u64 * STREAM_WINDOW_BYTES as u64 / SMALLEST_EVENT_BYTES;
    let overhead = events * (SMALL_FRAME_BYTES - SMALLEST_EVENT_BYTES);
    assert!(overhead <= CONNECTION_WINDOW_BYTES as u64 / 2);
};

/// The largest DATA frame taken.
const MAX_FRAME_BYTES: u32 = 128 << 10;
/// The most metadata that one answer may carry.
const MAX_HEADER_BYTES: u32 = 64 << 10;
/// Calls that were cancelled and whose late frames are passed over. A frame of one that is no longer remembered is counted
/// as an error of the peer's, which it is not: so no number of those ends a connection that other calls use.
const MAX_REMEMBERED_RESETS: usize = 1024;

const AGENT: &str = concat!("remex/", env!("CARGO_PKG_VERSION"));

/// The connections; its clones share them.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    endpoint: tonic::transport::Endpoint,
    connector: Connector,
    credentials: Credentials,
    connections: Mutex<Vec<Connection>>,
}

/// A connection that tonic opens when it is needed, and again when it was lost.
struct Connection {
    channel: Channel,
    calls: Arc<()>,
}

impl Connection {
    fn new(channel: Channel) -> Self {
        let calls = Arc::default();
        Self { channel, calls }
    }

    /// Calls under way: each has a [`Slot`].
    fn calls(&self) -> usize {
        Arc::strong_count(&self.calls) - 1
    }
}

/// A call's place on a connection, for as long as it lives.
#[derive(Debug)]
#[expect(dead_code, reason = "it is counted")]
pub(super) struct Slot(Arc<()>);

impl Pool {
    /// With no connection yet, and no credentials.
    pub(crate) fn lazy(endpoint: &Endpoint) -> Self {
        Self::new(endpoint, Credentials::default())
    }

    /// The same, with `credentials`. It is refused where a token would be for everybody to read.
    pub(crate) fn lazy_with(
        endpoint: &Endpoint,
        credentials: &Credentials,
    ) -> Result<Self, ConnectError> {
        if credentials.has_token() && !endpoint.is_private() {
            return Err(ConnectError::TokenInPlaintext {
                endpoint: endpoint.clone(),
            });
        }
        Ok(Self::new(endpoint, credentials.clone()))
    }

    fn new(endpoint: &Endpoint, credentials: Credentials) -> Self {
        Self(Arc::new(Shared {
            endpoint: configured(endpoint),
            connector: Connector::new(endpoint, &credentials),
            credentials,
            connections: Mutex::default(),
        }))
    }

    /// Opens the first connection now.
    pub(crate) async fn connect(
        endpoint: &Endpoint,
        credentials: &Credentials,
    ) -> Result<Self, ConnectError> {
        let pool = Self::lazy_with(endpoint, credentials)?;
        let Shared {
            endpoint: configured,
            connector,
            connections,
            ..
        } = &*pool.0;
        let connected = configured.connect_with_connector(connector.clone()).await;
        let channel = connected.map_err(|error| match find::<ConnectError>(&error) {
            Some(error) => error.clone(),
            // HTTP/2's first frames could not be written.
            None => ConnectError::Closed {
                endpoint: endpoint.clone(),
            },
        })?;
        let mut connections = connections.lock().unwrap_or_else(PoisonError::into_inner);
        connections.push(Connection::new(channel));
        drop(connections);
        Ok(pool)
    }
}

impl Shared {
    /// A place for one more call.
    fn place(&self) -> Result<(Channel, Slot), Unsent> {
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let has_room = |connection: &Connection| connection.calls() < MAX_CALLS_PER_CONNECTION;
        let index = match connections.iter().position(has_room) {
            Some(index) => index,
            None if connections.len() == MAX_CONNECTIONS => return Err(Unsent::TooMany),
            None => {
                let connector = self.connector.clone();
                let channel = self.endpoint.connect_with_connector_lazy(connector);
                connections.push(Connection::new(channel));
                connections.len() - 1
            }
        };
        // Those of a busier time are closed, but one that may soon be needed again.
        while connections.len() > index + 2
            && connections.last().is_some_and(|last| last.calls() == 0)
        {
            connections.pop();
        }
        let Connection { channel, calls } = &connections[index];
        Ok((channel.clone(), Slot(Arc::clone(calls))))
    }
}

fn configured(endpoint: &Endpoint) -> tonic::transport::Endpoint {
    let uri = |scheme| {
        let uri = Uri::try_from(format!("{scheme}://{}", endpoint.authority()));
        // A host that is no authority has no address either, which its calls are told.
        uri.unwrap_or(Uri::from_static("http://localhost"))
    };
    let is_tls = matches!(endpoint, Endpoint::Https(_));
    // TLS is the connector's, whatever tonic thinks of it; calls say how they come.
    tonic::transport::Endpoint::from(uri("http"))
        .origin(uri(if is_tls { "https" } else { "http" }))
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(MAX_FRAME_BYTES)
        .http2_max_header_list_size(MAX_HEADER_BYTES)
        .http2_max_concurrent_reset_streams(MAX_REMEMBERED_RESETS)
        .http2_max_local_error_reset_streams(None)
        .user_agent(AGENT)
        .unwrap_or_else(|error| unreachable!("{AGENT:?} is a header's value: {error}"))
}

impl Service<Request<Body>> for Pool {
    type Response = Response<Body>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        if let Some(authorization) = shared.credentials.authorization() {
            request.headers_mut().insert(AUTHORIZATION, authorization);
        }
        Box::pin(async move {
            let (channel, slot) = shared.place()?;
            call(channel, &shared.connector, slot, request).await
        })
    }
}
