//! Where refused connections are told so: a small room of their own, which costs the others nothing. What finds it full is
//! closed unheard.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::{Request, Response};
use hyper::{body::Incoming, service::service_fn};
use hyper_util::rt::TokioIo;
use remex::error::Reason;
use remex_daemon::{
    admission::{Refusals, Refused},
    net::{Caller, PeerStream, PeerUnknown},
};
use tokio::{
    sync::{Notify, Semaphore},
    time::{sleep, timeout},
};
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;
use tonic::{Status, body::Body};

use super::{
    connection::builder, handshake::NoHandshake, peers::MAX_CONNECTIONS_OF_A_PEER, preface,
    stream::Stream, with_version,
};
use crate::{
    audit::{AuditLog, Subject, service::rpc},
    execution::Through,
    identity::{NoCaller, Tls},
    policy::gate::NotPermitted,
    service,
};

/// Refused connections that are told so at once.
pub const REFUSED_AT_ONCE: usize = 64;

/// How long one may stay.
pub const REFUSED_STAY: Duration = Duration::from_secs(1);

/// How long one may be silent before it is told to go, GOAWAY.
const REFUSED_SILENCE: Duration = Duration::from_millis(500);

/// Why a connection is refused.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refusal {
    #[error("user {0} of this machine may not connect; remexd's --users names those that may")]
    User(u32),
    #[error(transparent)]
    Unknown(#[from] PeerUnknown),
    #[error(
        "{0} has {MAX_CONNECTIONS_OF_A_PEER} connections, which is the limit; make further calls on one of them"
    )]
    TooMany(String),
}

impl Refusal {
    fn status(&self) -> Status {
        Reason::PeerNotAllowed.status(self.to_string())
    }

    const fn kind(&self) -> Refused {
        match self {
            Self::User(_) | Self::Unknown(_) => Refused::Peer,
            Self::TooMany(_) => Refused::Connections,
        }
    }
}

/// Clones share the room.
#[derive(Debug, Clone)]
pub(super) struct RefusedRoom {
    places: Arc<Semaphore>,
    refusals: Arc<Refusals>,
    audit: AuditLog,
    tasks: TaskTracker,
}

impl RefusedRoom {
    pub(super) fn new(tasks: TaskTracker, audit: AuditLog) -> Self {
        Self {
            places: Arc::new(Semaphore::new(REFUSED_AT_ONCE)),
            refusals: Arc::default(),
            audit,
            tasks,
        }
    }

    /// What was refused so far.
    pub(super) fn refusals(&self) -> &Arc<Refusals> {
        &self.refusals
    }

    /// The answer to a call of `path` by `peer` that has no caller.
    pub(super) fn denied(&self, peer: &Caller, path: &str, why: &NoCaller) -> Response<Body> {
        let (kind, status) = status(why);
        self.refusals.note(kind, peer, why);
        self.tell(Some(peer), Some(path), &status);
        status.into_http()
    }

    /// The answer to a call of `path` that `caller` may not make.
    pub(super) fn not_permitted(
        &self,
        caller: &Caller,
        path: &str,
        why: &NotPermitted,
    ) -> Response<Body> {
        let status = service::status::not_permitted(why);
        self.tell(Some(caller), Some(path), &status);
        status.into_http()
    }

    /// `peer` has got no further than to its handshake.
    pub(super) fn no_handshake(&self, peer: &Caller, why: &NoHandshake) {
        self.refusals.note(Refused::Handshake, peer, why);
        let subject = Subject::of(peer, &Through::of(peer, None));
        self.audit
            .refused(&subject, None, "HANDSHAKE", &why.to_string());
    }

    /// Tells that `peer`, if it is known, is refused, and returns why.
    pub(super) fn told(&self, peer: Option<&Caller>, refusal: Refusal) -> Refusal {
        self.tell(peer, None, &refusal.status());
        refusal
    }

    fn tell(&self, peer: Option<&Caller>, path: Option<&str>, status: &Status) {
        if !self.audit.is_on() {
            return;
        }
        let subject = match peer {
            Some(peer) => Subject::of(peer, &Through::of(peer, None)),
            None => Subject::unknown("grpc"),
        };
        let reason = Reason::of(status).map_or("", Reason::as_str);
        self.audit
            .refused(&subject, path.map(rpc), reason, status.message());
    }

    /// Answers each call of `stream`, which is served over `tls` if there is any, that `refusal` is why it is not run, and
    /// closes it soon.
    pub(super) fn show_in(&self, stream: PeerStream, tls: Option<Tls>, refusal: &Refusal) {
        self.refusals
            .note(refusal.kind(), &"a client of gRPC", refusal);
        let Ok(place) = Arc::clone(&self.places).try_acquire_owned() else {
            return;
        };
        let status = refusal.status();
        let tasks = self.tasks.clone();
        self.tasks.spawn(async move {
            // Whoever does not go by itself is cut off.
            let _ = timeout(REFUSED_STAY, tell(stream, tls, status, tasks)).await;
            drop(place);
        });
    }
}

/// The status of a call that has no caller, and as what it is counted.
fn status(why: &NoCaller) -> (Refused, Status) {
    let message = why.to_string();
    match why {
        NoCaller::User(_) => (Refused::Peer, Reason::PeerNotAllowed.status(message)),
        NoCaller::Guessing(left) => {
            let status = Reason::TokenInvalid.retry_after(*left, message);
            (Refused::Credential, status)
        }
        NoCaller::NoCredential(_)
        | NoCaller::Malformed
        | NoCaller::Exposed
        | NoCaller::Unknown
        | NoCaller::Expired
        | NoCaller::Jwt(_)
        | NoCaller::Nameless(_) => (Refused::Credential, Reason::TokenInvalid.status(message)),
    }
}

async fn tell(stream: PeerStream, tls: Option<Tls>, status: Status, tasks: TaskTracker) {
    let stream = match tls {
        None => Stream::Plain(stream),
        Some(tls) => match TlsAcceptor::from(tls.config()).accept(stream).await {
            Ok(stream) => Stream::Tls(Box::new(stream)),
            Err(_) => return,
        },
    };
    let Ok(opened) = preface::open(stream).await else {
        return;
    };
    let told = Arc::new(Notify::new());
    let service = {
        let told = Arc::clone(&told);
        service_fn(move |_: Request<Incoming>| {
            let response = with_version(status.clone().into_http::<Body>());
            told.notify_one();
            async move { Ok::<_, Infallible>(response) }
        })
    };
    let connection = builder(tasks).serve_connection(TokioIo::new(opened), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // How it ended is of no interest any more.
        _ = connection.as_mut() => return,
        () = told.notified() => {}
        () = sleep(REFUSED_SILENCE) => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = connection.await;
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt, net::TcpStream, time::Instant};

    use super::{
        super::testing::{greet, listen, read_to_end},
        *,
    };

    #[tokio::test(start_paused = true)]
    async fn pitfall_54_a_silent_one_is_asked_to_go_after_half_a_second_and_closed_after_one() {
        let (mut acceptor, to) = listen();
        let peer = greet(to);
        let stream = acceptor.accept().await.stream;
        let begun = Instant::now();
        RefusedRoom::new(TaskTracker::new(), AuditLog::default()).show_in(
            stream,
            None,
            &Refusal::User(7),
        );
        let asked = read_to_end(peer).await.expect("it was asked to go");
        assert_eq!((asked - begun).as_millis(), 500);
        assert_eq!(begun.elapsed().as_millis(), 1000);
    }

    #[tokio::test(start_paused = true)]
    async fn pitfall_54_64_are_told_at_once_and_the_next_one_is_closed() {
        let (mut acceptor, to) = listen();
        let room = RefusedRoom::new(TaskTracker::new(), AuditLog::default());
        let mut peers: Vec<TcpStream> = Vec::new();
        let begun = Instant::now();
        for _ in 0..=64 {
            peers.push(greet(to));
            let stream = acceptor.accept().await.stream;
            room.show_in(stream, None, &Refusal::User(7));
        }
        let mut last = peers.pop().unwrap();
        // Closed with what it said unread, so that it may be reset.
        assert_eq!(last.read(&mut [0; 64]).await.unwrap_or_default(), 0);
        for peer in peers {
            assert!(read_to_end(peer).await.is_some());
        }
        assert_eq!(begun.elapsed().as_millis(), 1000);
    }
}
