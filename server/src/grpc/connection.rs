//! Connections: each a task of its own, with HTTP/2's every bound set by hand.

use std::{convert::Infallible, future::Future, sync::Arc, task::Poll, time::Duration};

use http::{HeaderValue, Request, Response};
use hyper::{body::Incoming, rt::Executor, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use remex::{VERSION, VERSION_HEADER, error::Reason};
use remex_daemon::net::{Acceptor, Caller, Connection, PeerUnknown, Users};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Status, body::Body, service::Routes};

use super::{
    codec, deadline, gate,
    preface::{self, Opened},
    request::Resettable,
};

/// Connections of gRPC at once.
pub const MAX_CONNECTIONS: usize = 4096;

/// Calls at once on one connection.
pub const MAX_STREAMS: u32 = 1024;

/// What a stream may send unread. Twice what a client may have in flight, since HTTP/2 gives room back when half of it has
/// been read. A fixed window: an adaptive one would fall back to 64 KiB.
pub const STREAM_WINDOW: u32 = 2 * 1024 * 1024;

/// What a connection may send unread, so that one stream that nobody reads leaves room for the others.
pub const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// What waits to be sent on one stream before the service is asked for more.
const SEND_BUFFER_BYTES: usize = 256 * 1024;

/// Most bytes of a request's headers.
pub const MAX_HEADER_BYTES: u32 = 16 * 1024;

/// Calls that a peer has reset before this server came to look at them. They are nothing but a count and a few bytes each
/// until then; a peer that has more of them at once is cut off (a rapid reset). To cancel a thousand calls is no offence.
pub const MAX_PENDING_RESETS: usize = 8 * 1024;

/// Streams that this server's library reset by itself, over a connection's whole life: frames that cross the end of a call
/// are enough, so that a busy connection has many, and each costs its peer more than it costs here.
const MAX_LOCAL_RESETS: usize = 1024 * 1024;

/// A silent peer is asked whether it is there this often, and given this long to answer.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(20);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Serves gRPC connections.
#[derive(Debug, Clone)]
pub struct Server {
    routes: Routes,
    users: Arc<Users>,
    tasks: TaskTracker,
}

/// Why a peer is refused.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error("user {0} of this machine may not connect; remexd's --users names those that may")]
    User(u32),
    #[error("{0}, so it cannot be told who calls")]
    Unknown(#[from] PeerUnknown),
}

impl Server {
    /// Over `routes`, for callers that `users` lets in; its tasks are tracked by `tasks`.
    pub fn new(routes: Routes, users: Arc<Users>, tasks: TaskTracker) -> Self {
        Self {
            routes,
            users,
            tasks,
        }
    }

    /// Takes connections until `stop`; those that are open then are asked to finish.
    pub async fn serve(self, mut acceptor: Acceptor, stop: CancellationToken) {
        loop {
            let connection = tokio::select! {
                connection = acceptor.accept() => connection,
                () = stop.cancelled() => return,
            };
            let Connection {
                stream,
                caller,
                permit,
            } = connection;
            let (server, stop) = (self.clone(), stop.clone());
            self.tasks.spawn(async move {
                let opened = tokio::select! {
                    opened = preface::open(stream) => opened,
                    () = stop.cancelled() => return,
                };
                match opened {
                    Ok(opened) => server.drive(opened, caller, permit, stop).await,
                    Err(error) => tracing::debug!(%error, "a connection was closed unserved"),
                }
            });
        }
    }

    async fn drive(
        self,
        opened: Opened,
        caller: Result<Caller, PeerUnknown>,
        permit: OwnedSemaphorePermit,
        stop: CancellationToken,
    ) {
        let admitted = self.admit(caller).map(Arc::new).map_err(|refusal| {
            tracing::warn!(%refusal, "peer refused");
            Arc::new(Reason::PeerNotAllowed.status(refusal.to_string()))
        });
        let (routes, tasks) = (self.routes, self.tasks.clone());
        let service = service_fn(move |request| {
            let call = call(routes.clone(), tasks.clone(), admitted.clone(), request);
            async { call.await.map(with_version) }
        });
        let connection = builder(self.tasks).serve_connection(TokioIo::new(opened), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => ended,
            () = stop.cancelled() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection was lost");
        }
        drop(permit);
    }

    fn admit(&self, caller: Result<Caller, PeerUnknown>) -> Result<Caller, Refusal> {
        let caller = caller?;
        match caller.uid {
            Some(uid) if !self.users.allows(uid) => Err(Refusal::User(uid)),
            _ => Ok(caller),
        }
    }
}

async fn call(
    mut routes: Routes,
    tasks: TaskTracker,
    admitted: Result<Arc<Caller>, Arc<Status>>,
    request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (parts, body) = request.into_parts();
    if let Err(no_call) = gate::check(&parts) {
        return Ok(no_call.into_response());
    }
    let caller = match admitted {
        Ok(caller) => caller,
        Err(refusal) => return Ok(Status::clone(&refusal).into_http()),
    };
    let deadline = match gate::timeout(&parts.headers) {
        Ok(timeout) => timeout.map(|timeout| Instant::now() + timeout),
        Err(status) => return Ok(status.into_http()),
    };
    one_poll_later().await;
    let mut request = Request::from_parts(parts, Body::new(Resettable(body)));
    request.extensions_mut().insert(Caller::clone(&caller));
    let call = tower::Service::call(&mut routes, request);
    let response = match deadline {
        None => call.await?,
        Some(deadline) => deadline::within(deadline, &tasks, call).await?,
    };
    Ok(codec::with_reason(response))
}

/// Is ready at its second poll. Between the two, hyper looks whether the call has been reset, as it may have been in the
/// segment in which it came, and then drops it: to its service, the body of such a call looks complete.
async fn one_poll_later() {
    let mut polled = false;
    std::future::poll_fn(|context| {
        if polled {
            return Poll::Ready(());
        }
        polled = true;
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn with_version(mut response: Response<Body>) -> Response<Body> {
    let version = HeaderValue::from_static(VERSION);
    response.headers_mut().insert(VERSION_HEADER, version);
    response
}

fn builder(tasks: TaskTracker) -> http2::Builder<Tasks> {
    let mut builder = http2::Builder::new(Tasks(tasks));
    builder
        .timer(TokioTimer::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS)
        .keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT);
    builder
}

/// hyper's tasks among the server's own.
#[derive(Debug, Clone)]
struct Tasks(TaskTracker);

impl<F> Executor<F> for Tasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}
