//! What waits to be sent, over all calls. A call may always have [`CALL_BYTES`] waiting, so that none stands still for
//! another that nobody reads; more only as long as all together have less than [`ALL_BYTES`].

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, ready},
};

use bytes::Bytes;
use futures_util::task::AtomicWaker;
use http_body::{Body, Frame, SizeHint};
use tonic::Status;

use super::calls::Call;

/// What one call may have waiting, whatever others have.
pub const CALL_BYTES: usize = 32 * 1024;

/// What all of them may have beyond that.
pub const ALL_BYTES: usize = 64 * 1024 * 1024;

/// What waits, in all. Clones share it.
#[derive(Debug, Clone, Default)]
pub(super) struct Unsent(Arc<AtomicUsize>);

/// What waits of one call.
#[derive(Debug)]
struct Own {
    bytes: AtomicUsize,
    sender: AtomicWaker,
    all: Unsent,
}

impl Own {
    fn is_full(&self) -> bool {
        self.bytes.load(Ordering::Acquire) >= CALL_BYTES
            && self.all.0.load(Ordering::Relaxed) >= ALL_BYTES
    }

    fn add(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.all.0.fetch_add(bytes, Ordering::Relaxed);
    }

    fn sub(&self, bytes: usize) {
        self.all.0.fetch_sub(bytes, Ordering::Relaxed);
        self.bytes.fetch_sub(bytes, Ordering::Release);
        self.sender.wake();
    }
}

/// Bytes on their way; they are counted until HTTP/2 is done with them.
struct Counted {
    bytes: Bytes,
    own: Arc<Own>,
}

impl AsRef<[u8]> for Counted {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.own.sub(self.bytes.len());
    }
}

/// A response's body, which is asked for more only while little of it waits. The call is open as long as it is.
pub(super) struct Paced<B> {
    body: B,
    own: Arc<Own>,
    _call: Call,
}

impl<B> Paced<B> {
    pub(super) fn new(body: B, all: &Unsent, call: Call) -> Self {
        let own = Own {
            bytes: AtomicUsize::new(0),
            sender: AtomicWaker::new(),
            all: all.clone(),
        };
        Self {
            body,
            own: Arc::new(own),
            _call: call,
        }
    }
}

impl<B> Body for Paced<B>
where
    B: Body<Data = Bytes, Error = Status> + Unpin,
{
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let this = self.get_mut();
        if this.own.is_full() {
            this.own.sender.register(context.waker());
            // It may have been sent before anybody was there to be woken.
            if this.own.is_full() {
                return Poll::Pending;
            }
        }
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context));
        let counted = |bytes: Bytes| {
            this.own.add(bytes.len());
            let own = Arc::clone(&this.own);
            Bytes::from_owner(Counted { bytes, own })
        };
        Poll::Ready(frame.map(|frame| frame.map(|frame| frame.map_data(counted))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, future::poll_fn};

    use futures_util::FutureExt;

    use super::*;
    use crate::grpc::calls::Calls;

    /// As many frames of this size as are asked for.
    struct Endless(usize);

    impl Body for Endless {
        type Data = Bytes;
        type Error = Status;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
            Poll::Ready(Some(Ok(Frame::data(vec![0; self.0].into()))))
        }
    }

    fn take(body: &mut Paced<Endless>) -> Option<Bytes> {
        let frame = poll_fn(|context| Pin::new(&mut *body).poll_frame(context));
        let frame = frame.now_or_never()??;
        Some(frame.unwrap().into_data().unwrap())
    }

    #[test]
    fn what_waits_is_bounded_and_nobody_stands_still() {
        assert_eq!((CALL_BYTES, ALL_BYTES), (32_768, 67_108_864));
        let all = Unsent::default();
        let body = || Paced::new(Endless(CALL_BYTES / 2), &all, Calls::new().begin());
        let mut unread = body();
        let mut waiting = VecDeque::new();
        while let Some(bytes) = take(&mut unread) {
            waiting.push_back(bytes);
        }
        assert_eq!(all.0.load(Ordering::Relaxed), ALL_BYTES);
        // Another call has its own share, for ever.
        let mut read = body();
        for _ in 0..10 {
            let (one, two) = (take(&mut read).unwrap(), take(&mut read).unwrap());
            assert!(take(&mut read).is_none());
            drop((one, two));
        }
        waiting.pop_front();
        assert!(take(&mut unread).is_some());
        drop((waiting, unread, read));
        assert_eq!(all.0.load(Ordering::Relaxed), 0);
    }
}
