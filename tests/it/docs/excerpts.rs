//! Code in documents is an excerpt of a program that is tested. The line that opens it names the file:
//! three backticks, the language, and `examples/python/run.py`.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Blocks that are no excerpts: what is typed, which is tried, and pictures.
const OTHERS: [&str; 2] = ["console", "text"];

#[derive(Debug, PartialEq, Eq)]
struct Excerpt {
    language: String,
    /// Empty if none is named.
    file: String,
    lines: Vec<String>,
}

#[test]
fn code_in_the_pages_of_clients_is_that_of_the_clients() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let pages = pages(&root.join("docs/clients"));
    assert!(!pages.is_empty());
    for page in pages {
        let text = fs::read_to_string(&page).expect("a page");
        let excerpts: Vec<_> = excerpts(&text)
            .into_iter()
            .filter(|excerpt| !OTHERS.contains(&&*excerpt.language))
            .collect();
        let page = page.display();
        assert!(!excerpts.is_empty(), "{page} shows no code");
        for excerpt in excerpts {
            let source = fs::read_to_string(root.join(&excerpt.file));
            let source = source.unwrap_or_else(|error| panic!("{page}: {error}: {excerpt:?}"));
            assert!(
                is_part_of(&excerpt.lines, &source),
                "{page}: {} has no such lines:\n{}",
                excerpt.file,
                excerpt.lines.join("\n")
            );
        }
    }
}

fn pages(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("the pages");
    let files = entries.map(|entry| entry.expect("a page").path());
    files
        .filter(|file| file.extension().is_some_and(|end| end == "md"))
        .collect()
}

fn excerpts(document: &str) -> Vec<Excerpt> {
    let mut found = Vec::new();
    let mut open: Option<Excerpt> = None;
    for line in document.lines() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(info)) => {
                let (language, file) = info.split_once(' ').unwrap_or((info, ""));
                open = Some(Excerpt {
                    language: language.to_owned(),
                    file: file.to_owned(),
                    lines: Vec::new(),
                });
            }
            (Some(_), Some("")) => found.extend(open.take()),
            (Some(excerpt), _) => excerpt.lines.push(line.to_owned()),
            (None, None) => {}
        }
    }
    found
}

/// Whether `lines` follow each other in `source`, where all of them may be indented by the same blanks.
fn is_part_of(lines: &[String], source: &str) -> bool {
    let source: Vec<_> = source.lines().collect();
    source.windows(lines.len()).any(|window| {
        let Some(indent) = window[0].strip_suffix(&*lines[0]) else {
            return false;
        };
        indent.trim().is_empty()
            && window.iter().zip(lines).all(|(there, here)| {
                there.strip_prefix(indent) == Some(here) || there.is_empty() && here.is_empty()
            })
    })
}

#[test]
fn an_excerpt_is_lines_that_follow_each_other() {
    let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let source = "a\n  b\n\n  c {\n    d\n  }\n";
    assert!(is_part_of(&lines("b\n\nc {\n  d\n}"), source));
    assert!(is_part_of(&lines("  c {\n    d"), source));
    assert!(!is_part_of(&lines("b\nc {"), source));
    assert!(!is_part_of(&lines("c {\nd"), source));
    assert!(!is_part_of(&lines("a\nb"), source));
}

#[test]
fn what_opens_a_block_names_language_and_file() {
    let found = excerpts("x\n```go a/b.go\n1\n2\n```\n```console\n$ y\n```\n");
    let excerpt = |language: &str, file: &str, lines: &[&str]| Excerpt {
        language: language.to_owned(),
        file: file.to_owned(),
        lines: lines.iter().map(|&line| line.to_owned()).collect(),
    };
    let expected = [
        excerpt("go", "a/b.go", &["1", "2"]),
        excerpt("console", "", &["$ y"]),
    ];
    assert_eq!(found, expected);
}
