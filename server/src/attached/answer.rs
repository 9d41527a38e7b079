//! A caller who gets the first bytes of an execution's output in one answer, at its end.

use std::{cell::RefCell, future::pending, io, time::Duration};

use remex_supervisor::{
    journal::Lost,
    lifecycle::{
        event::{Event, EventKind, Exit},
        outlet::{Flow, Outlet},
        output::{MAX_OUTPUT_BYTES, OutputStream},
    },
};
use tokio::sync::mpsc;

use super::outlet::AttachedOutlet;
use crate::{
    budget::{Budget, Share},
    execution::{Cut, Items, Told},
};

/// What unary answers together may hold of their commands' output, in bytes, from when it is read to when it has been sent.
pub const ANSWER_BYTES: usize = 512 * 1024 * 1024;

/// Bytes of a stream that are kept past a cap, so that a character at the edge can be judged.
pub const CAP_MARGIN: usize = 3;

/// Output is kept in pieces of this size, each of which goes when it has been sent.
const PIECE_BYTES: usize = 64 * 1024;

/// Collects the answer.
#[derive(Debug)]
pub struct AnswerOutlet {
    collected: Collected,
    /// `None` once the caller has gone, or has been answered.
    way: Option<Way>,
}

/// The way to the caller.
#[derive(Debug)]
struct Way {
    to: mpsc::Sender<Box<Answered>>,
    budget: Budget,
}

/// What the caller gets.
#[derive(Debug)]
pub struct Answered {
    /// The output.
    pub collected: Collected,
    /// How the execution ended.
    pub exit: Exit,
    /// What is not known of that, where nobody saw it.
    pub lost: Option<Lost>,
}

/// The answer, once it is there.
#[derive(Debug)]
pub struct Answering(Source);

#[derive(Debug)]
enum Source {
    Attached(mpsc::Receiver<Box<Answered>>),
    Durable {
        items: Items,
        collected: Collected,
        budget: Budget,
    },
}

impl Answering {
    /// What an [`AnswerOutlet`] collects.
    pub fn attached(answered: mpsc::Receiver<Box<Answered>>) -> Self {
        Self(Source::Attached(answered))
    }

    /// What is read along, up to `cap` bytes of each stream, as far as there is a `budget` for it.
    pub fn durable(items: Items, cap: usize, budget: &Budget) -> Self {
        Self(Source::Durable {
            items,
            collected: Collected::new(cap),
            budget: budget.clone(),
        })
    }

    /// The answer, at the execution's end.
    pub async fn get(self) -> Result<Answered, Cut> {
        let (mut items, mut collected, budget) = match self.0 {
            Source::Attached(mut answered) => {
                let answered = answered.recv().await.ok_or(Cut::HostLost)?;
                return Ok(*answered);
            }
            Source::Durable {
                items,
                collected,
                budget,
            } => (items, collected, budget),
        };
        while let Some(told) = items.next().await {
            match told? {
                Told::Event(Event { kind, .. }) => match kind {
                    EventKind::Started { .. } => {}
                    EventKind::Output(chunk) => {
                        collected.push(chunk.stream, &chunk.data, &budget);
                    }
                    EventKind::Exited(exit) => {
                        return Ok(Answered {
                            collected,
                            exit,
                            lost: None,
                        });
                    }
                },
                Told::Gap(gap) => collected.skip(gap.bytes),
                Told::Lost { end, .. } => {
                    return Ok(Answered {
                        collected,
                        exit: end.exit,
                        lost: end.lost,
                    });
                }
                Told::StdinAccepted => {}
            }
        }
        Err(Cut::HostLost)
    }
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
    /// Up to [`CAP_MARGIN`] more bytes than the cap.
    pub pieces: Vec<KeptPiece>,
    /// Bytes that the command wrote.
    pub total: u64,
    /// Bytes that may still be kept. What comes behind one that is dropped is dropped, too.
    pub room: usize,
}

/// Some output, and what it takes of the budget for as long as it is there.
#[derive(Debug)]
pub struct KeptPiece {
    /// The output.
    pub bytes: Vec<u8>,
    /// As many bytes of the budget, at least.
    pub share: Share,
}

impl AnswerOutlet {
    /// Both ends; up to `cap` bytes of each stream are kept, as far as there is a budget for it.
    pub fn new(cap: usize, budget: &Budget) -> (Self, mpsc::Receiver<Box<Answered>>) {
        let (to, received) = mpsc::channel(1);
        let budget = budget.clone();
        let answer = Self {
            collected: Collected::new(cap),
            way: Some(Way { to, budget }),
        };
        (answer, received)
    }
}

impl Outlet for AnswerOutlet {
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
            if let Some(way) = &self.way {
                self.collected.push(stream, buffer, &way.budget);
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
        if let Some(Way { to, .. }) = self.way.take() {
            // Refused only when the caller has gone.
            let _ = to.try_send(Box::new(Answered {
                collected,
                exit,
                lost: None,
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

impl AttachedOutlet for AnswerOutlet {
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
            room: cap + CAP_MARGIN,
            ..Capture::default()
        };
        Self {
            stdout: capture(),
            stderr: capture(),
        }
    }

    /// So many bytes of stdout, stderr and the terminal are not kept.
    fn skip(&mut self, [stdout, stderr, terminal]: [u64; 3]) {
        let add = |total: &mut u64, bytes: u64| *total = total.saturating_add(bytes);
        add(&mut self.stdout.total, stdout.saturating_add(terminal));
        add(&mut self.stderr.total, stderr);
    }

    fn push(&mut self, stream: OutputStream, data: &[u8], budget: &Budget) {
        let capture = match stream {
            OutputStream::Stdout | OutputStream::Terminal => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        };
        capture.total += data.len() as u64;
        capture.keep(data, budget);
    }
}

impl Capture {
    fn keep(&mut self, data: &[u8], budget: &Budget) {
        let mut data = &data[..data.len().min(self.room)];
        while !data.is_empty() {
            let piece = match self.pieces.last_mut() {
                Some(last) if last.bytes.len() < PIECE_BYTES => last,
                _ => self.pieces.push_mut(KeptPiece {
                    bytes: Vec::new(),
                    share: budget.share(),
                }),
            };
            let wanted = data.len().min(PIECE_BYTES - piece.bytes.len());
            let kept = piece.share.grow(wanted);
            piece.bytes.extend_from_slice(&data[..kept]);
            if kept < wanted {
                self.room = 0;
                return;
            }
            self.room -= kept;
            data = &data[kept..];
        }
    }

    /// Bytes that are kept.
    pub fn kept(&self) -> usize {
        self.pieces.iter().map(|piece| piece.bytes.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(capture: &Capture) -> Vec<u8> {
        let pieces: Vec<_> = capture
            .pieces
            .iter()
            .map(|piece| &piece.bytes[..])
            .collect();
        pieces.concat()
    }

    #[test]
    fn all_answers_together_have_512_mib() {
        assert_eq!(ANSWER_BYTES, 512 << 20);
    }

    #[test]
    fn a_capture_keeps_the_first_bytes_and_counts_the_rest() {
        let budget = Budget::new(100);
        let mut collected = Collected::new(4);
        collected.push(OutputStream::Stdout, b"abc", &budget);
        collected.push(OutputStream::Terminal, b"defghij", &budget);
        collected.push(OutputStream::Stdout, b"k", &budget);
        assert_eq!(bytes(&collected.stdout), b"abcdefg");
        assert_eq!(collected.stdout.total, 11);
        assert_eq!(collected.stderr.total, 0);
    }

    #[test]
    fn what_the_budget_has_no_room_for_is_counted_and_nothing_behind_it_is_kept() {
        let budget = Budget::new(5);
        let mut other = budget.share();
        let mut collected = Collected::new(100);
        other.grow(2);
        collected.push(OutputStream::Stdout, b"abcdef", &budget);
        drop(other);
        collected.push(OutputStream::Stdout, b"gh", &budget);
        collected.push(OutputStream::Stderr, b"xyz", &budget);
        assert_eq!(bytes(&collected.stdout), b"abc");
        assert_eq!(collected.stdout.total, 8);
        assert_eq!(bytes(&collected.stderr), b"xy");
    }

    #[test]
    fn each_piece_gives_its_own_memory_back() {
        let budget = Budget::new(10 * PIECE_BYTES);
        let mut collected = Collected::new(2 * PIECE_BYTES);
        let data = vec![b'x'; PIECE_BYTES / 2 + 1];
        for _ in 0..10 {
            collected.push(OutputStream::Stdout, &data, &budget);
        }
        let kept = 2 * PIECE_BYTES + CAP_MARGIN;
        assert_eq!(collected.stdout.kept(), kept);
        assert_eq!(budget.free(), 10 * PIECE_BYTES - kept);
        let lengths = |capture: &Capture| -> Vec<_> {
            capture
                .pieces
                .iter()
                .map(|piece| piece.bytes.len())
                .collect()
        };
        assert_eq!(
            lengths(&collected.stdout),
            [PIECE_BYTES, PIECE_BYTES, CAP_MARGIN]
        );
        collected.stdout.pieces.remove(0);
        assert_eq!(budget.free(), 10 * PIECE_BYTES - kept + PIECE_BYTES);
    }
}
