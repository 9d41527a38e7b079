//! Connections: each a task of its own, with HTTP/2's every bound set by hand.

use std::{convert::Infallible, future::Future, sync::Arc, task::Poll, time::Duration};

use http::{Request, Response};
use hyper::{body::Incoming, rt::Executor, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use remex_daemon::net::{Accepted, Acceptor, Caller, PeerUnknown, Users};
use tokio::{sync::OwnedSemaphorePermit, time::Instant};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{body::Body, service::Routes};

use super::{
    budget::{Budget, Metered, SharedBudget},
    calls::{Calls, GOING, MAX_IDLE},
    codec, deadline,
    fairness::{self, WaitingCall},
    gate,
    peers::{Peers, Place},
    preface::{self, Opened},
    refused::{Refusal, RefusedRoom},
    request::Resettable,
    routes::is_streaming,
    unsent::{Paced, Unsent},
    with_version,
};

/// Connections of gRPC at once.
pub const MAX_CONNECTIONS: usize = 4096;

/// Calls at once on one connection.
pub const MAX_STREAMS: u32 = 1024;

/// What a stream may send unread. Twice what a client may have in flight, since HTTP/2 gives room back when half of it has
/// been read. A fixed window: an adaptive one would fall back to 64 KiB.
pub const STREAM_WINDOW: u32 = 2 * 1024 * 1024;

/// What a connection may send unread, so that one stream that nobody reads leaves room for the others. It is for the first
/// [`WIDE_CONNECTIONS`] of those that are open.
pub const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// See [`CONNECTION_WINDOW`].
pub const WIDE_CONNECTIONS: usize = 32;

/// What those behind them may send unread, of which there are as many as [`WIDE_CONNECTIONS`] and [`MIDDLE_CONNECTIONS`].
pub const MIDDLE_WINDOW: u32 = 1024 * 1024;

/// See [`MIDDLE_WINDOW`].
pub const MIDDLE_CONNECTIONS: usize = 480;

/// The rest has HTTP/2's smallest: all connections together never have more unread than about 1.2 GiB.
pub const NARROW_WINDOW: u32 = 65_535;

/// The largest DATA frame that those with a [`CONNECTION_WINDOW`] may send: a frame is read whole, and written with a system
/// call of its own. The others keep HTTP/2's smallest, 16 KiB, since each may leave one unfinished.
pub const WIDE_FRAME_BYTES: u32 = 128 * 1024;

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

/// Serves gRPC connections. Clones share all of its bounds.
#[derive(Debug, Clone)]
pub struct Server {
    routes: Routes,
    users: Arc<Users>,
    tasks: TaskTracker,
    idle: Duration,
    peers: Peers,
    refused: RefusedRoom,
    budget: SharedBudget,
    unsent: Unsent,
}

/// A connection that is let in.
struct Admitted {
    caller: Caller,
    place: Place,
    permit: OwnedSemaphorePermit,
}

impl Server {
    /// Over `routes`, for callers that `users` lets in; its tasks are tracked by `tasks`.
    pub fn new(routes: Routes, users: Arc<Users>, tasks: TaskTracker) -> Self {
        Self {
            routes,
            users,
            refused: RefusedRoom::new(tasks.clone()),
            tasks,
            idle: MAX_IDLE,
            peers: Peers::default(),
            budget: SharedBudget::default(),
            unsent: Unsent::default(),
        }
    }

    /// The same, with another bound than [`MAX_IDLE`].
    #[must_use]
    pub fn with_idle(mut self, idle: Duration) -> Self {
        self.idle = idle;
        self
    }

    /// Takes connections until `stop`; those that are open then are asked to finish.
    pub async fn serve(self, mut acceptor: Acceptor, stop: CancellationToken) {
        loop {
            let accepted = tokio::select! {
                accepted = acceptor.accept() => accepted,
                () = stop.cancelled() => return,
            };
            let caller = accepted.identify();
            let Accepted { stream, permit, .. } = accepted;
            let (caller, place) = match self.admit(caller) {
                Ok(admitted) => admitted,
                Err(refusal) => {
                    self.refused.show_in(stream, &refusal);
                    continue;
                }
            };
            let admitted = Admitted {
                caller,
                place,
                permit,
            };
            let (server, stop) = (self.clone(), stop.clone());
            self.tasks.spawn(async move {
                let opened = tokio::select! {
                    opened = preface::open(stream) => opened,
                    () = stop.cancelled() => return,
                };
                match opened {
                    Ok(opened) => server.drive(opened, admitted, stop).await,
                    Err(error) => tracing::debug!(%error, "a connection was closed unserved"),
                }
            });
        }
    }

    async fn drive(self, opened: Opened, admitted: Admitted, stop: CancellationToken) {
        let Admitted {
            caller,
            place,
            permit,
        } = admitted;
        let calls = Calls::new();
        let scope = Scope {
            budget: self.budget.of_connection(&place),
            unsent: self.unsent,
            calls: Arc::clone(&calls),
            tasks: self.tasks.clone(),
        };
        let (opened, waiting) = fairness::in_turns(opened);
        let (routes, caller) = (self.routes, Arc::new(caller));
        let service = service_fn(move |request| {
            let scope = scope.clone();
            scope.answer(waiting.call(), routes.clone(), Arc::clone(&caller), request)
        });
        let mut builder = builder(self.tasks);
        builder.initial_connection_window_size(window(place.connections));
        if place.connections <= WIDE_CONNECTIONS {
            builder.max_frame_size(WIDE_FRAME_BYTES);
        }
        let connection = builder.serve_connection(TokioIo::new(opened), service);
        let mut connection = std::pin::pin!(connection);
        let ended = tokio::select! {
            ended = connection.as_mut() => Some(ended),
            () = stop.cancelled() => None,
            () = calls.idle(self.idle) => None,
        };
        let ended = if let Some(ended) = ended {
            ended
        } else {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                ended = connection => ended,
                // It was told, and does not go.
                () = calls.idle(GOING) => Ok(()),
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection was lost");
        }
        drop((permit, place));
    }

    fn admit(&self, caller: Result<Caller, PeerUnknown>) -> Result<(Caller, Place), Refusal> {
        let caller = caller?;
        match caller.uid {
            Some(uid) if !self.users.allows(uid) => Err(Refusal::User(uid)),
            _ => match self.peers.enter(&caller) {
                Some(place) => Ok((caller, place)),
                None => Err(Refusal::TooMany(caller.to_string())),
            },
        }
    }
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

/// What the calls of a connection share.
#[derive(Debug, Clone)]
struct Scope {
    budget: Budget,
    unsent: Unsent,
    calls: Arc<Calls>,
    tasks: TaskTracker,
}

impl Scope {
    /// A call, whose request and response stay within their bounds.
    async fn answer(
        self,
        waiting: WaitingCall,
        mut routes: Routes,
        caller: Arc<Caller>,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        drop(waiting);
        let call = self.calls.begin();
        let (parts, body) = request.into_parts();
        if let Err(no_call) = gate::check(&parts) {
            return Ok(with_version(no_call.into_response()));
        }
        let deadline = match gate::timeout(&parts.headers) {
            Ok(timeout) => timeout.map(|timeout| Instant::now() + timeout),
            Err(status) => return Ok(with_version(status.into_http())),
        };
        one_poll_later().await;
        let streaming = is_streaming(parts.uri.path());
        let body = Metered::new(Resettable(body), self.budget, streaming);
        let mut request = Request::from_parts(parts, Body::new(body));
        request.extensions_mut().insert(Caller::clone(&caller));
        let answering = tower::Service::call(&mut routes, request);
        let response = match deadline {
            None => answering.await?,
            Some(deadline) => deadline::within(deadline, &self.tasks, answering).await?,
        };
        let paced = |body| Body::new(Paced::new(body, &self.unsent, call));
        Ok(with_version(codec::with_reason(response)).map(paced))
    }
}

/// The window of a connection beside which so many are open, itself among them.
const fn window(connections: usize) -> u32 {
    if connections <= WIDE_CONNECTIONS {
        CONNECTION_WINDOW
    } else if connections <= WIDE_CONNECTIONS + MIDDLE_CONNECTIONS {
        MIDDLE_WINDOW
    } else {
        NARROW_WINDOW
    }
}

/// No ping of HTTP/2: a peer that is stopped or asleep is not gone, and TCP's keepalive finds the one that is.
pub(super) fn builder(tasks: TaskTracker) -> http2::Builder<Tasks> {
    let mut builder = http2::Builder::new(Tasks(tasks));
    builder
        .timer(TokioTimer::new())
        // gRPC has no use for it, and the one that hyper makes panics under a clock before 1970.
        .auto_date_header(false)
        .initial_stream_window_size(STREAM_WINDOW)
        .max_concurrent_streams(MAX_STREAMS)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_header_list_size(MAX_HEADER_BYTES)
        .max_local_error_reset_streams(MAX_LOCAL_RESETS)
        .max_pending_accept_reset_streams(MAX_PENDING_RESETS);
    builder
}

/// hyper's tasks among the server's own.
#[derive(Debug, Clone)]
pub(super) struct Tasks(TaskTracker);

impl<F> Executor<F> for Tasks
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

#[cfg(test)]
mod tests {
    use tokio::{net::TcpStream, time::timeout};

    use super::{
        super::testing::{greet, listen, read_to_end, say},
        *,
    };

    /// Longer than anything here takes.
    const PATIENCE: Duration = Duration::from_secs(30);

    fn server() -> Server {
        let users = Arc::new(Users::daemon());
        Server::new(Routes::default(), users, TaskTracker::new())
    }

    #[tokio::test]
    async fn pitfall_26_an_idle_connection_is_asked_to_go() {
        let (acceptor, to) = listen();
        let idle = Duration::from_millis(50);
        let serving = server()
            .with_idle(idle)
            .serve(acceptor, CancellationToken::new());
        let serving = tokio::spawn(serving);
        let stream = TcpStream::connect(to).await.unwrap();
        let (_sender, connection) = h2::client::handshake(stream).await.unwrap();
        timeout(PATIENCE, connection).await.unwrap().unwrap();
        serving.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn an_idle_connection_has_10_minutes_and_10_s_more_to_go() {
        let (acceptor, to) = listen();
        let peer = greet(to);
        let serving = tokio::spawn(server().serve(acceptor, CancellationToken::new()));
        let begun = Instant::now();
        let asked = read_to_end(peer).await.expect("it was asked to go");
        assert_eq!((asked - begun).as_secs(), 600);
        assert_eq!(asked.elapsed().as_secs(), 10);
        serving.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn pitfall_26_a_client_has_10_s_to_say_that_it_speaks_http2() {
        let (acceptor, to) = listen();
        let peer = say(to, b"PRI * HTTP/2.0");
        let serving = tokio::spawn(server().serve(acceptor, CancellationToken::new()));
        let begun = Instant::now();
        assert_eq!(read_to_end(peer).await, None);
        assert_eq!(begun.elapsed().as_secs(), 10);
        serving.abort();
    }

    #[test]
    fn what_all_connections_may_send_unread_is_bounded() {
        let all: u64 = (1..=MAX_CONNECTIONS)
            .map(|nth| u64::from(window(nth)))
            .sum();
        assert!(all < 1280 * 1024 * 1024, "{all}");
        for (connections, bytes) in [
            (1, 16 * 1_048_576),
            (32, 16 * 1_048_576),
            (33, 1_048_576),
            (512, 1_048_576),
            (513, 65_535),
            (4096, 65_535),
        ] {
            assert_eq!(window(connections), bytes, "of {connections}");
        }
    }
}
