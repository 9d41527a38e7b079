//! The calls of services, each of which is a span, from its request to the last of its response.

use std::{
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::{Frame, SizeHint};
use tonic::{Status, body::Body};

use super::{CallSpan, Traces};
use crate::observed::Observer;

/// A call finds its [`CallTrace`](super::CallTrace) in its request.
impl Observer for Traces {
    type Call = CallSpan;

    fn begins(&self, request: &mut Request<Body>) -> Option<CallSpan> {
        let span = self.call(request)?;
        request.extensions_mut().insert(span.trace());
        Some(span)
    }

    fn answered(span: CallSpan, response: Response<Body>) -> Response<Body> {
        // An error before any message has its status in the headers.
        match told(span, response.headers()) {
            Ok(()) => response,
            Err(span) => response.map(|inner| {
                Body::new(TracedBody {
                    inner,
                    span: Some(span),
                })
            }),
        }
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
