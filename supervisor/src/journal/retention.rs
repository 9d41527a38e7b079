//! How much of its output an execution keeps, and what goes to make room for more. Pure.
//!
//! What goes is whole segments, the oldest first. A segment is ended when it holds a sixteenth of what is kept, but no less
//! than [`MIN_SEGMENT_BYTES`] and no more than [`MAX_SEGMENT_BYTES`]: that much more than was needed may go at once. It is
//! ended earlier while there is little, so that on a small disk, too, there is something that can go.
//!
//! The bound is [`Keep::max_bytes`] of output, or one batch where that is more. What surrounds the output, which of tiny
//! outputs is most, has a bound of its own: as much again, and [`OVERHEAD_BYTES`].

use std::collections::VecDeque;

/// What is kept of an execution's output if its caller does not say.
pub const DEFAULT_KEEP_BYTES: u64 = 1024 * 1024 * 1024;

/// No segment is ended before it holds this much output.
pub const MIN_SEGMENT_BYTES: u64 = 64 * 1024;

/// No segment is continued that holds this much.
pub const MAX_SEGMENT_BYTES: u64 = 16 * 1024 * 1024;

/// While there is less output than this, there is one segment; then each is ended when it holds half of all.
pub const FIRST_SEGMENT_BYTES: u64 = 1024 * 1024;

/// What may surround the output of an execution that keeps none of it.
pub const OVERHEAD_BYTES: u64 = 1024 * 1024;

/// What is kept of an execution's output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keep {
    /// At most so much of it.
    pub max_bytes: u64,
    /// What makes room for more.
    pub on_full: OnFull,
    /// None of it is stored.
    pub no_output: bool,
}

impl Default for Keep {
    fn default() -> Self {
        Self {
            max_bytes: DEFAULT_KEEP_BYTES,
            on_full: OnFull::Block,
            no_output: false,
        }
    }
}

/// What makes room for more output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnFull {
    /// The oldest that every attached caller has been sent; if there is none, the command waits.
    Block,
    /// The oldest, at once.
    DropOldest,
}

/// How far the callers have come that are attached to an execution; observers do not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attached {
    /// There is none.
    Nobody,
    /// Each of them has been sent all events up to this sequence.
    Sent(u64),
}

impl Keep {
    /// A segment that holds as much output is ended.
    pub fn segment_bytes(&self) -> u64 {
        if self.no_output {
            return OVERHEAD_BYTES;
        }
        (self.max_bytes / 16).clamp(MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES)
    }

    /// So many bytes of files at most, but for what precedes the first output.
    pub fn stored_limit(&self) -> u64 {
        self.max_bytes
            .saturating_mul(2)
            .saturating_add(OVERHEAD_BYTES)
    }

    /// Whether the last of `segments` is to be ended.
    pub(super) fn is_ended(&self, segments: &VecDeque<Stored>) -> bool {
        let output = segments.iter().map(|segment| segment.output_bytes);
        let output = output.fold(0, u64::saturating_add);
        let most = self.segment_bytes().min(output.max(FIRST_SEGMENT_BYTES));
        segments.back().is_some_and(|segment| {
            segment.output_bytes >= most || segment.file_bytes >= most.saturating_mul(2)
        })
    }
}

/// What a segment holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stored {
    /// Which it is.
    pub(super) ordinal: u64,
    /// The last event before it.
    pub(super) base_sequence: u64,
    /// Its last event, or the last before it.
    pub(super) last_sequence: u64,
    /// Bytes of output.
    pub(super) output_bytes: u64,
    /// Bytes of the file, but for those that precede the first output.
    pub(super) file_bytes: u64,
}

/// What is to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Wanted {
    /// Bytes of output.
    pub(super) output_bytes: u64,
    /// Bytes of the file.
    pub(super) file_bytes: u64,
}

/// What to do before more is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Decision {
    /// Nothing: there is room.
    Append,
    /// So many of the oldest segments go. If that is all of them, a new one is begun first.
    Drop(usize),
    /// It has to wait.
    Wait,
}

/// What makes room for `wanted`, among `segments`, of which the last is the one that is written.
pub(super) fn make_room(
    keep: &Keep,
    segments: &VecDeque<Stored>,
    attached: Attached,
    wanted: Wanted,
) -> Decision {
    let sum = |part: fn(&Stored) -> u64| segments.iter().map(part).fold(0, u64::saturating_add);
    let mut output = sum(|segment| segment.output_bytes);
    let mut stored = sum(|segment| segment.file_bytes);
    let fits = |output: u64, stored: u64| {
        let has_room = output.saturating_add(wanted.output_bytes) <= keep.max_bytes
            && stored.saturating_add(wanted.file_bytes) <= keep.stored_limit();
        // What is larger than the bound is taken alone.
        has_room || output == 0
    };
    if fits(output, stored) {
        return Decision::Append;
    }
    for (index, segment) in segments.iter().enumerate() {
        if !may_go(keep, *segment, attached) {
            return Decision::Wait;
        }
        output -= segment.output_bytes;
        stored -= segment.file_bytes;
        if fits(output, stored) {
            return Decision::Drop(index + 1);
        }
    }
    Decision::Wait
}

/// What makes room on a full disk: the oldest segment, if it need not be kept and is not the one that is written.
pub(super) fn on_full_disk(keep: &Keep, segments: &VecDeque<Stored>) -> Decision {
    match keep.on_full {
        OnFull::DropOldest if segments.len() > 1 => Decision::Drop(1),
        OnFull::DropOldest | OnFull::Block => Decision::Wait,
    }
}

fn may_go(keep: &Keep, segment: Stored, attached: Attached) -> bool {
    match (keep.on_full, attached) {
        (OnFull::DropOldest, _) => true,
        (OnFull::Block, Attached::Sent(sequence)) => segment.last_sequence <= sequence,
        (OnFull::Block, Attached::Nobody) => segment.output_bytes == 0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segments(output: &[u64]) -> VecDeque<Stored> {
        let segment = |(ordinal, &bytes): (u64, &u64)| Stored {
            ordinal,
            base_sequence: ordinal - 1,
            last_sequence: ordinal,
            output_bytes: bytes,
            file_bytes: bytes,
        };
        (1..).zip(output).map(segment).collect()
    }

    fn wanted(bytes: u64) -> Wanted {
        Wanted {
            output_bytes: bytes,
            file_bytes: bytes,
        }
    }

    fn keep(max_bytes: u64, on_full: OnFull) -> Keep {
        Keep {
            max_bytes,
            on_full,
            no_output: false,
        }
    }

    #[test]
    fn the_limits_are_those_that_callers_know() {
        assert_eq!(DEFAULT_KEEP_BYTES, 1 << 30);
        assert_eq!(Keep::default().max_bytes, DEFAULT_KEEP_BYTES);
        assert_eq!(Keep::default().on_full, OnFull::Block);
        for (max_bytes, segment) in [
            (0, MIN_SEGMENT_BYTES),
            (16 * MIN_SEGMENT_BYTES, MIN_SEGMENT_BYTES),
            (32 * MIN_SEGMENT_BYTES, 2 * MIN_SEGMENT_BYTES),
            (16 * MAX_SEGMENT_BYTES, MAX_SEGMENT_BYTES),
            (u64::MAX, MAX_SEGMENT_BYTES),
        ] {
            assert_eq!(keep(max_bytes, OnFull::Block).segment_bytes(), segment);
        }
    }

    #[test]
    fn there_is_room_up_to_the_bound_and_not_beyond() {
        let keep = keep(100, OnFull::Block);
        let decide = |output: &[u64], more, attached| {
            make_room(&keep, &segments(output), attached, wanted(more))
        };
        let nobody = Attached::Nobody;
        assert_eq!(decide(&[60], 40, nobody), Decision::Append);
        assert_eq!(decide(&[60], 41, nobody), Decision::Wait);
        assert_eq!(decide(&[60], 41, Attached::Sent(0)), Decision::Wait);
        assert_eq!(decide(&[60], 41, Attached::Sent(1)), Decision::Drop(1));
        assert_eq!(decide(&[30, 30, 40], 50, Attached::Sent(1)), Decision::Wait);
        assert_eq!(
            decide(&[30, 30, 40], 50, Attached::Sent(2)),
            Decision::Drop(2)
        );
        // What is larger than the bound is taken alone.
        assert_eq!(decide(&[0], 500, nobody), Decision::Append);
        assert_eq!(decide(&[60, 40], 500, Attached::Sent(2)), Decision::Drop(2));
    }

    #[test]
    fn the_oldest_goes_without_asking_if_it_may() {
        let keep = keep(100, OnFull::DropOldest);
        let nobody = Attached::Nobody;
        let decide =
            |output: &[u64], more| make_room(&keep, &segments(output), nobody, wanted(more));
        assert_eq!(decide(&[30, 30, 40], 1), Decision::Drop(1));
        assert_eq!(decide(&[30, 30, 40], 61), Decision::Drop(3));
        let on_disk = |count| on_full_disk(&keep, &segments(&vec![1; count]));
        assert_eq!(on_disk(2), Decision::Drop(1));
        assert_eq!(on_disk(1), Decision::Wait);
    }

    #[test]
    fn a_segment_is_ended_when_there_is_something_to_go_without_it() {
        let keep = Keep::default();
        let mebibyte = FIRST_SEGMENT_BYTES;
        for (output, is_ended) in [
            (&[mebibyte - 1][..], false),
            (&[mebibyte], true),
            (&[mebibyte, mebibyte], false),
            (&[mebibyte, mebibyte, 2 * mebibyte], false),
            (&[64 * mebibyte, MAX_SEGMENT_BYTES - 1], false),
            (&[64 * mebibyte, MAX_SEGMENT_BYTES], true),
        ] {
            assert_eq!(keep.is_ended(&segments(output)), is_ended, "{output:?}");
        }
    }

    proptest! {
        /// Whatever goes is what may go, no more than is needed, and enough.
        #[test]
        fn no_more_goes_than_has_to(
            output in prop::collection::vec(0_u64..100, 1..8),
            more in 1_u64..200,
            max_bytes in 0_u64..400,
            sent in prop::option::of(0_u64..9),
            drops in any::<bool>(),
        ) {
            let on_full = if drops { OnFull::DropOldest } else { OnFull::Block };
            let keep = keep(max_bytes, on_full);
            let segments = segments(&output);
            let attached = sent.map_or(Attached::Nobody, Attached::Sent);
            let left = |count: usize| output[count..].iter().sum::<u64>();
            let fits = |count: usize| left(count) + more <= max_bytes || left(count) == 0;
            match make_room(&keep, &segments, attached, wanted(more)) {
                Decision::Append => prop_assert!(fits(0)),
                Decision::Drop(count) => {
                    prop_assert!(fits(count) && !fits(count - 1));
                    prop_assert!(segments.iter().take(count).all(|segment| may_go(&keep, *segment, attached)));
                }
                Decision::Wait => {
                    prop_assert!(!drops && !fits(0));
                    let may = segments.iter().take_while(|segment| may_go(&keep, **segment, attached)).count();
                    prop_assert!(!fits(may));
                }
            }
        }
    }
}
