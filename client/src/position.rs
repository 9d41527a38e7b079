//! How far a caller has got in the events of an execution, to go on there over another connection. Pure.

use remex::v1::{Event, Gap, event::Kind, output::Stream};

/// The last event that the caller has, and what it has of each stream.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Position {
    sequence: u64,
    stdout_bytes: u64,
    stderr_bytes: u64,
    terminal_bytes: u64,
}

impl Position {
    /// Behind the event `sequence`.
    pub(crate) fn after(sequence: u64) -> Self {
        Self {
            sequence,
            ..Self::default()
        }
    }

    /// The sequence of the last event.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// What of `event` is new to this caller. A stream that had to begin anew, since this position is gone, has `started`
    /// once more, and a Gap for all that is gone, of which the caller has a part.
    pub(crate) fn take(&mut self, mut event: Event) -> Option<Event> {
        if event.sequence <= self.sequence {
            return None;
        }
        match &mut event.kind {
            Some(Kind::Gap(gap)) => self.pass(gap),
            Some(Kind::Output(output)) => {
                let end = output.offset.saturating_add(output.data.len() as u64);
                match output.stream() {
                    Stream::Stdout => self.stdout_bytes = end,
                    Stream::Stderr => self.stderr_bytes = end,
                    Stream::Terminal => self.terminal_bytes = end,
                    Stream::Unspecified => {}
                }
            }
            _ => {}
        }
        self.sequence = event.sequence;
        Some(event)
    }

    fn pass(&mut self, gap: &mut Gap) {
        let is_known = gap.first_sequence <= self.sequence;
        for (missing, had) in [
            (&mut gap.stdout_bytes, &mut self.stdout_bytes),
            (&mut gap.stderr_bytes, &mut self.stderr_bytes),
            (&mut gap.terminal_bytes, &mut self.terminal_bytes),
        ] {
            if is_known {
                let end = (*had).max(*missing);
                *missing = missing.saturating_sub(*had);
                *had = end;
            } else {
                *had = had.saturating_add(*missing);
            }
        }
        gap.first_sequence = gap.first_sequence.max(self.sequence.saturating_add(1));
    }
}

#[cfg(test)]
mod tests {
    use remex::v1::{Output, Started};

    use super::*;

    fn event(sequence: u64, kind: Kind) -> Event {
        Event {
            sequence,
            kind: Some(kind),
            ..Event::default()
        }
    }

    fn output(sequence: u64, offset: u64, data: &'static [u8]) -> Event {
        let stream = Stream::Stdout.into();
        let data = data.into();
        event(
            sequence,
            Kind::Output(Output {
                stream,
                offset,
                data,
                ..Output::default()
            }),
        )
    }

    fn gap(first_sequence: u64, sequence: u64, stdout_bytes: u64, stderr_bytes: u64) -> Event {
        event(
            sequence,
            Kind::Gap(Gap {
                first_sequence,
                stdout_bytes,
                stderr_bytes,
                ..Gap::default()
            }),
        )
    }

    #[test]
    fn what_the_caller_has_is_passed_over() {
        let mut position = Position::default();
        let started = event(1, Kind::Started(Started::default()));
        for event in [started.clone(), output(2, 0, b"ab"), output(3, 2, b"c")] {
            assert_eq!(position.take(event.clone()), Some(event));
        }
        assert_eq!(position.sequence(), 3);
        assert_eq!(position.take(started), None);
        assert_eq!(position.take(output(3, 2, b"c")), None);
        assert_eq!(position.take(output(4, 3, b"d")), Some(output(4, 3, b"d")));
    }

    #[test]
    fn a_gap_that_begins_before_counts_what_is_missing_here_alone() {
        let mut position = Position::default();
        position.take(output(2, 0, b"abc"));
        // All from the beginning to sequence 9 is gone: of 10 bytes, the caller has 3.
        assert_eq!(position.take(gap(2, 9, 10, 7)), Some(gap(3, 9, 7, 7)));
        assert_eq!(
            position.take(output(10, 10, b"k")),
            Some(output(10, 10, b"k"))
        );
        // One that does not is as it is.
        assert_eq!(position.take(gap(11, 12, 5, 0)), Some(gap(11, 12, 5, 0)));
        assert_eq!(position.take(gap(2, 20, 17, 7)), Some(gap(13, 20, 1, 0)));
    }

    #[test]
    fn no_number_of_a_server_overflows() {
        let mut position = Position::default();
        let max = u64::MAX;
        for event in [
            output(5, max, b"abc"),
            gap(1, 7, max, max),
            gap(9, 9, max, max),
        ] {
            assert!(position.take(event).is_some());
        }
        assert!(position.take(gap(max, max, 1, 1)).is_some());
        assert_eq!(position.take(output(max, 0, b"")), None);
    }

    #[test]
    fn a_caller_may_begin_anywhere() {
        let mut position = Position::after(5);
        assert_eq!(position.take(output(5, 0, b"a")), None);
        assert!(position.take(output(6, 1, b"b")).is_some());
    }
}
