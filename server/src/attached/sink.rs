//! Where an execution's output goes: to a stream of events, into one bounded answer, or nowhere once its caller has gone.

use remex_supervisor::lifecycle::output::OutputStream;
use tokio::sync::{mpsc, oneshot};

use super::event::{Event, Exit};

/// Items that wait between a driver and the stream that sends them; each holds at most one output.
pub const STREAM_ITEMS: usize = 4;

/// Bytes of a stream that are kept past a cap, so that a character at the edge can be judged.
pub const CAP_MARGIN: usize = 3;

/// One message of a stream.
#[derive(Debug)]
pub struct Item {
    /// What happened; `None` if only the position has grown.
    pub event: Option<Event>,
    /// Position up to which stdin has been accepted.
    pub stdin_accepted: u64,
}

/// Where output goes.
#[derive(Debug)]
pub enum Sink {
    /// To a caller who reads along.
    Stream {
        /// To the response stream.
        items: mpsc::Sender<Item>,
        /// Whether items come for accepted stdin alone.
        tells_accepted: bool,
    },
    /// Into one answer.
    Collect {
        /// What has been collected.
        collected: Box<Collected>,
        /// To the one who waits for it.
        answer: oneshot::Sender<(Collected, Exit)>,
    },
    /// Nowhere: nobody is there any more.
    Discard,
}

/// The first bytes of each stream.
#[derive(Debug, Default)]
pub struct Collected {
    /// stdout, or everything of a terminal.
    pub stdout: Capture,
    /// stderr.
    pub stderr: Capture,
}

/// The first bytes of one stream, and how many there were.
#[derive(Debug, Default)]
pub struct Capture {
    /// Up to [`CAP_MARGIN`] more than the cap.
    pub bytes: Vec<u8>,
    /// Bytes that the command wrote.
    pub total: u64,
    cap: usize,
}

impl Collected {
    /// Keeps up to `cap` bytes of each stream.
    pub fn new(cap: usize) -> Self {
        let capture = || Capture {
            cap: cap + CAP_MARGIN,
            ..Capture::default()
        };
        Self {
            stdout: capture(),
            stderr: capture(),
        }
    }

    /// Takes what was read.
    pub fn push(&mut self, stream: OutputStream, data: &[u8]) {
        let capture = match stream {
            OutputStream::Stdout | OutputStream::Terminal => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        };
        let room = capture.cap - capture.bytes.len();
        capture
            .bytes
            .extend_from_slice(&data[..data.len().min(room)]);
        capture.total += data.len() as u64;
    }
}

impl Sink {
    /// Returns when the caller has gone.
    pub async fn gone(&mut self) {
        match self {
            Self::Stream { items, .. } => items.closed().await,
            Self::Collect { answer, .. } => answer.closed().await,
            Self::Discard => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_keeps_the_first_bytes_and_counts_the_rest() {
        let mut collected = Collected::new(4);
        collected.push(OutputStream::Stdout, b"abc");
        collected.push(OutputStream::Terminal, b"defghij");
        collected.push(OutputStream::Stdout, b"k");
        assert_eq!(collected.stdout.bytes, b"abcdefg");
        assert_eq!(collected.stdout.total, 11);
        assert_eq!(collected.stderr.total, 0);
    }
}
