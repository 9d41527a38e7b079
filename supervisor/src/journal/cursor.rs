//! Goes from frame to frame of one segment.

use bytes::Bytes;

use super::{
    error::{Of, Operation, ReadError, StorageError},
    format::{
        BadHeader, FRAME_HEAD_BYTES, HEADER_BYTES, Header, Look, MARKER_BYTES, MAX_HEADER_BYTES,
        find_marker, guess_marker, look, segment_name, segment_ordinal,
    },
    storage::{Folder, StoredFile, read_all},
};

/// What is read first, and wherever the end was found last.
const MIN_BLOCK_BYTES: usize = MAX_HEADER_BYTES;

/// What is read at once of a segment of which much is read.
const MAX_BLOCK_BYTES: usize = 256 * 1024;

/// A position in a segment's file.
#[derive(Debug)]
pub(super) struct Cursor<F> {
    file: F,
    /// 0 if it is not known: then there are no frames.
    marker: u32,
    /// Where the next frame is.
    offset: u64,
    /// What was read of the file, from `block_at` on.
    block: Bytes,
    block_at: u64,
    block_bytes: usize,
}

/// What is at a cursor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    /// A whole frame, behind which the cursor is now.
    Frame(Bytes),
    /// Zeros, or the end of the file.
    End,
    /// Something that is no frame, or not a whole one.
    Torn,
}

/// A segment, open to be read.
#[derive(Debug)]
pub(super) struct Opened<F> {
    /// Which it is.
    pub(super) ordinal: u64,
    /// At the first frame.
    pub(super) cursor: Cursor<F>,
    /// `None` if it is damaged.
    pub(super) header: Option<Header>,
}

/// The segments that are in a folder, in order.
pub(super) fn ordinals<D: Folder>(folder: &D) -> Result<Vec<u64>, StorageError> {
    let mut ordinals = Vec::new();
    folder
        .names(&mut |name| ordinals.extend(segment_ordinal(name)))
        .of(Operation::List)?;
    ordinals.sort_unstable();
    Ok(ordinals)
}

/// Opens a segment; `None` if there is nothing in it, or it is not there. `marker` is that of other segments of the journal.
pub(super) fn open_segment<D: Folder>(
    folder: &D,
    ordinal: u64,
    marker: Option<u32>,
) -> Result<Option<Opened<D::File>>, ReadError> {
    let file = match folder.open(&segment_name(ordinal)).of(Operation::Open) {
        Ok(file) => file,
        Err(error) if error.is_missing() => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let mut cursor = Cursor {
        file,
        marker: 0,
        offset: 0,
        block: Bytes::new(),
        block_at: 0,
        block_bytes: MIN_BLOCK_BYTES,
    };
    cursor.fill(MIN_BLOCK_BYTES)?;
    let header = match Header::decode(&cursor.block) {
        Ok(header) => Some(header),
        Err(BadHeader::Blank) if cursor.torn_bytes()? == 0 => return Ok(None),
        Err(BadHeader::Blank | BadHeader::Damaged) => None,
        Err(BadHeader::Unsupported(unsupported)) => return Err(unsupported.into()),
    };
    cursor.offset = header.as_ref().map_or(HEADER_BYTES, |header| header.length) as u64;
    cursor.marker = match &header {
        Some(header) => header.marker,
        None => marker
            .or_else(|| guess_marker(cursor.rest()))
            .unwrap_or_default(),
    };
    Ok(Some(Opened {
        ordinal,
        cursor,
        header,
    }))
}

impl<F: StoredFile> Cursor<F> {
    /// What every frame of the journal begins with, if it is known.
    pub(super) fn marker(&self) -> Option<u32> {
        (self.marker != 0).then_some(self.marker)
    }

    /// Where it is in the file.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// The file's length.
    pub(super) fn length(&self) -> Result<u64, StorageError> {
        self.file.length().of(Operation::Read)
    }

    /// The next frame. That there is none is not believed of what was read before: it may have been written since.
    pub(super) fn next(&mut self) -> Result<Found, StorageError> {
        let mut is_fresh = false;
        loop {
            let found = match look(self.rest(), self.marker) {
                Look::Frame(bytes) => {
                    let frame = self.rest_bytes().slice(..bytes);
                    self.offset += bytes as u64;
                    return Ok(Found::Frame(frame));
                }
                Look::Short(needed) if self.fill(needed)? => {
                    is_fresh = true;
                    continue;
                }
                Look::Short(_) if self.rest().iter().any(|&byte| byte != 0) => Found::Torn,
                Look::Short(_) | Look::End => Found::End,
                Look::Bad => Found::Torn,
            };
            self.forget();
            if is_fresh || !self.fill(MARKER_BYTES)? {
                return Ok(found);
            }
            is_fresh = true;
        }
    }

    /// Goes to the next frame behind what is none; `false`, and the cursor stays, if there is no other. It stays and finds one
    /// where it is if that has been written meanwhile.
    pub(super) fn resync(&mut self) -> Result<bool, StorageError> {
        let begin = self.offset;
        if self.marker == 0 {
            return Ok(false);
        }
        self.offset += 1;
        self.block_bytes = MAX_BLOCK_BYTES;
        while self.fill(MARKER_BYTES)? {
            match find_marker(self.rest(), 0, self.marker) {
                Some(found) => {
                    self.offset += found as u64;
                    if self.is_at_frame()? {
                        return self.step_back(begin).map(|()| true);
                    }
                    self.offset += 1;
                }
                None => self.offset += (self.rest().len() - MARKER_BYTES + 1) as u64,
            }
        }
        self.offset = begin;
        self.forget();
        Ok(false)
    }

    /// Goes back to `begin` if there is a frame by now. Whoever writes does so in order: what is behind it came later.
    fn step_back(&mut self, begin: u64) -> Result<(), StorageError> {
        let found = std::mem::replace(&mut self.offset, begin);
        self.forget();
        if !self.is_at_frame()? {
            self.offset = found;
            self.forget();
        }
        Ok(())
    }

    fn is_at_frame(&mut self) -> Result<bool, StorageError> {
        loop {
            match look(self.rest(), self.marker) {
                Look::Frame(_) => return Ok(true),
                Look::Short(needed) if self.fill(needed)? => {}
                Look::Short(_) | Look::End | Look::Bad => return Ok(false),
            }
        }
    }

    /// How many bytes there are from here to the last that is not zero.
    pub(super) fn torn_bytes(&mut self) -> Result<u64, StorageError> {
        let begin = self.offset;
        let mut torn = 0;
        self.forget();
        self.block_bytes = MAX_BLOCK_BYTES;
        while self.fill(1)? {
            if let Some(last) = self.rest().iter().rposition(|&byte| byte != 0) {
                torn = self.offset - begin + last as u64 + 1;
            }
            self.offset += self.rest().len() as u64;
        }
        self.offset = begin;
        self.forget();
        Ok(torn)
    }

    /// The whole frame that ends with the file, if it takes no more than `most` bytes.
    pub(super) fn last_frame(&self, most: usize) -> Result<Option<Bytes>, StorageError> {
        let length = self.length()?;
        let from = self.offset.max(length.saturating_sub(most as u64));
        let tail = self.read(from, most)?;
        let mut at = 0;
        while let Some(found) = find_marker(&tail, at, self.marker) {
            if look(&tail[found..], self.marker) == Look::Frame(tail.len() - found) {
                return Ok(Some(tail.slice(found..)));
            }
            at = found + 1;
        }
        Ok(None)
    }

    /// What was read, and is not behind the cursor.
    fn rest(&self) -> &[u8] {
        let passed = self.offset.checked_sub(self.block_at);
        let passed = passed.and_then(|passed| usize::try_from(passed).ok());
        passed
            .and_then(|passed| self.block.get(passed..))
            .unwrap_or_default()
    }

    fn rest_bytes(&self) -> Bytes {
        self.block.slice_ref(self.rest())
    }

    /// Has at least `needed` bytes read; `false` if there are not as many.
    fn fill(&mut self, needed: usize) -> Result<bool, StorageError> {
        if self.rest().len() >= needed {
            return Ok(true);
        }
        self.block = self.read(self.offset, needed.max(self.block_bytes))?;
        self.block_at = self.offset;
        self.block_bytes = (2 * self.block_bytes).min(MAX_BLOCK_BYTES);
        Ok(self.block.len() >= needed)
    }

    fn forget(&mut self) {
        self.block = Bytes::new();
        self.block_bytes = MIN_BLOCK_BYTES;
    }

    fn read(&self, from: u64, most: usize) -> Result<Bytes, StorageError> {
        let mut bytes = vec![0; most];
        let done = read_all(&self.file, &mut bytes, from).of(Operation::Read)?;
        bytes.truncate(done);
        Ok(Bytes::from(bytes))
    }
}

/// The least that a frame's beginning takes is read at once.
const _: () = assert!(MIN_BLOCK_BYTES >= HEADER_BYTES + FRAME_HEAD_BYTES);
