//! A request's body as the services get it: one that its caller has reset does not end, it fails.

use std::{
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use tonic::Status;

/// To hyper, a body whose stream was reset with CANCEL or NO_ERROR ends as if it were complete, and tonic takes a cancelled
/// one for complete, too. Its end would close the stdin of a command that its caller has left, which so would take what it
/// has got for all that there is.
pub(super) struct Resettable(pub(super) Incoming);

impl Body for Resettable {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.0).poll_frame(context));
        Poll::Ready(match frame {
            Some(Ok(frame)) => Some(Ok(frame)),
            None if self.0.is_end_stream() => None,
            // Not CANCELLED, as said above. Nobody is there to hear it.
            None | Some(Err(_)) => Some(Err(Status::unavailable("the call was reset"))),
        })
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}
