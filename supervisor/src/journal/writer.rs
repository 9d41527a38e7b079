//! Writes one journal: events into a batch, the batch in one write, and room for it by the rules of
//! [`retention`](super::retention).
//!
//! Room on disk is taken before anything is written there, so that a full disk costs no record: the batch waits. Once a write
//! or a sync has failed, nothing is tried again.

use std::{collections::VecDeque, io, time::SystemTime};

use super::{
    batch::Batch,
    cursor::{Found, open_segment, ordinals},
    encode::{put_gap, put_lost, put_not_started, put_reservation, put_stdin},
    error::{Of, OpenError, Operation, StorageError},
    format::{HEADER_BYTES, Header, Progress, SyncMode},
    record::{Lost, stream_index},
    reservation::{MAX_DETAILS_BYTES, Reservation},
    retention::{Attached, Decision, Keep, OnFull, Stored, make_room, on_full_disk},
    segment::{Room, Segment, drop_first, drop_segment},
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
    /// There is no room for it; it waits.
    Full(Full),
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
    /// Output waits for nothing any more.
    gives_way: bool,
    /// The last event, until it is written.
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
            gives_way: false,
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
        done.map_err(|error| self.fail(error))
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
        self.has_ended = matches!(event.kind, EventKind::Exited(_));
        self.exit = self.has_ended.then(|| event.clone());
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
        let stored = if self.batch.is_empty() {
            Ok(None)
        } else {
            self.store()
        };
        match stored {
            Ok(full) => {
                self.full = full;
                let through = self.through();
                Ok(full.map_or(Commit::Written { through }, Commit::Full))
            }
            Err(error) => Err(self.fail(error)),
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

    /// Makes room for the batch, and writes it.
    fn store(&mut self) -> Result<Option<Full>, StorageError> {
        let has_output = self.batch.has_output();
        if has_output && let Some(full) = self.make_room()? {
            return Ok(Some(full));
        }
        // What is no output has the room that output left to it, or fails.
        while !self.take_room_on_disk()? && has_output {
            match on_full_disk(&self.settings.keep, &self.stored) {
                Decision::Drop(count) => self.drop_oldest(count)?,
                Decision::Append | Decision::Wait if self.gives_way => {
                    self.forget_output();
                    break;
                }
                Decision::Append | Decision::Wait => return Ok(Some(Full::Disk)),
            }
        }
        self.write(self.header.sync == SyncMode::All)?;
        Ok(None)
    }

    /// Puts a gap in the place of the batch's output, for which there is no room and will be none.
    fn forget_output(&mut self) {
        let first = self.written.sequence.saturating_add(1);
        let last = self
            .given
            .sequence
            .saturating_sub(u64::from(self.exit.is_some()));
        let now = SystemTime::now();
        let positions = self.given.positions.iter().zip(self.written.positions);
        let mut bytes = [0; 3];
        for (bytes, (given, written)) in bytes.iter_mut().zip(positions) {
            *bytes = given.saturating_sub(written);
        }
        self.batch.clear();
        self.batch
            .put(|to, marker| put_gap(to, marker, (first, last), now, bytes));
        if self.given.stdin_accepted > self.written.stdin_accepted {
            let position = self.given.stdin_accepted;
            self.batch
                .put(|to, marker| put_stdin(to, marker, (last, now), position));
        }
        if let Some(exit) = self.exit.clone() {
            self.batch.add_event(exit, self.given);
        }
    }

    /// Drops what has to go for the batch, and may.
    fn make_room(&mut self) -> Result<Option<Full>, StorageError> {
        let wanted = self.batch.wanted();
        match make_room(&self.settings.keep, &self.stored, self.attached, wanted) {
            Decision::Append => Ok(None),
            Decision::Wait => Ok(Some(Full::Keep)),
            Decision::Drop(count) => {
                let others = count.min(self.stored.len() - 1);
                self.drop_oldest(others)?;
                if count > others {
                    if !self.begin_segment()? {
                        return Ok(Some(Full::Disk));
                    }
                    self.drop_oldest(count - others)?;
                }
                Ok(None)
            }
        }
    }

    /// Takes room on disk for the batch; `false` if there is none.
    fn take_room_on_disk(&mut self) -> Result<bool, StorageError> {
        if self.settings.keep.is_ended(&self.stored) && !self.begin_segment()? {
            return Ok(false);
        }
        let reserve = self.settings.reserve_bytes;
        let room = self.segment.take_room(&self.folder, &self.batch, reserve)?;
        Ok(room == Room::Taken)
    }

    /// Begins another segment; `false` if there is no room on disk.
    fn begin_segment(&mut self) -> Result<bool, StorageError> {
        let header = Header {
            length: HEADER_BYTES,
            ordinal: self.header.ordinal + 1,
            base: self.written,
            ..self.header.clone()
        };
        let Some(segment) = Segment::begin(&self.folder, &header)? else {
            return Ok(false);
        };
        self.segment.trim();
        self.segment = segment;
        self.stored.push_back(Stored {
            ordinal: header.ordinal,
            base_sequence: header.base.sequence,
            last_sequence: header.base.sequence,
            file_bytes: HEADER_BYTES as u64,
            ..Stored::default()
        });
        self.header = header;
        self.has_new_name = true;
        self.drop_empty()?;
        Ok(true)
    }

    /// Has the names of segments on disk, if they are not.
    fn sync_names(&mut self) -> Result<(), StorageError> {
        if std::mem::take(&mut self.has_new_name) {
            self.folder.sync().of(Operation::SyncFolder)?;
        }
        Ok(())
    }

    /// Before something goes whose events were told: the header that says how many there were is on disk.
    fn sync_header(&mut self) -> Result<(), StorageError> {
        if self.header.sync == SyncMode::All && self.has_new_name {
            self.segment.sync()?;
            self.sync_names()?;
        }
        Ok(())
    }

    /// Drops the oldest segments; the first of all keeps what precedes its output.
    fn drop_oldest(&mut self, count: usize) -> Result<(), StorageError> {
        self.sync_header()?;
        for stored in self.stored.drain(..count) {
            drop_stored(&self.folder, stored.ordinal, self.head_bytes)?;
        }
        Ok(())
    }

    /// Drops ended segments in which there is nothing that anybody reads.
    fn drop_empty(&mut self) -> Result<(), StorageError> {
        let ended = self.stored.len().saturating_sub(1);
        for index in (0..ended).rev() {
            if self.stored[index].output_bytes == 0 {
                self.sync_header()?;
                drop_stored(&self.folder, self.stored[index].ordinal, self.head_bytes)?;
                self.stored.remove(index);
            }
        }
        Ok(())
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
        self.written = self.given;
        self.exit = None;
        self.batch.clear();
        if self.has_ended {
            self.segment.trim();
        }
        Ok(())
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

    /// Has output wait for nothing from now on: the oldest makes room, whoever has been sent it; and where there is no room on
    /// disk all the same, none of it is stored.
    pub fn give_way(&mut self) {
        self.gives_way = true;
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

fn drop_stored<D: Folder>(folder: &D, ordinal: u64, head_bytes: u64) -> Result<(), StorageError> {
    if ordinal == 1 {
        drop_first(folder, head_bytes)
    } else {
        drop_segment(folder, ordinal)
    }
}
