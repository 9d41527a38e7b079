//! Connections: each a task of its own, with HTTP/2's every bound set by hand.

use std::{convert::Infallible, future::Future, sync::Arc, task::Poll, time::Duration};

use http::{Request, Response, header::AUTHORIZATION};
use http_body_util::BodyExt;
use hyper::{body::Incoming, rt::Executor, server::conn::http2, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use remex_daemon::{
    admission::Refusals,
    net::{Accepted, Acceptor, BoundAddress, Caller, PeerStream, PeerUnknown, Users},
};
use tokio::{
    sync::{OwnedSemaphorePermit, watch},
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{body::Body, service::Routes};

use super::{
    budget::{Budget, Metered, SharedBudget},
    calls::{Calls, GOING, MAX_IDLE},
    codec,
    counts::ReasonCounts,
    deadline,
    fairness::{self, WaitingCall},
    gate,
    handshake::{self, Handshakes, NoHandshake},
    peers::{Peers, Place},
    preface::{self, NoPreface, Opened},
    refused::{Refusal, RefusedRoom},
    request::Resettable,
    revocation::{self, REVOKED_GRACE},
    routes::{is_own, is_streaming},
    stream::Stream,
    unsent::{Paced, Unsent},
    until::until,
    with_version,
};
use crate::identity::{
    Authenticated, Guesses, Now, Peer, Protection, Tls, authenticate::authenticate,
    reload::CurrentTrust,
};
use crate::{audit::AuditLog, policy::gate::PolicyGate};

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

/// Calls that a peer has reset before this server came to look at them, which it does after each turn; a peer that has more
/// of them in one turn is cut off (a rapid reset). To cancel a thousand calls is no offence.
pub const MAX_PENDING_RESETS: usize = 8 * 1024;

/// Streams that this server's library reset by itself, over a connection's whole life: frames that cross the end of a call
/// are enough, so that a busy connection has many, and each costs its peer more than it costs here.
const MAX_LOCAL_RESETS: usize = 1024 * 1024;

/// The local users that are let in, at each time.
pub type CurrentUsers = watch::Receiver<Arc<Users>>;

/// Serves gRPC connections. Clones share all of its bounds.
#[derive(Debug, Clone)]
pub struct Server {
    routes: Routes,
    users: CurrentUsers,
    trust: CurrentTrust,
    gate: PolicyGate,
    guesses: Arc<Guesses>,
    tasks: TaskTracker,
    idle: Duration,
    handshakes: Handshakes,
    peers: Peers,
    refused: RefusedRoom,
    reasons: ReasonCounts,
    budget: SharedBudget,
    unsent: Unsent,
}

/// A connection that is let in.
struct Admitted {
    place: Place,
    permit: OwnedSemaphorePermit,
}

/// A connection that nothing came of.
#[derive(Debug, thiserror::Error)]
enum Unopened {
    #[error(transparent)]
    Handshake(#[from] NoHandshake),
    #[error(transparent)]
    Preface(#[from] NoPreface),
}

impl Server {
    /// Over `routes`, for callers that `users` lets in or that `trust` knows; its tasks are tracked by `tasks`. TCP is served
    /// over TLS if `trust` has some. What is not of this API, all may call that `gate` lets ask. Refusals are told in `audit`.
    pub fn new(
        routes: Routes,
        users: CurrentUsers,
        trust: CurrentTrust,
        gate: PolicyGate,
        audit: AuditLog,
        tasks: TaskTracker,
    ) -> Self {
        Self {
            routes,
            users,
            trust,
            gate,
            guesses: Arc::default(),
            handshakes: Handshakes::default(),
            refused: RefusedRoom::new(tasks.clone(), audit),
            reasons: ReasonCounts::default(),
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

    /// Why calls were refused.
    pub fn reasons(&self) -> &ReasonCounts {
        &self.reasons
    }

    /// Which connections were.
    pub fn refusals(&self) -> &Arc<Refusals> {
        self.refused.refusals()
    }

    /// Takes connections until `stop`; those that are open then are asked to finish.
    pub async fn serve(self, mut acceptor: Acceptor, stop: CancellationToken) {
        let is_tcp = matches!(acceptor.local(), BoundAddress::Tcp(_));
        loop {
            let accepted = tokio::select! {
                accepted = acceptor.accept() => accepted,
                () = stop.cancelled() => return,
            };
            let caller = accepted.identify();
            let Accepted { stream, permit, .. } = accepted;
            // From before the handshake: what changes while it lasts is heard of.
            let mut trust = self.trust.clone();
            let tls = trust.borrow_and_update().tls().filter(|_| is_tcp).cloned();
            let (caller, place) = match self.admit(caller, tls.is_some()) {
                Ok(admitted) => admitted,
                Err(refusal) => {
                    self.refused.show_in(stream, tls, &refusal);
                    continue;
                }
            };
            let admitted = Admitted { place, permit };
            let (server, stop) = (self.clone(), stop.clone());
            self.tasks.spawn(async move {
                let opened = tokio::select! {
                    opened = server.open(stream, &caller, tls) => opened,
                    () = stop.cancelled() => return,
                };
                match opened {
                    Ok((opened, protection)) => {
                        let peer = Peer::new(caller, protection);
                        server.drive(opened, peer, trust, admitted, stop).await;
                    }
                    Err(error) => {
                        if let Unopened::Handshake(why) = &error {
                            server.refused.no_handshake(&caller, why);
                        }
                        tracing::debug!(%error, "a connection was closed unserved");
                    }
                }
            });
        }
    }

    /// What is said before HTTP/2 begins.
    async fn open(
        &self,
        stream: PeerStream,
        caller: &Caller,
        tls: Option<Tls>,
    ) -> Result<(Opened, Protection), Unopened> {
        let (stream, protection) = match tls {
            Some(tls) => {
                let turn = self.handshakes.begin(caller);
                let stream = handshake::shake(stream, &tls, turn).await?;
                let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
                let chain = chain.iter().map(|one| one.clone().into_owned()).collect();
                (Stream::Tls(Box::new(stream)), Protection::Tls(chain))
            }
            None if caller.is_local() => (Stream::Plain(stream), Protection::Local),
            None => (Stream::Plain(stream), Protection::Plaintext),
        };
        Ok((preface::open(stream).await?, protection))
    }

    async fn drive(
        self,
        opened: Opened,
        peer: Peer,
        trust: CurrentTrust,
        admitted: Admitted,
        stop: CancellationToken,
    ) {
        let Admitted { place, permit } = admitted;
        let calls = Calls::new();
        let (opened, waiting, polls) = fairness::in_turns(opened);
        let builder = builder_beside(place.connections, self.tasks.clone());
        let (protection, idle) = (peer.protection.clone(), self.idle);
        let leave = CancellationToken::new();
        let scope = Arc::new(Scope {
            budget: self.budget.of_connection(&place),
            unsent: self.unsent,
            calls: Arc::clone(&calls),
            tasks: self.tasks,
            trust: trust.clone(),
            gate: self.gate,
            guesses: self.guesses,
            users: self.users,
            refused: self.refused,
            reasons: self.reasons,
            peer,
            leave: leave.clone(),
        });
        let routes = self.routes;
        let service = service_fn(move |request| {
            let scope = Arc::clone(&scope);
            scope.answer(waiting.call(), routes.clone(), request)
        });
        let connection = builder.serve_connection(TokioIo::new(opened), service);
        let mut connection = std::pin::pin!(connection);
        let mut revoked = std::pin::pin!(revocation::certificate(&protection, trust));
        let mut is_revoked = false;
        let ended = tokio::select! {
            ended = polls.of(connection.as_mut()) => Some(ended),
            () = stop.cancelled() => None,
            () = leave.cancelled() => None,
            () = revoked.as_mut() => {
                is_revoked = true;
                None
            }
            () = calls.idle(idle) => None,
        };
        let ended = if let Some(ended) = ended {
            ended
        } else {
            connection.as_mut().graceful_shutdown();
            let cut = async {
                if !is_revoked {
                    revoked.await;
                }
                sleep(REVOKED_GRACE).await;
            };
            tokio::select! {
                ended = polls.of(connection.as_mut()) => ended,
                // It was told, and does not go.
                () = calls.idle(GOING) => Ok(()),
                () = cut => Ok(()),
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection was lost");
        }
        drop((permit, place));
    }

    /// Where TLS is served, a caller is known by what it shows there and in its calls, so its user is not asked yet.
    fn admit(
        &self,
        caller: Result<Caller, PeerUnknown>,
        is_tls: bool,
    ) -> Result<(Caller, Place), Refusal> {
        let caller = caller.map_err(|unknown| self.refused.told(None, unknown.into()))?;
        let refusal = match caller.uid {
            Some(uid) if !is_tls && !self.users.borrow().allows(uid) => Refusal::User(uid),
            _ => match self.peers.enter(&caller) {
                Some(place) => return Ok((caller, place)),
                None => Refusal::TooMany(caller.to_string()),
            },
        };
        Err(self.refused.told(Some(&caller), refusal))
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
#[derive(Debug)]
struct Scope {
    budget: Budget,
    unsent: Unsent,
    calls: Arc<Calls>,
    tasks: TaskTracker,
    trust: CurrentTrust,
    gate: PolicyGate,
    guesses: Arc<Guesses>,
    users: CurrentUsers,
    refused: RefusedRoom,
    reasons: ReasonCounts,
    peer: Peer,
    /// The connection is to be asked to go.
    leave: CancellationToken,
}

impl Scope {
    /// A call, and why it was refused if it was.
    async fn answer(
        self: Arc<Self>,
        waiting: WaitingCall,
        routes: Routes,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        let response = with_version(self.respond(waiting, routes, request).await?);
        self.reasons.count(response.headers());
        Ok(response)
    }

    /// A call, whose request and response stay within their bounds.
    async fn respond(
        &self,
        waiting: WaitingCall,
        mut routes: Routes,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Infallible> {
        drop(waiting);
        let call = self.calls.begin();
        let (mut parts, body) = request.into_parts();
        if let Err(no_call) = gate::check(&parts) {
            return Ok(no_call.into_response());
        }
        let deadline = match gate::timeout(&parts.headers) {
            Ok(timeout) => timeout.map(|timeout| Instant::now() + timeout),
            Err(status) => return Ok(status.into_http()),
        };
        one_poll_later().await;
        let mut trust = self.trust.clone();
        let judged = {
            let trust = Arc::clone(&trust.borrow_and_update());
            let users = Arc::clone(&self.users.borrow());
            let (guesses, peer) = (&self.guesses, &self.peer);
            authenticate(&trust, &users, guesses, peer, &parts.headers, Now::get())
        };
        let Authenticated { caller, credential } = match judged {
            Ok(authenticated) => authenticated,
            Err(why) => {
                let (peer, path) = (&self.peer.kernel, parts.uri.path());
                return Ok(self.refused.denied(peer, path, &why));
            }
        };
        let path = parts.uri.path();
        if !is_own(path)
            && let Err(why) = self.gate.ask(&caller)
        {
            return Ok(self.refused.not_permitted(&caller, path, &why));
        }
        // It has served, and is nobody else's to see.
        parts.headers.remove(AUTHORIZATION);
        let streaming = is_streaming(path);
        let body = Metered::new(Resettable(body), self.budget.clone(), streaming);
        let mut request = Request::from_parts(parts, Body::new(body));
        request.extensions_mut().insert(caller);
        let answering = tower::Service::call(&mut routes, request);
        let tasks = &self.tasks;
        let answering = async {
            match deadline {
                None => answering.await,
                Some(deadline) => deadline::within(deadline, tasks, answering).await,
            }
        };
        let response = match credential {
            None => answering.await?,
            Some(credential) => {
                let over = || {
                    let leave = self.leave.clone();
                    let over = revocation::credential(credential.clone(), trust.clone());
                    async move {
                        let status = over.await;
                        leave.cancel();
                        status
                    }
                };
                until(over, tasks, answering).await?
            }
        };
        let paced = |body: Body| {
            let reasons = self.reasons.clone();
            let counted = body.inspect_frame(move |frame| {
                if let Some(trailers) = frame.trailers_ref() {
                    reasons.count(trailers);
                }
            });
            Body::new(Paced::new(counted, &self.unsent, call))
        };
        Ok(codec::with_reason(response).map(paced))
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

/// For a connection beside which so many are open, itself among them.
fn builder_beside(connections: usize, tasks: TaskTracker) -> http2::Builder<Tasks> {
    let mut builder = builder(tasks);
    builder.initial_connection_window_size(window(connections));
    if connections <= WIDE_CONNECTIONS {
        builder.max_frame_size(WIDE_FRAME_BYTES);
    }
    builder
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
mod tests;
