//! A caller who gets the first bytes of an execution's output in one answer, at its end.

use std::{cell::RefCell, future::pending, io, time::Duration};

use remex_supervisor::lifecycle::{
    event::Exit,
    outlet::{Flow, Outlet},
    output::{MAX_OUTPUT_BYTES, OutputStream},
};
use tokio::sync::mpsc;

use super::outlet::AttachedOutlet;
use crate::budget::{Budget, Share};

/// What unary answers together may keep of their commands' output, in bytes.
pub const ANSWER_BYTES: usize = 512 * 1024 * 1024;

/// Bytes of a stream that are kept past a cap, so that a character at the edge can be judged.
pub const CAP_MARGIN: usize = 3;

/// Collects the answer.
#[derive(Debug)]
pub struct Answer {
    collected: Collected,
    /// `None` once the caller has gone, or has been answered.
    way: Option<Way>,
}

/// The way to the caller.
#[derive(Debug)]
struct Way {
    to: mpsc::Sender<Box<Answered>>,
    share: Share,
}

/// What the caller gets.
#[derive(Debug)]
pub struct Answered {
    /// The output.
    pub collected: Collected,
    /// How the execution ended.
    pub exit: Exit,
    /// The memory of the output, to be held until the answer has left.
    pub share: Share,
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
    /// Bytes of it that are kept. What comes behind one that is dropped is dropped, too.
    cap: usize,
}

impl Answer {
    /// Both ends; up to `cap` bytes of each stream are kept, as far as there is a budget for it.
    pub fn new(cap: usize, budget: &Budget) -> (Self, mpsc::Receiver<Box<Answered>>) {
        let (to, received) = mpsc::channel(1);
        let share = budget.share();
        let answer = Self {
            collected: Collected::new(cap),
            way: Some(Way { to, share }),
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
            if let Some(way) = &mut self.way {
                self.collected.push(stream, buffer, &mut way.share);
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
        if let Some(Way { to, share }) = self.way.take() {
            // Refused only when the caller has gone.
            let _ = to.try_send(Box::new(Answered {
                collected,
                exit,
                share,
            }));
        }
        true
    }

    fn abandon(&mut self) -> Flow {
        self.way = None;
        self.collected = Collected::default();
        Flow::Same
    }
}

impl AttachedOutlet for Answer {
    async fn gone(&self) {
        match &self.way {
            Some(way) => way.to.closed().await,
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

    fn push(&mut self, stream: OutputStream, data: &[u8], share: &mut Share) {
        let capture = match stream {
            OutputStream::Stdout | OutputStream::Terminal => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        };
        let wanted = data.len().min(capture.cap - capture.bytes.len());
        let kept = share.grow(wanted);
        capture.bytes.extend_from_slice(&data[..kept]);
        if kept < wanted {
            capture.cap = capture.bytes.len();
        }
        capture.total += data.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capture_keeps_the_first_bytes_and_counts_the_rest() {
        let mut share = Budget::new(100).share();
        let mut collected = Collected::new(4);
        collected.push(OutputStream::Stdout, b"abc", &mut share);
        collected.push(OutputStream::Terminal, b"defghij", &mut share);
        collected.push(OutputStream::Stdout, b"k", &mut share);
        assert_eq!(collected.stdout.bytes, b"abcdefg");
        assert_eq!(collected.stdout.total, 11);
        assert_eq!(collected.stderr.total, 0);
    }

    #[test]
    fn what_the_budget_has_no_room_for_is_counted_and_nothing_behind_it_is_kept() {
        let budget = Budget::new(5);
        let (mut share, mut other) = (budget.share(), budget.share());
        let mut collected = Collected::new(100);
        other.grow(2);
        collected.push(OutputStream::Stdout, b"abcdef", &mut share);
        drop(other);
        collected.push(OutputStream::Stdout, b"gh", &mut share);
        collected.push(OutputStream::Stderr, b"xyz", &mut share);
        assert_eq!(collected.stdout.bytes, b"abc");
        assert_eq!(collected.stdout.total, 8);
        assert_eq!(collected.stderr.bytes, b"xy");
    }
}
