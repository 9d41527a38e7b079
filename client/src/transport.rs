//! A service over one HTTP/2 connection that is opened when it is needed and again when it was lost, with a pause that
//! grows between attempts. A call is never sent twice: only one that never left is tried on a fresh connection.

use std::{
    error::Error,
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll},
    time::Instant,
};

use http::{HeaderValue, Request, Response, Uri, header::USER_AGENT, uri};
use http_body_util::BodyExt;
use tokio::sync::Mutex;
use tonic::{Code, Status, body::Body};
use tower::{BoxError, Service};

use crate::{
    ConnectError, Endpoint,
    backoff::Backoff,
    dial::{Sender, dial},
};

const AGENT: HeaderValue = HeaderValue::from_static(concat!("remex/", env!("CARGO_PKG_VERSION")));

/// The transport; its clones share the connection.
#[derive(Clone)]
pub(crate) struct Transport(Arc<Shared>);

struct Shared {
    endpoint: Endpoint,
    authority: Option<uri::Authority>,
    current: RwLock<Option<Sender>>,
    /// Held while connecting, so that many calls make one attempt.
    attempts: Mutex<Attempts>,
}

#[derive(Default)]
struct Attempts {
    backoff: Backoff,
    last_error: Option<Status>,
}

impl Transport {
    /// With no connection yet.
    pub(crate) fn lazy(endpoint: &Endpoint) -> Self {
        Self(Arc::new(Shared {
            endpoint: endpoint.clone(),
            authority: endpoint.authority().parse().ok(),
            current: RwLock::default(),
            attempts: Mutex::default(),
        }))
    }

    /// Opens the connection now.
    pub(crate) async fn connect(endpoint: &Endpoint) -> Result<Self, ConnectError> {
        let sender = dial(endpoint).await?;
        let transport = Self::lazy(endpoint);
        transport.0.store(sender);
        Ok(transport)
    }
}

impl Shared {
    fn current(&self) -> Option<Sender> {
        let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
        current
            .as_ref()
            .filter(|sender| !sender.is_closed())
            .cloned()
    }

    fn store(&self, sender: Sender) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(sender);
    }

    async fn sender(&self) -> Result<Sender, Status> {
        if let Some(sender) = self.current() {
            return Ok(sender);
        }
        let mut attempts = self.attempts.lock().await;
        if let Some(sender) = self.current() {
            return Ok(sender);
        }
        if attempts.backoff.holds(Instant::now())
            && let Some(error) = &attempts.last_error
        {
            return Err(error.clone());
        }
        match dial(&self.endpoint).await {
            Ok(sender) => {
                attempts.backoff.succeeded();
                self.store(sender.clone());
                Ok(sender)
            }
            Err(error) => {
                let mut status = Status::unavailable(error.to_string());
                // What was never sent can be told from what was lost on its way.
                status.set_source(Arc::new(error));
                attempts.backoff.failed(Instant::now());
                attempts.last_error = Some(status.clone());
                Err(status)
            }
        }
    }

    async fn send(&self, request: Request<Body>) -> Result<Response<Body>, Status> {
        let mut sender = self.sender().await?;
        let mut failed = match sender.try_send_request(request).await {
            Ok(response) => return Ok(response.map(body)),
            Err(failed) => failed,
        };
        // Handed back: the connection had ended before a byte of it was sent.
        if let Some(request) = failed.take_message() {
            let mut sender = self.sender().await?;
            let sent = sender.send_request(request).await;
            return sent
                .map(|response| response.map(body))
                .map_err(|error| lost(&error));
        }
        Err(lost(failed.error()))
    }

    fn address(&self, request: &mut Request<Body>) -> Result<(), Status> {
        let mut parts = std::mem::take(request.uri_mut()).into_parts();
        parts.scheme = Some(uri::Scheme::HTTP);
        parts.authority.clone_from(&self.authority);
        *request.uri_mut() = Uri::from_parts(parts)
            .map_err(|error| Status::internal(format!("{}: {error}", self.endpoint)))?;
        request.headers_mut().entry(USER_AGENT).or_insert(AGENT);
        Ok(())
    }
}

impl Service<Request<Body>> for Transport {
    type Response = Response<Body>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Body>, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move {
            shared.address(&mut request)?;
            Ok(shared.send(request).await?)
        })
    }
}

fn body(incoming: hyper::body::Incoming) -> Body {
    Body::new(incoming.map_err(|error| lost(&error)))
}

/// What a call ends with when HTTP/2 breaks under it.
fn lost(error: &hyper::Error) -> Status {
    let reset = error
        .source()
        .and_then(|source| source.downcast_ref::<h2::Error>())
        .filter(|error| error.is_reset())
        .and_then(h2::Error::reason);
    match reset {
        Some(reason) => Status::new(
            code_of(reason),
            format!("the server cut the call off: {reason}"),
        ),
        None => Status::unavailable(format!(
            "the connection to the server was lost: {}",
            root(error)
        )),
    }
}

/// The mapping of gRPC's PROTOCOL-HTTP2.
fn code_of(reason: h2::Reason) -> Code {
    match reason {
        h2::Reason::REFUSED_STREAM => Code::Unavailable,
        h2::Reason::CANCEL => Code::Cancelled,
        h2::Reason::ENHANCE_YOUR_CALM => Code::ResourceExhausted,
        h2::Reason::INADEQUATE_SECURITY => Code::PermissionDenied,
        _ => Code::Internal,
    }
}

fn root(error: &dyn Error) -> &dyn Error {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error
}
