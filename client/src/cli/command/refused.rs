//! Why a command was not run, in the words in which it was typed. Pure.

use std::time::Duration;

use jiff::{
    SignedDuration,
    fmt::friendly::{Designator, Spacing, SpanPrinter},
};
use remex_client::{Error, Reason};

use super::CommandArgs;
use crate::cli::{Failure, failure::field_of, quote::quote};

/// `2 s`, `1 h 30 m`.
pub(in crate::cli) fn spoken(duration: Duration) -> String {
    let printer = SpanPrinter::new()
        .designator(Designator::Compact)
        .spacing(Spacing::BetweenUnitsAndDesignators);
    match SignedDuration::try_from(duration) {
        Ok(duration) => printer.duration_to_string(&duration),
        Err(_) => format!("{duration:?}"),
    }
}

/// Why the command was not run.
pub(in crate::cli) fn refused(error: Error, args: &CommandArgs) -> Failure {
    let said = match (&error, error.reason()) {
        (Error::Unheeded("durable"), _) => Some(
            "the server is of an older version, whose commands end with their callers; bring it up to date".to_owned(),
        ),
        (Error::Unheeded(feature), _) => {
            let option = args.typed.name(&format!("--{feature}"));
            Some(format!("{option}: {error}"))
        }
        (_, Some(reason)) => in_typed_words(&error, reason, args),
        (_, None) => None,
    };
    let failure = Failure::from(error);
    match said {
        Some(said) => failure.saying(said),
        None => failure,
    }
}

fn in_typed_words(error: &Error, reason: Reason, args: &CommandArgs) -> Option<String> {
    let said = error.to_string();
    match reason {
        Reason::ProgramNotFound => Some(format!("{said}{}", shell_hint(args)?)),
        Reason::UserNotFound => {
            let user = args.user.as_ref()?;
            let option = args.typed.name("--user");
            Some(format!(
                "{option} {user:?}: there is no such user on the server ({reason})"
            ))
        }
        Reason::RequestIdConflict | Reason::RequestIdRetired => {
            Some(format!("{}: {said}", args.typed.name("--request-id")))
        }
        Reason::UserSwitchUnavailable => Some(format!("{}: {said}", args.typed.name("--user"))),
        Reason::WorkingDirectoryNotFound => {
            let folder = args.cwd.as_ref()?;
            let subject = format!("working directory {folder:?}: ");
            let why = said.strip_prefix(&subject).unwrap_or(&said);
            let option = args.typed.name("--cwd");
            Some(format!("{option} {folder:?}: {why}"))
        }
        _ => {
            let (field, why) = field_of(error)?;
            Some(format!("{} {why} ({reason})", option_of(&field, args)?))
        }
    }
}

/// What a program with blanks in its name was probably meant to be.
fn shell_hint(args: &CommandArgs) -> Option<String> {
    let [program] = &args.argv[..] else {
        return None;
    };
    let text = program.to_str()?;
    let has_blanks = text.trim().contains(char::is_whitespace);
    has_blanks.then(|| {
        let text = quote(text);
        let subcommand = args.typed.subcommand();
        format!("; for a line of a shell write: {subcommand} --shell {text}")
    })
}

/// The option that a field of the request stands for.
fn option_of(field: &str, args: &CommandArgs) -> Option<String> {
    let (name, index) = match field.split_once('[') {
        Some((name, rest)) => (name, rest.strip_suffix(']')),
        None => (field, None),
    };
    let option = match name {
        "command.argv" | "command.argv_raw" => {
            return Some(match index {
                None | Some("0") => "PROGRAM".to_owned(),
                Some(index) => format!("argument {index}"),
            });
        }
        "command" => "the command",
        "command.shell" => "--shell",
        "command.working_directory" => "--cwd",
        "command.environment" => "--env",
        "command.user" => "--user",
        "command.timeout" => "--timeout",
        "command.drain" => "--drain",
        "command.terminal.term" => "TERM, which -t passes on,",
        "command.terminal" | "command.terminal.rows" | "command.terminal.columns" => "-t",
        "labels" => "--label",
        "request_id" => "--request-id",
        _ => return None,
    };
    let option = if option.starts_with("--") {
        args.typed.name(option)
    } else {
        option.to_owned()
    };
    Some(match index {
        Some(index) => format!("{option} {index}"),
        None => option,
    })
}

#[cfg(test)]
mod tests {
    use tonic::Status;

    use super::*;
    use crate::cli::{run::RunArgs, usage::Typed};

    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: RunArgs,
    }

    fn args(words: &[&str]) -> CommandArgs {
        let words = [&["run"], words].concat();
        let mut args = <Line as clap::Parser>::parse_from(&words).args.command;
        args.typed = Typed(["remex"].iter().chain(&words).map(Into::into).collect());
        args
    }

    fn said(words: &[&str], status: Status) -> String {
        refused(Error::from(status), &args(words)).to_string()
    }

    #[test]
    fn refusals_name_what_was_typed() {
        let folder = "working directory \"/x\": No such file or directory";
        for (words, status, expected) in [
            (
                &["--cwd", "/x", "ls"][..],
                Reason::WorkingDirectoryNotFound.status(folder),
                r#"--cwd "/x": No such file or directory (WORKING_DIRECTORY_NOT_FOUND)"#,
            ),
            (
                &["-u", "x", "ls"],
                Reason::UserNotFound.status("user \"x\" not found"),
                r#"-u "x": there is no such user on the server (USER_NOT_FOUND)"#,
            ),
            (
                &["--user", "x", "ls"],
                Reason::UserNotFound.status("user \"x\" not found"),
                r#"--user "x": there is no such user on the server (USER_NOT_FOUND)"#,
            ),
            (
                &["-w/x", "ls"],
                Reason::WorkingDirectoryNotFound.status(folder),
                r#"-w "/x": No such file or directory (WORKING_DIRECTORY_NOT_FOUND)"#,
            ),
            (
                &["ls", "-l"],
                Reason::CommandTooLarge.field("command.argv[1]", "has 200000 bytes"),
                "argument 1 has 200000 bytes (COMMAND_TOO_LARGE)",
            ),
            (
                &["-t", "ls"],
                Reason::InvalidField.field("command.terminal.rows", "is more than 65,535"),
                "-t is more than 65,535 (INVALID_FIELD)",
            ),
            (
                &["ls -l"],
                Reason::ProgramNotFound.status("program \"ls -l\" not found"),
                "program \"ls -l\" not found (PROGRAM_NOT_FOUND); for a line of a shell write: remex run --shell 'ls -l'",
            ),
            (
                &["ls"],
                Reason::ProgramNotFound.status("program \"ls\" not found"),
                "program \"ls\" not found (PROGRAM_NOT_FOUND)",
            ),
        ] {
            assert_eq!(said(words, status), expected);
        }
    }

    #[test]
    fn durations_are_spoken_with_their_units() {
        for (millis, said) in [
            (2000, "2 s"),
            (100, "100 ms"),
            (61_000, "1 m 1 s"),
            (0, "0 s"),
        ] {
            assert_eq!(spoken(Duration::from_millis(millis)), said);
        }
    }

    #[test]
    fn fields_are_named_as_they_are_typed() {
        for (field, option) in [
            ("command.argv[0]", Some("PROGRAM")),
            ("command.argv_raw[2]", Some("argument 2")),
            ("command.environment[\"A=\"]", Some("-e \"A=\"")),
            ("labels", Some("--label")),
            ("command.timeout", Some("--timeout")),
            ("stdin_data", None),
        ] {
            let args = args(&["-e", "A=", "--label", "a=b", "--timeout", "9", "x"]);
            assert_eq!(option_of(field, &args).as_deref(), option);
        }
    }
}
