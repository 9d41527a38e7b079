//! What others may see of a running execution at any time.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::{output::OutputStream, totals::Totals};

/// How far an execution has come. Written by its engine, or by whoever is told of an engine in another process.
#[derive(Debug, Default)]
pub struct Counters {
    stdout_bytes: AtomicU64,
    stderr_bytes: AtomicU64,
    stdin_accepted: AtomicU64,
    last_sequence: AtomicU64,
    abandoned: AtomicBool,
    totals: Arc<Totals>,
}

/// How far an engine in another process was when it told; a part that it did not tell is 0.
#[derive(Debug, Clone, Copy, Default)]
#[expect(missing_docs, reason = "as in the counters")]
pub struct Position {
    pub stdout_bytes: u64,
    pub stderr_bytes: u64,
    pub stdin_accepted: u64,
    pub last_sequence: u64,
}

impl Counters {
    /// Of an execution that adds to `totals`, too.
    pub fn adding_to(totals: Arc<Totals>) -> Self {
        Self {
            totals,
            ..Self::default()
        }
    }

    /// What it adds to.
    pub(super) fn totals(&self) -> &Arc<Totals> {
        &self.totals
    }

    /// Bytes that were read of the command's stdout, or of its terminal.
    pub fn stdout_bytes(&self) -> u64 {
        self.stdout_bytes.load(Ordering::Relaxed)
    }

    /// Bytes that were read of its stderr.
    pub fn stderr_bytes(&self) -> u64 {
        self.stderr_bytes.load(Ordering::Relaxed)
    }

    /// Position up to which its stdin has been accepted.
    pub fn stdin_accepted(&self) -> u64 {
        self.stdin_accepted.load(Ordering::Relaxed)
    }

    /// The last event's sequence; 0 before the first.
    pub fn last_sequence(&self) -> u64 {
        self.last_sequence.load(Ordering::Relaxed)
    }

    /// Whether its caller has gone.
    pub fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Relaxed)
    }

    /// The engine, in another process, has come to `position`.
    pub fn follow(&self, position: Position) {
        // What was told before may come behind what was asked for since.
        let follow = |counter: &AtomicU64, value: u64| {
            let before = counter.fetch_max(value, Ordering::Relaxed);
            value.saturating_sub(before)
        };
        let stdout = follow(&self.stdout_bytes, position.stdout_bytes);
        let stderr = follow(&self.stderr_bytes, position.stderr_bytes);
        let stdin = follow(&self.stdin_accepted, position.stdin_accepted);
        follow(&self.last_sequence, position.last_sequence);
        self.totals.read(OutputStream::Stdout, stdout);
        self.totals.read(OutputStream::Stderr, stderr);
        self.totals.accept(stdin);
    }

    /// `bytes` of `stream` were read.
    pub(super) fn read(&self, stream: OutputStream, bytes: usize) {
        let total = match stream {
            OutputStream::Stdout | OutputStream::Terminal => &self.stdout_bytes,
            OutputStream::Stderr => &self.stderr_bytes,
        };
        total.fetch_add(bytes as u64, Ordering::Relaxed);
        self.totals.read(stream, bytes as u64);
    }

    /// stdin has been accepted up to `position`.
    pub(super) fn accept(&self, position: u64) {
        let before = self.stdin_accepted.swap(position, Ordering::Relaxed);
        if position > before {
            self.totals.accept(position - before);
        }
    }

    /// The sequence of the next event.
    pub(super) fn next_sequence(&self) -> u64 {
        self.last_sequence.fetch_add(1, Ordering::Relaxed) + 1
    }

    /// The caller has gone.
    pub(super) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Relaxed);
    }
}
