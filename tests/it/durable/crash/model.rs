//! What a caller may be told of a durable execution, however often its connection, its server or itself was lost: its history is
//! held against this. Pure.

use bytes::Bytes;

/// What a command does, if it is left alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Expected {
    /// What it writes to stdout, stderr and its terminal.
    pub(super) streams: [Bytes; 3],
    pub(super) end: Fate,
}

impl Expected {
    /// Nothing but an end.
    pub(super) fn ending(code: i32) -> Self {
        Self {
            streams: Default::default(),
            end: Fate::Code(code),
        }
    }
}

/// How it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// By itself, with this code.
    Code(i32),
    /// Its supervisor is killed, so that nobody knows.
    Lost,
}

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Told {
    Started,
    Output {
        /// Of [`Expected::streams`].
        stream: usize,
        offset: u64,
        data: Bytes,
    },
    Gap,
    Exited(End),
}

/// An end, as it is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Of its own accord, with this code.
    Own(i32),
    /// `LOST_START`.
    LostStart,
    /// `LOST_EXIT`.
    LostExit,
    /// Anything else.
    Other,
}

/// The answer of a call that tells nothing before the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) streams: [Bytes; 3],
    pub(super) code: i32,
}

/// What must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Violation {
    /// The same request is another execution.
    AnotherExecution { first: String, second: String },
    /// An event is missing, comes twice, or in another order.
    Sequence { expected: u64, told: u64 },
    /// An event is not what it was when it was told before.
    Changed { sequence: u64 },
    /// The first event is not the start, or another one is.
    Start { sequence: u64 },
    /// Output that does not begin where that before it has ended.
    Offset {
        stream: usize,
        expected: u64,
        told: u64,
    },
    /// A byte that the command did not write there.
    Byte { stream: usize, at: u64 },
    /// Output that nobody has allowed to go is gone.
    Gap { sequence: u64 },
    /// The end is told, and not all that was written before it.
    Missing { stream: usize, told: u64 },
    /// Something comes behind the end.
    BehindTheEnd { sequence: u64 },
    /// Nobody was told of an end.
    NoEnd,
    /// The end is another.
    End { expected: Fate, told: End },
    /// An answer's code is another.
    Code { expected: Fate, told: i32 },
    /// The command ran so often.
    Runs(usize),
}

/// The history of one execution, as far as it was told.
#[derive(Debug)]
pub(super) struct History {
    expected: Expected,
    execution: Option<String>,
    /// The event of sequence 1 is the first.
    events: Vec<Told>,
    told_bytes: [u64; 3],
    /// How far the present call has got.
    position: u64,
    answers: usize,
}

impl History {
    pub(super) fn new(expected: Expected) -> Self {
        Self {
            expected,
            execution: None,
            events: Vec::new(),
            told_bytes: [0; 3],
            position: 0,
            answers: 0,
        }
    }

    /// A call begins, which tells what comes behind `after`.
    pub(super) fn joins(&mut self, after: u64) {
        self.position = after;
    }

    /// A call is about this execution.
    pub(super) fn is(&mut self, execution: &str) -> Result<(), Violation> {
        let first = self.execution.get_or_insert_with(|| execution.to_owned());
        if first == execution {
            return Ok(());
        }
        Err(Violation::AnotherExecution {
            first: first.clone(),
            second: execution.to_owned(),
        })
    }

    /// Which one it is, as far as it was told.
    pub(super) fn execution(&self) -> Option<&str> {
        self.execution.as_deref()
    }

    /// How far the present call has got.
    pub(super) fn position(&self) -> u64 {
        self.position
    }

    /// How many bytes of a stream were told.
    pub(super) fn told_bytes(&self, stream: usize) -> u64 {
        self.told_bytes[stream]
    }

    /// Its end, if that was told.
    pub(super) fn end(&self) -> Option<End> {
        match self.events.last() {
            Some(&Told::Exited(end)) => Some(end),
            _ => None,
        }
    }

    pub(super) fn has_ended(&self) -> bool {
        self.end().is_some()
    }

    /// An event is told.
    pub(super) fn told(&mut self, sequence: u64, event: Told) -> Result<(), Violation> {
        let expected = self.position + 1;
        if sequence != expected {
            return Err(Violation::Sequence {
                expected,
                told: sequence,
            });
        }
        self.position = sequence;
        let index = usize::try_from(sequence - 1).expect("a short history");
        match self.events.get(index) {
            Some(before) if *before == event => return Ok(()),
            Some(_) => return Err(Violation::Changed { sequence }),
            None => {}
        }
        if self.has_ended() {
            return Err(Violation::BehindTheEnd { sequence });
        }
        self.check(sequence, &event)?;
        self.events.push(event);
        Ok(())
    }

    fn check(&mut self, sequence: u64, event: &Told) -> Result<(), Violation> {
        // What may or may not have run has only an end.
        let is_first = sequence == 1;
        let is_lost_start = *event == Told::Exited(End::LostStart);
        if is_first != (*event == Told::Started) && !(is_first && is_lost_start) {
            return Err(Violation::Start { sequence });
        }
        match event {
            Told::Started => Ok(()),
            Told::Gap => Err(Violation::Gap { sequence }),
            Told::Output {
                stream,
                offset,
                data,
            } => self.check_output(*stream, *offset, data),
            Told::Exited(end) => self.check_end(*end),
        }
    }

    fn check_output(&mut self, stream: usize, told: u64, data: &[u8]) -> Result<(), Violation> {
        let expected = self.told_bytes[stream];
        if told != expected {
            return Err(Violation::Offset {
                stream,
                expected,
                told,
            });
        }
        self.told_bytes[stream] += data.len() as u64;
        compare(stream, told, data, &self.expected.streams[stream])
    }

    fn check_end(&self, told: End) -> Result<(), Violation> {
        let expected = self.expected.end;
        match (expected, told) {
            (Fate::Code(code), End::Own(told)) if code == told => {
                let whole = self
                    .expected
                    .streams
                    .iter()
                    .map(|stream| stream.len() as u64);
                let missing = whole
                    .zip(self.told_bytes)
                    .position(|(whole, told)| whole != told);
                missing.map_or(Ok(()), |stream| {
                    let told = self.told_bytes[stream];
                    Err(Violation::Missing { stream, told })
                })
            }
            // Where there is a start, it has run.
            (Fate::Lost, End::LostStart) if self.events.is_empty() => Ok(()),
            (Fate::Lost, End::LostExit) => Ok(()),
            _ => Err(Violation::End { expected, told }),
        }
    }

    /// A call is answered with everything.
    pub(super) fn answered(&mut self, answer: &Answer) -> Result<(), Violation> {
        let expected = &self.expected;
        for (stream, data) in answer.streams.iter().enumerate() {
            let whole = &expected.streams[stream];
            compare(stream, 0, data, whole)?;
            if data.len() != whole.len() {
                let told = data.len() as u64;
                return Err(Violation::Missing { stream, told });
            }
        }
        self.answers += 1;
        let told = answer.code;
        if expected.end == Fate::Code(told) {
            return Ok(());
        }
        Err(Violation::Code {
            expected: expected.end,
            told,
        })
    }

    /// A caller that was killed had been told this much of a stream.
    pub(super) fn has_begun(&self, stream: usize, data: &[u8]) -> Result<(), Violation> {
        compare(stream, 0, data, &self.expected.streams[stream])
    }

    /// All calls are over, and the command has run so often.
    pub(super) fn is_over(&self, runs: usize) -> Result<(), Violation> {
        if !self.has_ended() && self.answers == 0 {
            return Err(Violation::NoEnd);
        }
        match (self.expected.end, runs) {
            // Killed, it may not have come to its first step.
            (_, 1) | (Fate::Lost, 0) => Ok(()),
            (_, runs) => Err(Violation::Runs(runs)),
        }
    }
}

/// `data` is what the command wrote from `offset` on.
fn compare(stream: usize, offset: u64, data: &[u8], whole: &[u8]) -> Result<(), Violation> {
    let from = usize::try_from(offset).expect("a short output");
    let written = whole.get(from..).unwrap_or_default();
    let same = data
        .iter()
        .zip(written)
        .take_while(|(told, written)| told == written)
        .count();
    if same == data.len() {
        return Ok(());
    }
    let at = offset + same as u64;
    Err(Violation::Byte { stream, at })
}
