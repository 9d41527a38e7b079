//! Makes a body out of a command's output as it comes.

use encoding_rs::Encoding;

use super::{
    Body, Lease, Policy,
    part::{Collected, Part},
    piece::{self, Piece},
};
use crate::wire::{cut_note, encode, kept};

/// What follows a command's output.
#[derive(Debug, Clone, Default)]
pub struct Tail {
    /// A line of the gateway's own, without its newline.
    pub remark: Option<String>,
    /// What stands for a body that would be empty.
    pub if_empty: Option<String>,
}

/// Which output a chunk belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// stdout, or a terminal.
    Stdout,
    /// stderr.
    Stderr,
}

/// Collects a command's output.
pub struct Collector {
    policy: Policy,
    /// What the command takes besides.
    running: Lease,
    stdout: Part,
    stderr: Part,
}

impl Collector {
    /// With no output yet.
    pub fn new(policy: Policy) -> Self {
        let mut running = policy.memory.lease();
        running.insist(policy.running_bytes);
        Self {
            stdout: Part::new(&policy, policy.digest),
            // It follows stdout in the digest, so it cannot be hashed before that has ended.
            stderr: Part::new(&policy, false),
            running,
            policy,
        }
    }

    /// Adds output. Not cancel-safe.
    pub async fn push(&mut self, source: Source, bytes: &[u8]) {
        let part = match source {
            Source::Stdout => &mut self.stdout,
            Source::Stderr => &mut self.stderr,
        };
        part.push(bytes, &self.policy).await;
        if part.total_bytes() > self.policy.reserve_bytes as u64 {
            self.running
                .insist(self.policy.running_bytes + self.policy.transit_bytes);
        }
    }

    /// Counts output that cannot be had any more.
    pub fn miss(&mut self, source: Source, bytes: u64) {
        match source {
            Source::Stdout => self.stdout.miss(bytes),
            Source::Stderr => self.stderr.miss(bytes),
        }
    }

    /// The body, when the command has ended.
    pub async fn finish(self, tail: &Tail) -> Body {
        drop(self.running);
        let policy = &self.policy;
        let stdout = self.stdout.finish(policy).await;
        let stderr = self.stderr.finish(policy).await;
        let body = assemble(stdout, stderr, policy, tail);
        if policy.digest {
            hashed(body).await
        } else {
            body
        }
    }
}

fn assemble(stdout: Collected, stderr: Collected, policy: &Policy, tail: &Tail) -> Body {
    let total = stdout.total_bytes + stderr.total_bytes;
    // It is not worth a look at what is spooled.
    let last = stdout
        .pieces
        .iter()
        .chain(&stderr.pieces)
        .rev()
        .find(|piece| piece.bytes() > 0)
        .and_then(Piece::last_byte);
    let breaks = last == Some(b'\n');
    let remark = tail.remark.as_deref().map_or_else(Vec::new, |remark| {
        encode(&line(remark, breaks, total > 0), policy.charset)
    });
    let most = policy.most_bytes.saturating_sub(remark.len() as u64);
    let room = kept(most, total);
    let leases = vec![stdout.lease, stderr.lease];
    let (mut stdout, mut stderr) = (stdout.pieces, stderr.pieces);
    let stdout_bytes = shorten(&mut stdout, room, policy.charset.encoding());
    let stderr_bytes = shorten(&mut stderr, room - stdout_bytes, policy.charset.encoding());
    let left = stdout_bytes + stderr_bytes;
    let mut after = Vec::new();
    after.extend_from_slice(&remark);
    if left < total {
        // The last of all, as clients look for it there.
        if after.ends_with(b"\n") {
            after.pop();
        }
        after.extend_from_slice(cut_note(left, total).as_bytes());
    }
    if left == 0
        && after.is_empty()
        && let Some(text) = &tail.if_empty
    {
        after.extend_from_slice(text.as_bytes());
    }
    Body {
        stdout_bytes,
        stderr_bytes: stderr_bytes + after.len() as u64,
        pieces: stdout
            .into_iter()
            .chain(stderr)
            .chain([Piece::Memory(after.into())])
            .filter(|piece| piece.bytes() > 0)
            .collect(),
        md5: [0; 16],
        truncated: left < total,
        _leases: leases,
    }
}

/// Cuts `pieces` to at most `most` bytes, and returns how many are left.
fn shorten(pieces: &mut [Piece], most: u64, charset: &'static Encoding) -> u64 {
    let mut left = 0;
    for piece in pieces {
        piece.shorten(most - left, charset);
        left += piece.bytes();
    }
    left
}

/// A remark as a line of its own.
fn line(remark: &str, breaks: bool, behind_output: bool) -> String {
    let break_before = if behind_output && !breaks { "\n" } else { "" };
    format!("{break_before}{remark}\n")
}

async fn hashed(mut body: Body) -> Body {
    if body.is_in_memory() {
        hash(&mut body);
        return body;
    }
    let hashing = tokio::task::spawn_blocking(move || {
        hash(&mut body);
        body
    });
    // It fails only while the runtime goes away, and every connection with it.
    hashing.await.unwrap_or_default()
}

fn hash(body: &mut Body) {
    match piece::digest(&mut body.pieces) {
        Ok(md5) => body.md5 = md5,
        Err(error) => {
            tracing::warn!(%error, "cannot read a spooled reply again; it has no digest");
        }
    }
}
