//! What a reader of an execution's events was told.

use remex_supervisor::{
    lifecycle::{
        event::{Event, EventKind, Exit},
        outcome::ExitReason,
        output::{MAX_OUTPUT_BYTES, OutputStream},
    },
    process::ExitStatus,
};

/// What a reader was told, checked against the rules that hold for every execution.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: Vec<u8>,
    pub(crate) terminal: Vec<u8>,
    pub(crate) exit: Option<Exit>,
}

impl Told {
    pub(crate) fn of(events: &[Event]) -> Self {
        let mut told = Self::default();
        for (event, sequence) in events.iter().zip(1..) {
            assert_eq!(event.sequence, sequence);
            assert_eq!(told.exit, None, "something follows the exit");
            match &event.kind {
                EventKind::Started { pid } => assert!(sequence == 1 && *pid > 1),
                EventKind::Output(chunk) => {
                    let stream = match chunk.stream {
                        OutputStream::Stdout => &mut told.stdout,
                        OutputStream::Stderr => &mut told.stderr,
                        OutputStream::Terminal => &mut told.terminal,
                    };
                    assert_eq!(chunk.offset, stream.len() as u64);
                    assert!((1..=MAX_OUTPUT_BYTES).contains(&chunk.data.len()));
                    stream.extend_from_slice(&chunk.data);
                }
                EventKind::Exited(exit) => told.exit = Some(*exit),
            }
        }
        told
    }

    /// stdout, or what is on the terminal.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&[&self.stdout[..], &self.terminal].concat()).into_owned()
    }

    /// How the leader ended, and why.
    pub(crate) fn ending(&self) -> (ExitStatus, ExitReason) {
        let outcome = self.exit.expect("an exit").outcome;
        assert!(!outcome.unkillable);
        (outcome.status.expect("somebody saw it"), outcome.reason)
    }
}

/// What a leader that exits with `code` ends like.
pub(crate) fn code(code: u8) -> ExitStatus {
    ExitStatus::Code(code)
}

/// What a leader that dies of signal `number` ends like.
pub(crate) fn signal(number: i32) -> ExitStatus {
    ExitStatus::Signal {
        number,
        core_dumped: false,
    }
}
