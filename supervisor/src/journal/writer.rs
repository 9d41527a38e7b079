//! Writes one journal: events into a batch, the batch in one write, and room for it by the rules of
//! [`retention`](super::retention). Once a write or a sync has failed, nothing is tried again.

mod room;

use std::{collections::VecDeque, io, time::SystemTime};

use super::{
    batch::Batch,
    cursor::{Found, open_segment, ordinals},
    encode::{put_gap, put_lost, put_not_started, put_reservation, put_stdin},
    error::{Of, OpenError, Operation, StorageError},
    format::{Header, Progress, SyncMode},
    record::{Lost, stream_index},
    reservation::{MAX_DETAILS_BYTES, Reservation},
    retention::{Attached, Keep, OnFull, Stored},
    segment::Segment,
    storage::{DiskFolder, Folder, write_all},
};
use crate::lifecycle::event::{Event, EventKind};

/// The file that says what of the journal's storage has failed.
pub(super) const FAILURE_NAME: &str = "storage-error";

/// What an execution's caller and its operator say about its journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Settings {
    /// What is kept of the output.
    pub keep: Keep,
    /// What output leaves free of the file system.
    pub reserve_bytes: u64,
}

/// What has become of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Commit {
    /// It is written, and where every event is to be synced, synced.
    Written {
        /// Readers may be told of everything up to this event.
        through: u64,
    },
    /// There is no room for it; it waits, and the command with it.
    Full(Full),
    /// There is no room for it, and nothing waits: a gap is in the place of its output, and is written once there is room, or with
    /// the end.
    Held,
}

/// Why there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Full {
    /// As much is kept as is to be kept, and not every attached caller has been sent the oldest of it.
    Keep,
    /// The disk is full.
    Disk,
}

/// Writes one journal.
#[derive(Debug)]
pub struct Writer<D: Folder = DiskFolder> {
    folder: D,
    settings: Settings,
    /// What a new segment's header begins as.
    header: Header,
    segment: Segment<D::File>,
    /// What is stored, the oldest first; the last is the one that is written.
    stored: VecDeque<Stored>,
    /// Where the first segment is cut when its output goes.
    head_bytes: u64,
    /// The folder has a name that is not on disk yet.
    has_new_name: bool,
    batch: Batch,
    /// A position of stdin that has no record yet.
    stdin: Option<u64>,
    /// How far what it was given has come.
    given: Progress,
    /// How far what is written has come.
    written: Progress,
    attached: Attached,
    full: Option<Full>,
    failure: Option<StorageError>,
    /// The batch has a gap in the place of output.
    has_forgotten: bool,
    /// The first event, until it is written.
    started: Option<Event>,
    /// The last one, until it is written.
    exit: Option<Event>,
    has_ended: bool,
}

impl<D: Folder> Writer<D> {
    /// Opens a journal that was prepared and in which nothing has been recorded.
    pub fn open(folder: D) -> Result<Self, OpenError> {
        let opened = open_segment(&folder, 1, None)?.ok_or(OpenError::Blank)?;
        let header = opened.header.ok_or(OpenError::Used)?;
        let mut cursor = opened.cursor;
        if cursor.next()? != Found::End || ordinals(&folder)? != [1] {
            return Err(OpenError::Used);
        }
        Self::resume(folder, header, cursor.offset(), Progress::default())
    }

    /// Goes on at `position` of the segment that `header` begins.
    pub(super) fn resume(
        folder: D,
        header: Header,
        position: u64,
        progress: Progress,
    ) -> Result<Self, OpenError> {
        let segment = Segment::open(&folder, header.ordinal, position)?;
        let stored = Stored {
            ordinal: header.ordinal,
            base_sequence: header.base.sequence,
            last_sequence: progress.sequence,
            ..Stored::default()
        };
        Ok(Self {
            folder,
            settings: Settings::default(),
            batch: Batch::new(header.marker),
            // Whoever made it may have died before it was on disk.
            has_new_name: header.ordinal > 1,
            header,
            segment,
            stored: VecDeque::from([stored]),
            head_bytes: position,
            stdin: None,
            given: progress,
            written: progress,
            attached: Attached::Nobody,
            full: None,
            failure: None,
            has_forgotten: false,
            started: None,
            exit: None,
            has_ended: false,
        })
    }

    /// Records that the execution may run from now on, before it does. Unless nothing is to be synced, that is on disk then.
    pub fn reserve(
        &mut self,
        reservation: &Reservation,
        settings: &Settings,
    ) -> Result<(), StorageError> {
        if reservation.details.len() > MAX_DETAILS_BYTES {
            return Err(io::Error::from(io::ErrorKind::InvalidInput)).of(Operation::Write);
        }
        self.settings = *settings;
        self.batch
            .add_head(|to, marker| put_reservation(to, marker, reservation));
        self.commit_with(self.header.sync != SyncMode::None)
    }

    /// Records that nothing ran, after all.
    pub fn not_started(&mut self) -> Result<(), StorageError> {
        let now = SystemTime::now();
        self.batch
            .add_head(|to, marker| put_not_started(to, marker, now));
        self.has_ended = true;
        self.commit_with(self.header.sync == SyncMode::All)
    }

    /// Records, in place of an exit, that nobody saw the end.
    pub fn lose(&mut self, lost: Lost, time: SystemTime) -> Result<(), StorageError> {
        self.put_stdin();
        let sequence = self.given.sequence.saturating_add(1);
        let totals = self.given;
        self.batch.put(|to, marker| {
            put_lost(to, marker, (sequence, time), lost, totals);
        });
        self.given.sequence = sequence;
        self.has_ended = true;
        self.commit_with(true)
    }

    fn commit_with(&mut self, sync: bool) -> Result<(), StorageError> {
        self.check()?;
        let done = self.write(sync);
        done.map_err(|error| self.fail(error))?;
        self.trim();
        Ok(())
    }

    /// Adds an event to what is committed next. After a failure, and after the last event, it is dropped.
    pub fn push(&mut self, event: Event) {
        if self.failure.is_some() || self.has_ended {
            return;
        }
        debug_assert_eq!(
            event.sequence,
            self.given.sequence + 1,
            "an event is missing"
        );
        self.given.sequence = event.sequence;
        if let EventKind::Output(chunk) = &event.kind {
            let index = stream_index(chunk.stream);
            let bytes = chunk.data.len() as u64;
            self.given.positions[index] = chunk.offset.saturating_add(bytes);
            if self.settings.keep.no_output {
                return self.skip(&event, index, bytes);
            }
        }
        match event.kind {
            EventKind::Started { .. } => self.started = Some(event.clone()),
            EventKind::Output(_) => {}
            EventKind::Exited(_) => {
                self.exit = Some(event.clone());
                self.has_ended = true;
            }
        }
        self.batch.add_event(event, self.given);
    }

    /// Records that there was an event, and how many bytes it had.
    fn skip(&mut self, event: &Event, index: usize, bytes: u64) {
        let range = (event.sequence, event.sequence);
        let mut skipped = [0; 3];
        skipped[index] = bytes;
        self.batch
            .put(|to, marker| put_gap(to, marker, range, event.time, skipped));
    }

    /// stdin has been accepted up to `position`.
    pub fn accept_stdin(&mut self, position: u64) {
        self.given.stdin_accepted = position;
        self.stdin = Some(position);
    }

    /// Whether another output is taken, whatever its size. Where it would be dropped it is taken too, unless the command is to
    /// wait for room that does not come any more.
    pub fn has_room(&self) -> bool {
        let keep = &self.settings.keep;
        match &self.failure {
            Some(_) => keep.no_output || keep.on_full == OnFull::DropOldest,
            None => self.full.is_none() && self.batch.has_room(),
        }
    }

    /// Whether there is something to commit.
    pub fn has_pending(&self) -> bool {
        let is_pending = !self.batch.is_empty() || self.stdin.is_some();
        is_pending && self.failure.is_none()
    }

    /// Writes what has been added since the last time.
    pub fn commit(&mut self) -> Result<Commit, StorageError> {
        self.check()?;
        self.put_stdin();
        let done = if self.batch.is_empty() {
            Ok(self.done())
        } else {
            self.store()
        };
        match done {
            Ok(commit) => {
                self.full = match commit {
                    Commit::Full(full) => Some(full),
                    Commit::Written { .. } | Commit::Held => None,
                };
                Ok(commit)
            }
            Err(error) => Err(self.fail(error)),
        }
    }

    fn done(&self) -> Commit {
        Commit::Written {
            through: self.through(),
        }
    }

    fn check(&self) -> Result<(), StorageError> {
        self.failure.clone().map_or(Ok(()), Err)
    }

    /// Records how far stdin has been accepted. A batch that waits for room grows no more.
    fn put_stdin(&mut self) {
        if self.full.is_none()
            && let Some(position) = self.stdin.take()
        {
            let now = (self.given.sequence, SystemTime::now());
            self.batch
                .put(|to, marker| put_stdin(to, marker, now, position));
        }
    }

    /// Writes the batch, and has it on disk if `sync` says so.
    fn write(&mut self, sync: bool) -> Result<(), StorageError> {
        let start = self.segment.position();
        self.segment.write(&self.batch)?;
        if sync {
            self.segment.sync()?;
            self.sync_names()?;
        }
        if self.header.ordinal == 1 && self.batch.head_bytes() > 0 {
            self.head_bytes = start + self.batch.head_bytes();
        }
        let wanted = self.batch.wanted();
        if let Some(last) = self.stored.back_mut() {
            last.output_bytes += wanted.output_bytes;
            last.file_bytes += wanted.file_bytes;
            last.last_sequence = self.given.sequence;
        }
        let stdin_accepted = match self.stdin {
            // It has no record yet.
            Some(_) => self.written.stdin_accepted,
            None => self.given.stdin_accepted,
        };
        self.written = Progress {
            stdin_accepted,
            ..self.given
        };
        self.has_forgotten = false;
        self.started = None;
        self.exit = None;
        self.batch.clear();
        Ok(())
    }

    /// Gives back the room that nothing comes to any more, once the last event is written. That takes a file system as long as a
    /// sync may, so whoever waits for the end is told first.
    pub fn trim(&mut self) {
        if self.has_ended && self.failure.is_none() && !self.has_pending() {
            self.segment.trim();
        }
    }

    /// Remembers a failure, here and, if that is possible, on disk.
    fn fail(&mut self, error: StorageError) -> StorageError {
        self.batch.clear();
        self.full = None;
        self.failure = Some(error.clone());
        if let Ok(file) = self.folder.create(FAILURE_NAME) {
            // There is nowhere left to say that this failed too.
            let _ = write_all(&file, error.to_string().as_bytes(), 0);
        }
        error
    }

    /// Says how far the attached callers have come.
    pub fn set_attached(&mut self, attached: Attached) {
        self.attached = attached;
    }

    /// Has output wait for nothing from now on: the oldest makes room, whoever has been sent it.
    pub fn give_way(&mut self) {
        self.settings.keep.on_full = OnFull::DropOldest;
    }

    /// Readers may be told of everything up to this event.
    pub fn through(&self) -> u64 {
        self.written.sequence
    }

    /// Why the command waits, if it does.
    pub fn is_full(&self) -> Option<Full> {
        self.full
    }

    /// What has failed, for good.
    pub fn failure(&self) -> Option<&StorageError> {
        self.failure.as_ref()
    }

    /// What the journal takes of the disk, as far as it is written.
    pub fn stored_bytes(&self) -> u64 {
        let stored = self.stored.iter().map(|stored| stored.file_bytes);
        self.head_bytes + stored.sum::<u64>()
    }

    /// The earliest event of which the output is kept; the next one if there is none.
    pub fn first_kept(&self) -> u64 {
        let oldest = self.stored.iter().find(|stored| stored.output_bytes > 0);
        oldest.map_or(self.written.sequence + 1, |stored| {
            // The first event of all is no output.
            stored.base_sequence.max(1) + 1
        })
    }
}
