//! The segment that is written.

use super::{
    batch::Batch,
    error::{Of, Operation, StorageError},
    format::{HEADER_BYTES, Header, segment_name},
    storage::{Folder, StoredFile, write_all},
};

/// Room on disk that output leaves to what has to be stored after it, the exit above all.
const SLACK_BYTES: u64 = 4096;

/// Room is taken ahead in steps of at least this, and of as much as there is already.
const MIN_STEP_BYTES: u64 = 64 * 1024;

/// And of no more than this.
const MAX_STEP_BYTES: u64 = 1024 * 1024;

/// Room is taken in whole pages.
const PAGE_BYTES: u64 = 4096;

/// An open segment, and where it is written next.
#[derive(Debug)]
pub(super) struct Segment<F> {
    file: F,
    position: u64,
    /// Up to here there is room on disk.
    allocated: u64,
}

/// Whether there is room on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Room {
    Taken,
    None,
}

impl<F: StoredFile> Segment<F> {
    /// One that is there, written up to `position`.
    pub(super) fn open<D: Folder<File = F>>(
        folder: &D,
        ordinal: u64,
        position: u64,
    ) -> Result<Self, StorageError> {
        let file = folder.open_to_write(&segment_name(ordinal));
        let file = file.of(Operation::Open)?;
        let allocated = file.length().of(Operation::Read)?;
        Ok(Self {
            file,
            position,
            allocated,
        })
    }

    /// Begins one, with room for the exit; `None` if there is no room for that.
    pub(super) fn begin<D: Folder<File = F>>(
        folder: &D,
        header: &Header,
    ) -> Result<Option<Self>, StorageError> {
        let name = segment_name(header.ordinal);
        let file = match folder.create(&name).of(Operation::Create) {
            Ok(file) => file,
            Err(error) if error.is_full() => return Ok(None),
            Err(error) => return Err(error),
        };
        let position = HEADER_BYTES as u64;
        let allocated = (position + SLACK_BYTES).next_multiple_of(PAGE_BYTES);
        let begun = write_header(&file, header)
            .and_then(|()| file.allocate(position, allocated).of(Operation::Allocate));
        match begun {
            Ok(()) => Ok(Some(Self {
                file,
                position,
                allocated,
            })),
            Err(error) if error.is_full() => {
                folder.remove(&name).of(Operation::Remove)?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// Takes room on disk for `batch`, and for what comes after it, if it leaves `reserve` bytes.
    pub(super) fn take_room<D: Folder<File = F>>(
        &mut self,
        folder: &D,
        batch: &Batch,
        reserve: u64,
    ) -> Result<Room, StorageError> {
        let needed = self.position + batch.bytes() as u64 + SLACK_BYTES;
        if needed <= self.allocated {
            return Ok(Room::Taken);
        }
        let step = self.position.clamp(MIN_STEP_BYTES, MAX_STEP_BYTES);
        let free = folder.free_bytes().of(Operation::Allocate)?;
        for end in [needed + step, needed] {
            let end = end.next_multiple_of(PAGE_BYTES);
            if free < reserve.saturating_add(end - self.allocated) {
                continue;
            }
            match self
                .file
                .allocate(self.allocated, end)
                .of(Operation::Allocate)
            {
                Ok(()) => {
                    self.allocated = end;
                    return Ok(Room::Taken);
                }
                Err(error) if error.is_full() => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Room::None)
    }

    /// Writes `batch`.
    pub(super) fn write(&mut self, batch: &Batch) -> Result<(), StorageError> {
        batch
            .write(&self.file, self.position)
            .of(Operation::Write)?;
        self.position += batch.bytes() as u64;
        self.allocated = self.allocated.max(self.position);
        Ok(())
    }

    pub(super) fn sync(&self) -> Result<(), StorageError> {
        self.file.sync().of(Operation::Sync)
    }

    /// Gives back the room that was not used. A failure costs no more than that room.
    pub(super) fn trim(&mut self) {
        if self.allocated > self.position && self.file.truncate(self.position).is_ok() {
            self.allocated = self.position;
        }
    }
}

/// Writes the header of a new segment.
pub(super) fn write_header<F: StoredFile>(file: &F, header: &Header) -> Result<(), StorageError> {
    write_all(file, &header.encode(), 0).of(Operation::Write)
}

/// Removes a segment. Its room is given back even while a reader has it open.
pub(super) fn drop_segment<D: Folder>(folder: &D, ordinal: u64) -> Result<(), StorageError> {
    let name = segment_name(ordinal);
    let file = folder.open_to_write(&name).of(Operation::Open)?;
    folder.remove(&name).of(Operation::Remove)?;
    file.truncate(0).of(Operation::Truncate)
}

/// Drops the output of the first segment; what precedes it stays.
pub(super) fn drop_first<D: Folder>(folder: &D, head_bytes: u64) -> Result<(), StorageError> {
    let file = folder.open_to_write(&segment_name(1)).of(Operation::Open)?;
    file.truncate(head_bytes).of(Operation::Truncate)
}
