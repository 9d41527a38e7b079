//! A service whose calls are observed, each from its request to its response: by the audit log, and by traces.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use tonic::{body::Body, server::NamedService};
use tower::Service;

/// Observes the calls of services.
pub trait Observer {
    /// What it knows of a call that is being answered. Dropped before that is, the call was cancelled.
    type Call: Unpin;

    /// A call begins; `None`: it is not observed. What its service is to find goes into the request.
    fn begins(&self, request: &mut Request<Body>) -> Option<Self::Call>;

    /// It is answered with `response`, or with what becomes of that.
    fn answered(call: Self::Call, response: Response<Body>) -> Response<Body>;
}

/// A service, and who observes its calls.
#[derive(Debug, Clone)]
pub struct Observed<S, O> {
    inner: S,
    observer: O,
}

impl<S, O> Observed<S, O> {
    /// The same as `inner`, observed by `observer`.
    pub fn new(inner: S, observer: O) -> Self {
        Self { inner, observer }
    }
}

impl<S: NamedService, O> NamedService for Observed<S, O> {
    const NAME: &'static str = S::NAME;
}

impl<S, O> Service<Request<Body>> for Observed<S, O>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Unpin,
    O: Observer,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = ObservedCall<S::Future, O>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let call = self.observer.begins(&mut request);
        ObservedCall {
            answer: self.inner.call(request),
            call,
        }
    }
}

/// A call that is being answered.
#[derive(Debug)]
pub struct ObservedCall<F, O: Observer> {
    answer: F,
    call: Option<O::Call>,
}

impl<F, O> Future for ObservedCall<F, O>
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Unpin,
    O: Observer,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(response) = ready!(Pin::new(&mut self.answer).poll(context));
        Poll::Ready(Ok(match self.call.take() {
            Some(call) => O::answered(call, response),
            None => response,
        }))
    }
}
