//! What is run: commands whose output is known to the byte, and that note each time that they run.

use std::{fmt::Write as _, fs, path::PathBuf};

use bytes::Bytes;

use super::model::{Expected, Fate};
use crate::{harness::Home, supervision::support::Random};

/// What a command is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Over at once.
    Quick,
    Text,
    Binary,
    /// On stdout and stderr by turns.
    BothStreams,
    /// For a second or two.
    Long,
    Terminal,
    /// Writes the stdin that its request has.
    Given,
    /// Writes the stdin that comes while it runs.
    Fed,
    /// Runs until it is killed, with a process that is in no group of its own.
    Endless,
}

impl Kind {
    /// Those that end.
    pub(super) const ENDING: [Self; 8] = [
        Self::Quick,
        Self::Text,
        Self::Binary,
        Self::BothStreams,
        Self::Long,
        Self::Terminal,
        Self::Given,
        Self::Fed,
    ];
}

/// One command.
#[derive(Debug, Clone)]
pub(super) struct Job {
    /// Its request id.
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) script: String,
    pub(super) stdin: Bytes,
    pub(super) expected: Expected,
    /// Where it notes that it runs.
    runs: PathBuf,
}

impl Job {
    /// Number `number` at `home`. An endless one has `marker` among its arguments.
    pub(super) fn new(
        home: &Home,
        kind: Kind,
        number: usize,
        marker: &str,
        random: &mut Random,
    ) -> Self {
        let name = format!("{number}-{kind:?}").to_lowercase();
        let runs = home.path(&format!("runs-{name}"));
        let code = 1 + i32::try_from(random.below(99)).expect("small");
        let mut expected = Expected::ending(code);
        let mut stdin = Bytes::new();
        let [stdout, stderr, terminal] = &mut expected.streams;
        let body = match kind {
            Kind::Quick => {
                *stdout = format!("it is {name}\n").into();
                format!("echo it is {name}")
            }
            Kind::Text => {
                let last = 1 + random.below(60_000);
                *stdout = numbers(last).into();
                format!("seq 1 {last}")
            }
            Kind::Binary => {
                let bytes = bytes(random);
                let file = home.path(&format!("bytes-{name}"));
                fs::write(&file, &bytes).expect("a file");
                *stdout = bytes.into();
                format!("cat {}", file.display())
            }
            Kind::BothStreams => {
                let last = 50 + random.below(200);
                *stdout = lines("out", last).into();
                *stderr = lines("error", last).into();
                format!("{} echo out $i; echo error $i >&2; done", each(last))
            }
            Kind::Long => {
                let last = 8 + random.below(8);
                *stdout = lines("line", last).into();
                format!("{} echo line $i; sleep 0.1; done", each(last))
            }
            Kind::Terminal => {
                let last = 50 + random.below(200);
                *terminal = lines("shown", last).replace('\n', "\r\n").into();
                format!("{} echo shown $i; done", each(last))
            }
            Kind::Given | Kind::Fed => {
                stdin = bytes(random).into();
                *stdout = stdin.clone();
                "cat".to_owned()
            }
            Kind::Endless => {
                expected.end = Fate::Lost;
                let last = 1 + random.below(2000);
                *stdout = numbers(last).into();
                format!("setsid sleep {marker} & seq 1 {last}; exec sleep {marker}")
            }
        };
        Self {
            script: format!("echo ran >>{}; {body}; exit {code}", runs.display()),
            name,
            kind,
            stdin,
            expected,
            runs,
        }
    }

    /// How often it has run.
    pub(super) fn runs(&self) -> usize {
        let noted = fs::read_to_string(&self.runs).unwrap_or_default();
        noted.lines().count()
    }
}

/// Up to a few hundred KiB, often less.
fn bytes(random: &mut Random) -> Vec<u8> {
    let most = [100, 5000, 70_000, 400_000][random.below(4)];
    (0..=random.below(most))
        .map(|_| u8::try_from(random.below(256)).expect("a byte"))
        .collect()
}

/// As seq(1) writes it.
fn numbers(last: usize) -> String {
    (1..=last).fold(String::new(), |mut all, number| {
        writeln!(all, "{number}").expect("room");
        all
    })
}

fn lines(word: &str, last: usize) -> String {
    (1..=last).fold(String::new(), |mut all, number| {
        writeln!(all, "{word} {number}").expect("room");
        all
    })
}

/// A shell's loop from 1 to `last`.
fn each(last: usize) -> String {
    format!("i=0; while [ $i -lt {last} ]; do i=$((i+1));")
}
