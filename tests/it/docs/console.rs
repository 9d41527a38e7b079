//! Console blocks of Markdown: lines that begin with `$ `, and what each prints. In what they print, `…` stands for
//! anything.

use std::{collections::BTreeMap, fs, path::Path};

use tokio::process::Command;

use crate::harness::soon;

/// What differs from run to run.
const WILDCARD: char = '…';

/// Printed behind each command of a block.
const END: &str = "-- end of a step --";

/// One line to type, and what comes of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Step {
    command: String,
    output: String,
}

/// How a document is tried: what its names and addresses are here, and where its commands run.
pub(super) struct Place<'a> {
    /// What stands for what.
    pub(super) words: Vec<(String, String)>,
    pub(super) folder: &'a Path,
    pub(super) variables: BTreeMap<&'a str, String>,
}

/// Types every block of `document`, a file of this checkout, into a shell of its own, and asserts what it prints.
pub(super) async fn try_out(document: &str, place: &Place<'_>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
    let text = fs::read_to_string(path).expect("a document");
    let blocks = blocks(&text);
    assert!(!blocks.is_empty(), "{document} has nothing to try");
    for block in blocks {
        try_block(&block, place).await;
    }
}

async fn try_block(block: &[Step], place: &Place<'_>) {
    let script: Vec<_> = block
        .iter()
        .map(|step| format!("{}\necho {END}\n", place.here(&step.command)))
        .collect();
    // As a shell at a prompt has it: %1 is the first job.
    let mut shell = Command::new("bash");
    shell
        .args(["-c", &format!("set -m; {}", script.concat())])
        .envs(&place.variables)
        .current_dir(place.folder)
        .kill_on_drop(true);
    let output = soon("a block of a document", shell.output())
        .await
        .expect("bash runs");
    let stdout = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    let end = format!("{END}\n");
    let mut outputs = stdout.split(&*end);
    for step in block {
        let seen = outputs.next().unwrap_or_default();
        let expected = place.here(&step.output);
        assert!(
            matches(&expected, seen),
            "{}\nprints\n{seen}\nnot\n{expected}\n{said}",
            step.command
        );
    }
}

impl Step {
    /// As a document has it.
    pub(super) fn shown(&self) -> String {
        format!("$ {}\n{}", self.command, self.output)
    }
}

impl Place<'_> {
    fn here(&self, text: &str) -> String {
        let words = self.words.iter();
        words.fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
    }
}

/// Every block of `document`.
pub(super) fn blocks(document: &str) -> Vec<Vec<Step>> {
    let mut blocks = Vec::new();
    let mut steps: Option<Vec<Step>> = None;
    for line in document.lines() {
        match (&mut steps, line) {
            (None, "```console") => steps = Some(Vec::new()),
            (Some(_), "```") => blocks.extend(steps.take()),
            (Some(steps), line) => match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step {
                    command: command.to_owned(),
                    output: String::new(),
                }),
                (None, Some(step)) => {
                    step.output.push_str(line);
                    step.output.push('\n');
                }
                (None, None) => panic!("output before a command: {line}"),
            },
            _ => {}
        }
    }
    blocks
}

/// Whether `seen` is `expected`, in which a wildcard stands for anything.
fn matches(expected: &str, seen: &str) -> bool {
    let mut parts = expected.split(WILDCARD);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = seen.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some((_, behind)) = rest.split_once(part) else {
            return false;
        };
        rest = behind;
    }
    rest.ends_with(last)
}

#[test]
fn wildcards_stand_for_anything_and_the_rest_for_itself() {
    assert!(matches("a…c\n", "abbbc\n"));
    assert!(matches("same", "same"));
    assert!(!matches("same", "same and more"));
    assert!(!matches("a…c", "abbb"));
    assert!(!matches("x…", "ax"));
}

#[test]
fn blocks_are_commands_with_their_output() {
    let text = "t\n```console\n$ a\n1\n2\n$ b\n```\n```sh\n$ c\n```\n";
    let step = |command: &str, output: &str| Step {
        command: command.to_owned(),
        output: output.to_owned(),
    };
    assert_eq!(blocks(text), [vec![step("a", "1\n2\n"), step("b", "")]]);
}
