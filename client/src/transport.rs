//! A service over one HTTP/2 connection that is opened when it is needed and again when it was lost, with a pause that
//! grows between attempts. A call is never sent twice.

use std::{
    future::Future,
    pin::Pin,
    sync::{Arc, PoisonError, RwLock},
    task::{Context, Poll},
    time::Instant,
};

use http::{HeaderValue, Request, Response, Uri, header::USER_AGENT, uri};
use tokio::sync::Mutex;
use tonic::{Status, body::Body};
use tower::{BoxError, Service};

use crate::{ConnectError, Endpoint, backoff::Backoff, dial::dial, http2::Sender};

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
        let mut sender = current.clone()?;
        drop(current);
        (!sender.is_closed()).then_some(sender)
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
            Ok(shared.sender().await?.call(request).await?)
        })
    }
}
