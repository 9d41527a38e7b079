//! A caller who gets the first bytes of an execution's output in one answer, at its end.

use std::{cell::RefCell, future::pending, io, time::Duration};

use remex_supervisor::lifecycle::{
    event::Exit,
    outlet::{Flow, Outlet},
    output::{MAX_OUTPUT_BYTES, OutputStream},
};
use tokio::sync::mpsc;

use super::outlet::AttachedOutlet;

/// Bytes of a stream that are kept past a cap, so that a character at the edge can be judged.
pub const CAP_MARGIN: usize = 3;

/// Collects the answer.
#[derive(Debug)]
pub struct Answer {
    collected: Collected,
    /// `None` once the caller has gone.
    to: Option<mpsc::Sender<Box<Answered>>>,
}

/// What the caller gets.
#[derive(Debug)]
pub struct Answered {
    /// The output.
    pub collected: Collected,
    /// How the execution ended.
    pub exit: Exit,
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

impl Answer {
    /// Both ends; up to `cap` bytes of each stream are kept.
    pub fn new(cap: usize) -> (Self, mpsc::Receiver<Box<Answered>>) {
        let (to, received) = mpsc::channel(1);
        let answer = Self {
            collected: Collected::new(cap),
            to: Some(to),
        };
        (answer, received)
    }
}

impl Outlet for Answer {
    /// Most commands are over by then.
    const PATIENCE: Duration = Duration::from_millis(5);

    fn takes(&self, _: OutputStream) -> bool {
        true
    }

    fn read(
        &mut self,
        stream: OutputStream,
        read: impl FnOnce(&mut Vec<u8>) -> io::Result<usize>,
    ) -> io::Result<usize> {
        // One buffer a thread: that of each execution would be kept for as long as it runs.
        thread_local! {
            static BUFFER: RefCell<Vec<u8>> = RefCell::new(Vec::with_capacity(MAX_OUTPUT_BYTES));
        }
        BUFFER.with_borrow_mut(|buffer| {
            buffer.clear();
            let bytes = read(buffer)?;
            if self.to.is_some() {
                self.collected.push(stream, buffer);
            }
            Ok(bytes)
        })
    }

    fn end(&mut self, _: OutputStream) {}

    fn started(&mut self, _: Duration, _: i32) {}

    fn deadline(&self, _: Duration, _: bool) -> Option<Duration> {
        None
    }

    fn pass_on(&mut self, _: Duration, _: bool) -> Flow {
        Flow::Same
    }

    fn deliver(&mut self, _: Duration, exit: Exit, before_last: impl FnOnce()) -> bool {
        before_last();
        let collected = std::mem::take(&mut self.collected);
        if let Some(to) = self.to.take() {
            // Refused only when the caller has gone.
            let _ = to.try_send(Box::new(Answered { collected, exit }));
        }
        true
    }

    fn abandon(&mut self) -> Flow {
        self.to = None;
        self.collected = Collected::default();
        Flow::Same
    }
}

impl AttachedOutlet for Answer {
    async fn gone(&self) {
        match &self.to {
            Some(to) => to.closed().await,
            None => pending().await,
        }
    }

    async fn room(&self) {
        pending::<()>().await;
    }
}

impl Collected {
    fn new(cap: usize) -> Self {
        let capture = || Capture {
            cap: cap + CAP_MARGIN,
            ..Capture::default()
        };
        Self {
            stdout: capture(),
            stderr: capture(),
        }
    }

    fn push(&mut self, stream: OutputStream, data: &[u8]) {
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
