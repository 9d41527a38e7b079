//! Records that are to be written together. Small outputs are copied in among what frames them; large ones are written from
//! where they are.

use std::{
    io::{self, IoSlice},
    ops::Range,
};

use bytes::Bytes;

use super::{
    encode::put_event,
    format::Progress,
    retention::Wanted,
    storage::{StoredFile, written},
};
use crate::lifecycle::{
    event::{Event, EventKind},
    output::MAX_OUTPUT_BYTES,
};

/// No more output goes into a batch of this size.
const MAX_BATCH_BYTES: usize = 256 * 1024;

/// What frames one output takes less than this.
const FRAMING_BYTES: usize = 128;

/// Outputs up to this size are copied.
const COPY_BYTES: usize = 1024;

/// What is kept of a buffer that was larger.
const SPARE_BYTES: usize = 16 * 1024;

/// The kernel takes this many pieces at once.
const MAX_PIECES: usize = 1024;

/// Frames, in order.
#[derive(Debug)]
pub(super) struct Batch {
    marker: u32,
    framing: Vec<u8>,
    pieces: Vec<Piece>,
    output_bytes: usize,
    data_bytes: usize,
    /// Bytes up to the end of what is never dropped.
    head_bytes: usize,
}

#[derive(Debug)]
enum Piece {
    Framing(Range<usize>),
    Data(Bytes),
}

impl Batch {
    pub(super) fn new(marker: u32) -> Self {
        Self {
            marker,
            framing: Vec::new(),
            pieces: Vec::new(),
            output_bytes: 0,
            data_bytes: 0,
            head_bytes: 0,
        }
    }

    /// Whether another output fits, whatever its size.
    pub(super) fn has_room(&self) -> bool {
        self.bytes() + FRAMING_BYTES + MAX_OUTPUT_BYTES <= MAX_BATCH_BYTES
    }

    pub(super) fn is_empty(&self) -> bool {
        self.framing.is_empty()
    }

    pub(super) fn has_output(&self) -> bool {
        self.output_bytes > 0
    }

    /// Bytes of all frames.
    pub(super) fn bytes(&self) -> usize {
        self.framing.len() + self.data_bytes
    }

    pub(super) fn wanted(&self) -> Wanted {
        Wanted {
            output_bytes: self.output_bytes as u64,
            file_bytes: (self.bytes() - self.head_bytes) as u64,
        }
    }

    /// Bytes up to the end of what is never dropped.
    pub(super) fn head_bytes(&self) -> u64 {
        self.head_bytes as u64
    }

    /// Adds an event; the totals go with an exit.
    pub(super) fn add_event(&mut self, event: Event, totals: Progress) {
        self.put(|to, marker| put_event(to, marker, &event, totals));
        match event.kind {
            EventKind::Started { .. } => self.head_bytes = self.bytes(),
            EventKind::Output(chunk) => self.add_data(chunk.data),
            EventKind::Exited(_) => {}
        }
    }

    /// Adds what is not to be dropped before the command has written anything.
    pub(super) fn add_head(&mut self, put: impl FnOnce(&mut Vec<u8>, u32)) {
        self.put(put);
        self.head_bytes = self.bytes();
    }

    /// Adds what `put` appends, which is given the marker.
    pub(super) fn put(&mut self, put: impl FnOnce(&mut Vec<u8>, u32)) {
        let start = self.framing.len();
        put(&mut self.framing, self.marker);
        self.add_framing(start);
    }

    fn add_framing(&mut self, start: usize) {
        let end = self.framing.len();
        match self.pieces.last_mut() {
            Some(Piece::Framing(range)) => range.end = end,
            _ => self.pieces.push(Piece::Framing(start..end)),
        }
    }

    fn add_data(&mut self, data: Bytes) {
        self.output_bytes += data.len();
        if data.len() <= COPY_BYTES {
            let start = self.framing.len();
            self.framing.extend_from_slice(&data);
            self.add_framing(start);
        } else {
            self.data_bytes += data.len();
            self.pieces.push(Piece::Data(data));
        }
    }

    /// Writes all of it at `offset`.
    pub(super) fn write<F: StoredFile>(&self, file: &F, mut offset: u64) -> io::Result<()> {
        let slices = self.pieces.iter().map(|piece| match piece {
            Piece::Framing(range) => IoSlice::new(&self.framing[range.clone()]),
            Piece::Data(data) => IoSlice::new(data),
        });
        let mut slices: Vec<_> = slices.collect();
        let mut left = &mut slices[..];
        while !left.is_empty() {
            let most = left.len().min(MAX_PIECES);
            let bytes = written(file.write_at(&left[..most], offset)?)?;
            offset += bytes as u64;
            IoSlice::advance_slices(&mut left, bytes);
        }
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        let marker = self.marker;
        let mut framing = std::mem::take(&mut self.framing);
        let mut pieces = std::mem::take(&mut self.pieces);
        framing.clear();
        framing.shrink_to(SPARE_BYTES);
        pieces.clear();
        *self = Self {
            framing,
            pieces,
            ..Self::new(marker)
        };
    }
}
