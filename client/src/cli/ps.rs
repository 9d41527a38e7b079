//! `remex ps`: a table of executions, a page at a time.

use std::time::{Duration, SystemTime};

use remex::v1::{Command, Execution, ListRequest, execution::State};
use remex_client::{Client, Endpoint};

use super::{Failure, escape, print};

/// Records asked for at a time, the most that a server gives.
const PAGE_RECORDS: i32 = 1000;
/// Characters of a command that are shown.
const COMMAND_CHARS_MAX: usize = 200;

const HEADINGS: [&str; 6] = ["ID", "STATE", "PID", "AGE", "CALLER", "COMMAND"];

pub(crate) async fn ps(server: &Endpoint) -> Result<u8, Failure> {
    let client = Client::connect(server).await?;
    let mut rows = vec![HEADINGS.map(str::to_owned)];
    let mut request = ListRequest {
        page_size: PAGE_RECORDS,
        ..ListRequest::default()
    };
    loop {
        let page = client.exec().list(request.clone()).await?.into_inner();
        let now = SystemTime::now();
        rows.extend(page.executions.iter().map(|record| row(record, now)));
        print::out(&table(&rows))?;
        rows.clear();
        if page.next_page_token.is_empty() {
            return Ok(0);
        }
        request.page_token = page.next_page_token;
    }
}

fn row(record: &Execution, now: SystemTime) -> [String; 6] {
    let state = match record.state() {
        State::Unspecified => "?",
        State::Starting => "starting",
        State::Running => "running",
        State::Ended => "ended",
    };
    let created = record
        .create_time
        .and_then(|time| SystemTime::try_from(time).ok());
    // The server's clock may be ahead of ours.
    let age = created.map(|time| now.duration_since(time).unwrap_or_default());
    [
        escape::line(&record.execution_id),
        state.to_owned(),
        record.pid.to_string(),
        age.map_or_else(|| "?".to_owned(), short),
        escape::line(&record.caller),
        command(record.command.as_ref()),
    ]
}

/// An age in its largest unit.
fn short(age: Duration) -> String {
    match age.as_secs() {
        seconds @ 0..60 => format!("{seconds}s"),
        seconds @ 60..3600 => format!("{}m", seconds / 60),
        seconds @ 3600..86400 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86400),
    }
}

/// As one could type it, cut if it is long.
fn command(command: Option<&Command>) -> String {
    let Some(command) = command else {
        return String::new();
    };
    let words: Vec<_> = if command.argv_raw.is_empty() {
        command.argv.iter().map(Into::into).collect()
    } else {
        let lossy = |word| String::from_utf8_lossy(word);
        command.argv_raw.iter().map(|word| lossy(word)).collect()
    };
    let text = if command.shell.is_empty() {
        words
            .iter()
            .map(|word| quote(word))
            .collect::<Vec<_>>()
            .join(" ")
    } else {
        command.shell.clone()
    };
    let mut line: String = escape::line(&text);
    if let Some((cut, _)) = line.char_indices().nth(COMMAND_CHARS_MAX) {
        line.truncate(cut);
        line.push('…');
    }
    line
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./:=@%+,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// In columns, the last as wide as it is.
fn table(rows: &[[String; 6]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: Vec<_> = (0..5).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in rows {
        for (cell, &width) in row.iter().zip(&widths) {
            text.push_str(cell);
            text.extend(std::iter::repeat_n(' ', width - cell.chars().count() + 2));
        }
        text.push_str(&row[5]);
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_has_columns_and_no_control_characters() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(10_000);
        let record = Execution {
            execution_id: "0190".into(),
            state: State::Running.into(),
            pid: 7,
            caller: "unix:1000\u{1b}[2J".into(),
            create_time: Some(SystemTime::UNIX_EPOCH.into()),
            command: Some(Command {
                argv: ["printf", "a b\n", "it's", ""].map(Into::into).into(),
                ..Command::default()
            }),
            ..Execution::default()
        };
        let rows = [HEADINGS.map(str::to_owned), row(&record, now)];
        assert_eq!(
            table(&rows),
            "ID    STATE    PID  AGE  CALLER            COMMAND\n\
             0190  running  7    2h   unix:1000\\x1b[2J  printf 'a b\\n' 'it'\\''s' ''\n"
        );
    }

    #[test]
    fn long_commands_are_cut_inside_no_character() {
        let shell = "é".repeat(COMMAND_CHARS_MAX + 1);
        let cut = command(Some(&Command {
            shell,
            ..Command::default()
        }));
        assert_eq!(cut, format!("{}…", "é".repeat(COMMAND_CHARS_MAX)));
    }

    #[test]
    fn ages_are_short() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3600, "1h"),
            (90_000, "1d"),
        ] {
            assert_eq!(short(Duration::from_secs(seconds)), text);
        }
    }
}
