//! The connector under tonic's channels: dials whenever a channel has lost its connection, with a pause that grows between
//! failures.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Instant,
};

use http::Uri;
use hyper_util::rt::TokioIo;
use tower::Service;

use super::{
    backoff::Backoff,
    dial::{Connection, dial},
    error::ConnectError,
};
use crate::{Credentials, Endpoint};

/// Connects to one server; its clones share what they know of it.
#[derive(Clone)]
pub(super) struct Connector(Arc<Shared>);

struct Shared {
    endpoint: Endpoint,
    credentials: Credentials,
    failures: Mutex<Failures>,
    dialling: AtomicUsize,
}

#[derive(Default)]
struct Failures {
    backoff: Backoff,
    last: Option<ConnectError>,
}

impl Connector {
    pub(super) fn new(endpoint: &Endpoint, credentials: &Credentials) -> Self {
        Self(Arc::new(Shared {
            endpoint: endpoint.clone(),
            credentials: credentials.clone(),
            failures: Mutex::default(),
            dialling: AtomicUsize::new(0),
        }))
    }

    /// Whether a connection is being opened.
    pub(super) fn is_dialling(&self) -> bool {
        self.0.dialling.load(Ordering::Relaxed) > 0
    }
}

impl Shared {
    async fn connect(&self) -> Result<Connection, ConnectError> {
        self.too_early()?;
        let _dialling = Dialling::begin(&self.dialling);
        let connected = dial(&self.endpoint, &self.credentials).await;
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match &connected {
            Ok(_) => failures.backoff.succeeded(),
            Err(error) => {
                failures.backoff.failed(Instant::now());
                failures.last = Some(error.clone());
            }
        }
        connected
    }

    /// Says again what went wrong last, if that is too recent for another attempt.
    fn too_early(&self) -> Result<(), ConnectError> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        match &failures.last {
            Some(error) if failures.backoff.holds(Instant::now()) => Err(error.clone()),
            _ => Ok(()),
        }
    }
}

/// Counts an attempt for as long as it lives.
struct Dialling<'count>(&'count AtomicUsize);

impl<'count> Dialling<'count> {
    fn begin(count: &'count AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Dialling<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Service<Uri> for Connector {
    type Response = TokioIo<Connection>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        let shared = Arc::clone(&self.0);
        Box::pin(async move { shared.connect().await.map(TokioIo::new) })
    }
}
