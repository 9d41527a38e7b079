//! [`Client`]: connections to a server, and the calls over them.

use http::{Request, Response};
use remex::v1::{echo_service_client::EchoServiceClient, exec_service_client::ExecServiceClient};
use tonic::{Status, body::Body};
use tower::{BoxError, Service, ServiceExt, util::BoxCloneSyncService};

use crate::{ConnectError, Credentials, Endpoint, transport::Pool};

/// What the generated clients call over: a connection, or a service in this process. Its error is a named type, since
/// futures of calls over one with a boxed error cannot be spawned: the compiler does not see that they are `Send`.
pub type Channel = BoxCloneSyncService<Request<Body>, Response<Body>, Status>;

/// The largest answer taken, in bytes: a Run's stdout and stderr of 16 MiB each, and room for what is around them.
pub const MAX_REPLY_BYTES: usize = 2 * (16 << 20) + (1 << 20);

/// A client of one server. Clones share its connections: one for each [`MAX_CALLS_PER_CONNECTION`] calls at once, up to
/// [`MAX_CONNECTIONS`].
///
/// A call is sent once, and never again, unless [`Command::resume`](crate::Command::resume) asks for that. If it fails,
/// [`never_ran`] says whether its command can have run.
///
/// Any number of calls may be left unread: none holds up another. Each has up to [`STREAM_WINDOW_BYTES`] of output in this
/// process, in up to 32,768 events of some 256 bytes besides, and its command waits.
///
/// [`MAX_CALLS_PER_CONNECTION`]: crate::MAX_CALLS_PER_CONNECTION
/// [`MAX_CONNECTIONS`]: crate::MAX_CONNECTIONS
/// [`STREAM_WINDOW_BYTES`]: crate::STREAM_WINDOW_BYTES
/// [`never_ran`]: crate::never_ran
#[derive(Clone)]
pub struct Client {
    channel: Channel,
}

impl Client {
    /// Connects to `endpoint`, within [`CONNECT_TIMEOUT`](crate::CONNECT_TIMEOUT), without credentials. A connection that is
    /// lost later is opened again as [`Self::connect_lazy`] says.
    pub async fn connect(endpoint: &Endpoint) -> Result<Self, ConnectError> {
        Self::connect_with(endpoint, &Credentials::default()).await
    }

    /// The same, with `credentials`: each connection and each call has what is in their files then.
    pub async fn connect_with(
        endpoint: &Endpoint,
        credentials: &Credentials,
    ) -> Result<Self, ConnectError> {
        let pool = Pool::connect(endpoint, credentials).await?;
        Ok(Self::from_service(pool))
    }

    /// Connects when the first call is made, and again when the connection was lost. While the server cannot be reached,
    /// calls fail with UNAVAILABLE, and attempts are up to 2 s apart.
    pub fn connect_lazy(endpoint: &Endpoint) -> Self {
        Self::from_service(Pool::lazy(endpoint))
    }

    /// The same, with `credentials`. It fails at once where a token would go unencrypted to another machine.
    pub fn connect_lazy_with(
        endpoint: &Endpoint,
        credentials: &Credentials,
    ) -> Result<Self, ConnectError> {
        Ok(Self::from_service(Pool::lazy_with(endpoint, credentials)?))
    }

    /// Calls `service`: the server itself in the same process, or a channel of the caller's own making.
    pub fn from_service<S>(service: S) -> Self
    where
        S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + Sync + 'static,
        S::Error: Into<BoxError>,
        S::Future: Send + 'static,
    {
        let channel =
            BoxCloneSyncService::new(service.map_err(|error| Status::from_error(error.into())));
        Self { channel }
    }

    /// The generated client of ExecService, for calls that have no method here.
    pub fn exec(&self) -> ExecServiceClient<Channel> {
        ExecServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_REPLY_BYTES)
    }

    /// The generated client of EchoService.
    pub fn echo(&self) -> EchoServiceClient<Channel> {
        EchoServiceClient::new(self.channel.clone()).max_decoding_message_size(MAX_REPLY_BYTES)
    }
}
