//! Where a durable execution's events go: into its journal; and, where that keeps no output, to whoever is attached.

use std::{
    collections::VecDeque,
    time::{Duration, SystemTime},
};

use super::message::{Attached, Report};
use crate::{
    journal::{self, Commit, Full, StorageError, Writer},
    lifecycle::{
        event::{Event, EventKind},
        outlet::{EventSink, Item},
    },
};

/// So many outputs that no journal keeps are on their way to callers before the command waits.
pub const OUTPUT_WINDOW: usize = 4;

/// A full disk is tried again so often.
const DISK_RETRY: Duration = Duration::from_secs(1);

/// That output was there of which nothing is kept is written down so often.
const UNKEPT_INTERVAL: Duration = Duration::from_millis(250);

/// The journal, as the end of an engine.
#[derive(Debug)]
pub(super) struct Sink {
    writer: Writer,
    attached: Attached,
    /// Where the journal keeps no output.
    live: Option<Live>,
    /// Nobody is waited for any more: the oldest output makes room.
    is_forced: bool,
    /// stdin that the journal was told of.
    stdin_accepted: u64,
    /// Commits wait: for a full disk, or because there is little in them.
    not_before: Duration,
    /// Something other than unkept output waits to be committed.
    is_urgent: bool,
    /// When the first event was.
    started: Option<SystemTime>,
    /// The last event, once it is there.
    last: Option<(u64, SystemTime)>,
}

/// Outputs that go to callers and nowhere else.
#[derive(Debug, Default)]
struct Live {
    waiting: VecDeque<Event>,
    /// The sequences of those that were sent to the server and that not all callers have got yet.
    in_flight: VecDeque<u64>,
}

impl Sink {
    pub(super) fn new(writer: Writer, keeps_output: bool) -> Self {
        Self {
            writer,
            attached: Attached {
                callers: 1,
                ..Attached::default()
            },
            live: (!keeps_output).then(Live::default),
            is_forced: false,
            stdin_accepted: 0,
            not_before: Duration::ZERO,
            is_urgent: false,
            started: None,
            last: None,
        }
    }

    /// Who is attached, and how far they have come.
    pub(super) fn set_attached(&mut self, attached: Attached, now: Duration) {
        self.attached = attached;
        if let Some(live) = &mut self.live {
            live.in_flight.retain(|&sequence| sequence > attached.sent);
            if attached.callers == 0 {
                live.in_flight.clear();
            }
            if attached.callers == 0 && attached.observers == 0 {
                live.waiting.clear();
            }
        }
        self.tell_writer();
        self.retry(now);
    }

    pub(super) fn attached(&self) -> Attached {
        self.attached
    }

    /// Waits for nothing from now on: what is there of the end of an execution that is being ended goes ahead of what is older.
    pub(super) fn force(&mut self, now: Duration) {
        if !std::mem::replace(&mut self.is_forced, true) {
            self.writer.give_way();
            self.not_before = now;
        }
    }

    fn tell_writer(&mut self) {
        let attached = match self.attached.callers {
            0 => journal::Attached::Nobody,
            _ => journal::Attached::Sent(self.attached.sent),
        };
        self.writer.set_attached(attached);
    }

    /// What the journal had no room for may have some now.
    fn retry(&mut self, now: Duration) {
        if self.writer.is_full() == Some(Full::Keep) {
            self.not_before = now;
        }
    }

    /// When there is something to commit.
    pub(super) fn commit_at(&self) -> Option<Duration> {
        if !self.writer.has_pending() || self.is_held_up() {
            return None;
        }
        let is_urgent = self.is_urgent || !self.writer.has_room();
        Some(if is_urgent && self.writer.is_full().is_none() {
            Duration::ZERO
        } else {
            self.not_before
        })
    }

    /// Whether nothing but a reader can make room.
    fn is_held_up(&self) -> bool {
        self.writer.is_full() == Some(Full::Keep) && self.not_before == Duration::MAX
    }

    /// Commits what there is, if it is time; `true`: there may be room now that was not there before.
    pub(super) fn commit(&mut self, now: Duration) -> bool {
        if self.commit_at().is_none_or(|at| at > now) {
            return false;
        }
        self.is_urgent = false;
        let had_room = self.writer.has_room();
        self.not_before = match self.writer.commit() {
            Ok(Commit::Written { .. }) if self.live.is_some() => now + UNKEPT_INTERVAL,
            Ok(Commit::Full(Full::Keep)) => Duration::MAX,
            Ok(Commit::Full(Full::Disk) | Commit::Held) => now + DISK_RETRY,
            // What has failed, the writer remembers.
            Ok(Commit::Written { .. }) | Err(_) => now,
        };
        !had_room && self.has_room()
    }

    /// Gives back the room on disk that nothing comes to any more.
    pub(super) fn trim(&mut self) {
        self.writer.trim();
    }

    /// The last sequence that may be told.
    pub(super) fn through(&self) -> u64 {
        self.writer.through()
    }

    /// Position up to which stdin was accepted, as the journal was told.
    pub(super) fn stdin_accepted(&self) -> u64 {
        self.stdin_accepted
    }

    pub(super) fn full(&self) -> Option<Full> {
        self.writer.is_full()
    }

    pub(super) fn failure(&self) -> Option<&StorageError> {
        self.writer.failure()
    }

    /// Whether no reader can make room.
    pub(super) fn is_stuck(&self) -> bool {
        self.writer.failure().is_some() || self.writer.is_full() == Some(Full::Disk)
    }

    pub(super) fn first_kept(&self) -> u64 {
        self.writer.first_kept()
    }

    pub(super) fn stored_bytes(&self) -> u64 {
        self.writer.stored_bytes()
    }

    /// When it started.
    pub(super) fn started(&self) -> Option<SystemTime> {
        self.started
    }

    /// The last event, once all of it is in the journal; or nowhere, where that has failed.
    pub(super) fn last(&self) -> Option<(u64, SystemTime)> {
        let (sequence, time) = self.last?;
        let is_kept = self.writer.through() >= sequence;
        (is_kept || self.writer.failure().is_some()).then_some((sequence, time))
    }

    /// The next output for the server.
    pub(super) fn next_report(&mut self) -> Option<Report> {
        let live = self.live.as_mut()?;
        let event = live.waiting.pop_front()?;
        let EventKind::Output(chunk) = event.kind else {
            return None;
        };
        if self.attached.callers > 0 {
            live.in_flight.push_back(event.sequence);
        }
        Some(Report::Output {
            sequence: event.sequence,
            time: event.time,
            chunk,
        })
    }
}

impl EventSink for Sink {
    fn tells_accepted(&self) -> bool {
        true
    }

    fn has_room(&self) -> bool {
        if self.is_forced && self.writer.failure().is_some() {
            return true;
        }
        let is_taken = self.live.as_ref().is_none_or(|live| {
            self.attached.callers == 0 || live.waiting.len() + live.in_flight.len() < OUTPUT_WINDOW
        });
        is_taken && self.writer.has_room()
    }

    /// What it keeps is bounded by its window, and in a process of its own.
    fn takes_large(&mut self) -> bool {
        true
    }

    fn send(&mut self, item: Item) {
        let accepted = item.stdin_accepted;
        if accepted > self.stdin_accepted {
            self.stdin_accepted = accepted;
            self.writer.accept_stdin(accepted);
            self.is_urgent = true;
        }
        let Some(event) = item.event else {
            return;
        };
        match (&event.kind, &mut self.live) {
            (EventKind::Output(_), Some(live)) => {
                let is_followed = self.attached.callers > 0
                    || (self.attached.observers > 0 && live.waiting.len() < OUTPUT_WINDOW);
                if is_followed {
                    live.waiting.push_back(event.clone());
                }
            }
            (EventKind::Exited(_), _) => {
                self.last = Some((event.sequence, event.time));
                self.is_urgent = true;
            }
            (EventKind::Started { .. }, _) => {
                self.started = Some(event.time);
                self.is_urgent = true;
            }
            (EventKind::Output(_), None) => self.is_urgent = true,
        }
        self.writer.push(event);
    }
}
