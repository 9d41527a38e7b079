//! Room for a batch.
//!
//! Room on disk is taken before anything is written there, so that a full disk costs no record: what may wait does, and what may
//! not is a gap until there is room again. What has begun and how it ends is written all the same: every other batch leaves room
//! for that.

use std::time::SystemTime;

use super::{
    super::{
        encode::{put_gap, put_stdin},
        error::{Of, Operation, StorageError},
        format::{HEADER_BYTES, Header, SyncMode},
        retention::{Decision, OnFull, Stored, make_room, on_full_disk},
        segment::{Room, Segment, drop_first, drop_segment},
        storage::Folder,
    },
    Commit, Full, Writer,
};

impl<D: Folder> Writer<D> {
    /// Makes room for the batch, and writes it.
    pub(super) fn store(&mut self) -> Result<Commit, StorageError> {
        let has_output = self.batch.has_output();
        if has_output && let Some(full) = self.make_room()? {
            return self.go_without(full);
        }
        while !self.take_room_on_disk()? {
            match on_full_disk(&self.settings.keep, &self.stored) {
                Decision::Drop(count) if has_output => self.drop_oldest(count)?,
                Decision::Append | Decision::Drop(_) | Decision::Wait => {
                    return self.go_without(Full::Disk);
                }
            }
        }
        self.store_now()
    }

    fn store_now(&mut self) -> Result<Commit, StorageError> {
        self.write(self.header.sync == SyncMode::All)?;
        Ok(self.done())
    }

    /// What becomes of a batch for which there is no room, and none can be made.
    fn go_without(&mut self, full: Full) -> Result<Commit, StorageError> {
        if self.batch.has_output() && self.settings.keep.on_full == OnFull::Block {
            return Ok(Commit::Full(full));
        }
        self.compact();
        if self.started.is_none() && self.exit.is_none() {
            return Ok(Commit::Held);
        }
        self.store_now()
    }

    /// Puts a gap in the place of all output of the batch, and says once how far stdin has come.
    fn compact(&mut self) {
        let mut first = self.written.sequence.saturating_add(1);
        let mut last = self.given.sequence;
        self.batch.clear();
        if let Some(started) = self.started.clone() {
            self.batch.add_event(started, self.written);
            first = first.saturating_add(1);
        }
        if self.exit.is_some() {
            last = last.saturating_sub(1);
        }
        let now = SystemTime::now();
        if first <= last {
            let positions = self.given.positions.iter().zip(self.written.positions);
            let mut bytes = [0; 3];
            for (bytes, (given, written)) in bytes.iter_mut().zip(positions) {
                *bytes = given.saturating_sub(written);
            }
            self.batch
                .put(|to, marker| put_gap(to, marker, (first, last), now, bytes));
            self.has_forgotten = !self.settings.keep.no_output;
        }
        if self.given.stdin_accepted > self.written.stdin_accepted {
            let position = self.given.stdin_accepted;
            self.batch
                .put(|to, marker| put_stdin(to, marker, (last, now), position));
        }
        if let Some(exit) = self.exit.clone() {
            self.batch.add_event(exit, self.given);
        }
    }

    /// Drops what has to go for the batch, and may; or says why there is no room.
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
        let is_output = self.batch.has_output() || self.has_forgotten;
        let reserve = if is_output {
            self.settings.reserve_bytes
        } else {
            0
        };
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
    pub(super) fn sync_names(&mut self) -> Result<(), StorageError> {
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
}

fn drop_stored<D: Folder>(folder: &D, ordinal: u64, head_bytes: u64) -> Result<(), StorageError> {
    if ordinal == 1 {
        drop_first(folder, head_bytes)
    } else {
        drop_segment(folder, ordinal)
    }
}
