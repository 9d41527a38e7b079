//! `remex ps`: executions as a table, as ids, or as JSON.

use std::{
    fmt::Write,
    io::{IsTerminal, stdout},
    time::{Duration, SystemTime},
};

use clap::builder::styling::Style;
use remex::v1::{Command, Execution, execution::State};
use remex_client::{Exit, ExitReason};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use super::{
    Failure, escape, ids, json, print,
    quote::quote,
    server::{Server, ServerArgs},
};

/// The widest a command is shown, on a terminal that is wider, or in a file.
const COMMAND_COLUMNS_MAX: usize = 200;
/// The narrowest, however narrow the terminal is.
const COMMAND_COLUMNS_MIN: usize = 10;
/// How the headings stand out, where there are colours.
const HEADING: Style = Style::new().bold();
/// Blanks between two columns.
const GAP: usize = 2;

/// List the executions that run, newest first.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) server: ServerArgs,
    /// Those that have ended too, and how.
    #[arg(short, long)]
    all: bool,
    /// Print the ids alone.
    #[arg(short, long)]
    quiet: bool,
    /// Print each as a line of JSON.
    #[arg(long, conflicts_with = "quiet")]
    json: bool,
}

pub(crate) async fn ps(server: &Server, args: &Args) -> Result<u8, Failure> {
    let client = server.connect().await?;
    let states: &[State] = if args.all {
        &[]
    } else {
        &[State::Starting, State::Running]
    };
    let executions = ids::list(&client, states).await?;
    if args.json {
        print::out(&executions.iter().map(json::record).collect::<String>())?;
    } else if args.quiet {
        let lines = executions.iter().map(|execution| {
            let id = escape::line(&execution.execution_id);
            format!("{id}\n")
        });
        print::out(&lines.collect::<String>())?;
    } else {
        let rows = rows(&executions, args.all, SystemTime::now());
        print::styled(&table(&rows, columns()))?;
    }
    Ok(0)
}

/// How wide stdout is; `None` if it is no terminal.
fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(rustix::stdio::stdout());
    let size = size.ok().filter(|_| stdout().is_terminal())?;
    Some(size.ws_col.into()).filter(|&columns| columns > 0)
}

/// The cells of the table, headings first, the command last.
fn rows(executions: &[Execution], all: bool, now: SystemTime) -> Vec<Vec<String>> {
    let mut headings = vec!["ID", "STATE", "EXIT", "PID", "AGE", "CALLER", "COMMAND"];
    if !all {
        headings.retain(|&heading| heading != "EXIT");
    }
    let headings = headings.into_iter().map(str::to_owned).collect();
    let rows = executions.iter().map(|record| row(record, all, now));
    std::iter::once(headings).chain(rows).collect()
}

fn row(record: &Execution, all: bool, now: SystemTime) -> Vec<String> {
    let created = record
        .create_time
        .and_then(|time| SystemTime::try_from(time).ok());
    // The server's clock may be ahead of ours.
    let age = created.map(|time| now.duration_since(time).unwrap_or_default());
    let runs = record.state() == State::Running;
    let mut row = vec![
        escape::line(&record.execution_id),
        // It waits for somebody to take its output.
        if record.blocked {
            "blocked".to_owned()
        } else {
            json::state(record.state()).to_owned()
        },
    ];
    if all {
        let exit = record.exit.map(Exit::from);
        row.push(exit.as_ref().map_or_else(|| "-".to_owned(), how));
    }
    row.extend([
        if runs {
            record.pid.to_string()
        } else {
            "-".to_owned()
        },
        age.map_or_else(|| "?".to_owned(), short),
        escape::line(&record.caller),
        command(record.command.as_ref()),
    ]);
    row
}

/// How it ended, in a word: its exit code, the signal that killed it, or who else ended it.
fn how(exit: &Exit) -> String {
    match (exit.reason, exit.signal, exit.code) {
        (ExitReason::Own | ExitReason::Signal | ExitReason::Unknown, Some(signal), _) => {
            signal.to_string()
        }
        (ExitReason::Own | ExitReason::Signal, None, Some(code)) => code.to_string(),
        (reason, ..) => reason.as_str().to_owned(),
    }
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
pub(super) fn command(command: Option<&Command>) -> String {
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
    escape::line(&text)
}

/// `line`, cut to so many columns.
fn cut(line: &str, columns: usize) -> String {
    if line.width() <= columns {
        return line.to_owned();
    }
    let mut left = columns.saturating_sub(1);
    let fits = |c: &char| {
        let width = c.width().unwrap_or(0);
        let fits = width <= left;
        left = left.saturating_sub(width);
        fits
    };
    let mut short: String = line.chars().take_while(fits).collect();
    short.push('…');
    short
}

/// In columns that fit what is in them; the last has what is left of the terminal.
fn table(rows: &[Vec<String>], columns: Option<usize>) -> String {
    let cells = rows.first().map_or(0, Vec::len).saturating_sub(1);
    let width = |column: usize| rows.iter().map(|row| row[column].width()).max();
    let widths: Vec<_> = (0..cells)
        .map(|column| width(column).unwrap_or(0))
        .collect();
    let used: usize = widths.iter().map(|width| width + GAP).sum();
    let left = columns.map_or(COMMAND_COLUMNS_MAX, |columns| columns.saturating_sub(used));
    let left = left.clamp(COMMAND_COLUMNS_MIN, COMMAND_COLUMNS_MAX);
    let mut text = String::new();
    for (index, row) in rows.iter().enumerate() {
        let mut line = String::new();
        for (cell, &width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width - cell.width() + GAP));
        }
        line.push_str(&cut(&row[cells], left));
        let line = line.trim_end_matches(' ');
        let style = [Style::new(), HEADING][usize::from(index == 0)];
        // Into a string nothing fails.
        let _ = writeln!(text, "{style}{line}{style:#}");
    }
    text
}

#[cfg(test)]
mod tests {
    use remex::v1;

    use super::*;

    /// As it is printed where there are no colours.
    fn plain(rows: &[Vec<String>], columns: Option<usize>) -> String {
        anstream::adapter::strip_str(&table(rows, columns)).to_string()
    }

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
        let ended = Execution {
            execution_id: "0191".into(),
            state: State::Ended.into(),
            exit: Some(v1::Exit {
                code: Some(-1),
                signal: 9,
                reason: v1::exit::Reason::Timeout.into(),
                ..v1::Exit::default()
            }),
            ..record.clone()
        };
        let text = |executions: &[Execution], all| plain(&rows(executions, all, now), None);
        assert_eq!(
            text(std::slice::from_ref(&record), false),
            "ID    STATE    PID  AGE  CALLER              COMMAND\n\
             0190  running  7    2h   unix:1000\\u{1b}[2J  printf 'a b\\n' 'it'\\''s' ''\n"
        );
        assert_eq!(
            text(&[ended, record], true),
            "ID    STATE    EXIT     PID  AGE  CALLER              COMMAND\n\
             0191  ended    timeout  -    2h   unix:1000\\u{1b}[2J  printf 'a b\\n' 'it'\\''s' ''\n\
             0190  running  -        7    2h   unix:1000\\u{1b}[2J  printf 'a b\\n' 'it'\\''s' ''\n"
        );
    }

    #[test]
    fn how_it_ended_is_a_word() {
        use v1::exit::Reason as R;
        for (code, signal, reason, word) in [
            (0, 0, R::Self_, "0"),
            (3, 0, R::Self_, "3"),
            (-1, 11, R::Self_, "SIGSEGV"),
            (-1, 9, R::Signal, "SIGKILL"),
            (143, 0, R::Timeout, "timeout"),
            (-1, 15, R::Disconnect, "disconnect"),
            (-1, 0, R::LostExit, "lost_exit"),
            (-1, 0, R::Unspecified, "unknown"),
        ] {
            let (code, reason) = (Some(code), reason.into());
            let exit = v1::Exit {
                code,
                signal,
                reason,
                ..v1::Exit::default()
            };
            assert_eq!(how(&exit.into()), word);
        }
    }

    #[test]
    fn a_table_fits_its_terminal() {
        let row = |command: &str| vec!["id".to_owned(), command.to_owned()];
        let rows = [
            row("short"),
            row("四个汉字四个汉字"),
            row("a longer command"),
        ];
        assert_eq!(
            plain(&rows, Some(14)),
            "id  short\nid  四个汉字…\nid  a longer …\n"
        );
        // Narrower than anything can be shown on.
        assert_eq!(plain(&rows[2..], Some(3)), "id  a longer …\n");
        assert_eq!(plain(&rows[2..], None), "id  a longer command\n");
    }

    #[test]
    fn a_long_command_is_cut_in_a_file_too() {
        let long = "é".repeat(COMMAND_COLUMNS_MAX + 1);
        let cut = format!("{}…\n", "é".repeat(COMMAND_COLUMNS_MAX - 1));
        assert_eq!(plain(&[vec![long]], None), cut);
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
