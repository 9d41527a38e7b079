//! A service each of whose calls is a span, from its request to the last of its response.

use std::{
    convert::Infallible,
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use tonic::{Status, body::Body, server::NamedService};
use tower::Service;

use super::{CallSpan, Traces};

/// Makes a span of each call of a service, which finds the call's [`CallTrace`](super::CallTrace) in its request.
#[derive(Debug, Clone)]
pub struct Traced<S> {
    inner: S,
    traces: Traces,
}

impl<S> Traced<S> {
    /// The same as `inner`, and traced.
    pub fn new(inner: S, traces: Traces) -> Self {
        Self { inner, traces }
    }
}

impl<S: NamedService> NamedService for Traced<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Traced<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Unpin,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = TracedCall<S::Future>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let span = self.traces.call(&request);
        if let Some(span) = &span {
            request.extensions_mut().insert(span.trace());
        }
        TracedCall {
            answer: self.inner.call(request),
            span,
        }
    }
}

/// A call that is being answered. Dropped before, it is a cancelled one.
#[derive(Debug)]
pub struct TracedCall<F> {
    answer: F,
    span: Option<CallSpan>,
}

impl<F> Future for TracedCall<F>
where
    F: Future<Output = Result<Response<Body>, Infallible>> + Unpin,
{
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Ok(response) = ready!(Pin::new(&mut self.answer).poll(context));
        let Some(span) = self.span.take() else {
            return Poll::Ready(Ok(response));
        };
        // An error before any message has its status in the headers.
        let span = match told(span, response.headers()) {
            Ok(()) => return Poll::Ready(Ok(response)),
            Err(span) => span,
        };
        Poll::Ready(Ok(response.map(|inner| {
            Body::new(TracedBody {
                inner,
                span: Some(span),
            })
        })))
    }
}

/// Ends the span if `headers` have the call's status; else it is given back.
fn told(span: CallSpan, headers: &HeaderMap) -> Result<(), CallSpan> {
    match Status::from_header_map(headers) {
        Some(status) => {
            span.end(&status);
            Ok(())
        }
        None => Err(span),
    }
}

/// A response whose status is still to come. Dropped before, its call was cancelled.
struct TracedBody {
    inner: Body,
    span: Option<CallSpan>,
}

impl http_body::Body for TracedBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(trailers) = frame.trailers_ref()
                    && let Some(span) = mem::take(&mut self.span)
                {
                    self.span = told(span, trailers).err();
                }
            }
            Some(Err(error)) => {
                if let Some(span) = mem::take(&mut self.span) {
                    span.end(error);
                }
            }
            None => {}
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
