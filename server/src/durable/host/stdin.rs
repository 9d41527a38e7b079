//! Stdin on its way to a supervisor: one chunk at a time, in pieces that its messages hold.

use bytes::Bytes;
use remex_supervisor::{
    durable::message::{LinkRequest, MAX_STDIN_BYTES, StdinPiece},
    lifecycle::stdin::{StdinChunk, StdinError},
};
use tokio::sync::oneshot;

use super::{DurableHost, Parting};
use crate::attached::{mailbox::StdinRequest, waiting_stdin::StdinShare};

/// A chunk of stdin, piece by piece. One is with the supervisor.
#[derive(Debug)]
pub(super) struct Feeding {
    /// Where the rest begins, if its caller has said.
    offset: Option<u64>,
    rest: Bytes,
    eof: bool,
    /// Who waits for it, with the memory that it takes; `None`: it is the end alone.
    pub(super) writer: Option<(StdinShare, oneshot::Sender<Result<u64, StdinError>>)>,
}

impl DurableHost {
    pub(super) fn feed(&mut self, stdin: StdinRequest) -> Option<Parting> {
        self.feeding = Some(match stdin {
            StdinRequest::Chunk(StdinChunk { offset, data, eof }, share, answer) => Feeding {
                offset,
                rest: data,
                eof,
                writer: Some((share, answer)),
            },
            StdinRequest::Close => Feeding {
                offset: None,
                rest: Bytes::new(),
                eof: true,
                writer: None,
            },
        });
        self.next_piece();
        None
    }

    fn next_piece(&mut self) {
        let Some(feeding) = &mut self.feeding else {
            return;
        };
        let bytes = feeding.rest.len().min(MAX_STDIN_BYTES);
        let data = feeding.rest.split_to(bytes);
        let piece = StdinPiece {
            offset: feeding.offset,
            eof: feeding.eof && feeding.rest.is_empty(),
            data,
        };
        feeding.offset = feeding
            .offset
            .map(|offset| offset.saturating_add(bytes as u64));
        self.outgoing.push_back(LinkRequest::Stdin(piece));
    }

    pub(super) fn stdin_taken(&mut self, accepted: u64) {
        let Some(feeding) = &mut self.feeding else {
            return;
        };
        if !feeding.rest.is_empty() {
            let left = u32::try_from(feeding.rest.len()).unwrap_or(u32::MAX);
            if let Some((share, _)) = &mut feeding.writer {
                share.shrink_to(left as usize);
            }
            self.next_piece();
            return;
        }
        let through = self.kept.progress.borrow().through;
        self.grown(through, accepted);
        if let Some((_, writer)) = self.feeding.take().and_then(|feeding| feeding.writer) {
            let _ = writer.send(Ok(accepted));
        }
    }
}
