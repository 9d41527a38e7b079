//! What can be typed, and the one line that says what was typed wrong.

use std::{ffi::OsString, process::ExitCode, time::Duration};

use clap::{Parser, error::ErrorKind};
use encoding_rs::Encoding;
use remex::duration;
use remex_client::{Endpoint, Signal};

use super::{
    Failure, print,
    values::{self, EnvVar, Label, LegacyAddress, WireArgs},
};

/// Runs commands on another machine.
///
/// Exit code: the command's own; 128+n if signal n ended it; 124 when its timeout did; 127 if the program does not exist,
/// 126 if it cannot be executed; 255 for every failure of remex itself.
#[derive(Debug, Parser)]
#[command(
    name = "remex",
    version,
    disable_help_subcommand = true,
    arg_required_else_help = false
)]
pub(crate) struct Args {
    /// Where remexd listens: `http://HOST:PORT` or `unix:/PATH`.
    #[arg(
        long,
        global = true,
        value_name = "URI",
        env = "REMEX_SERVER",
        hide_env_values = true,
        default_value_t
    )]
    pub(crate) server: Endpoint,
    #[command(subcommand)]
    pub(crate) command: Subcommand,
}

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Subcommand {
    /// Run a command with stdin, stdout and stderr as if it were local.
    Run(RunArgs),
    /// List executions, newest first.
    Ps,
    /// Wait for an execution to end, and exit with its exit code.
    Wait {
        /// The execution.
        id: String,
    },
    /// Send a signal to an execution.
    Kill {
        /// The signal: `TERM`, `SIGTERM` or `15`.
        #[arg(short, long, value_name = "SIGNAL", default_value_t = Signal::TERM)]
        signal: Signal,
        /// The execution.
        id: String,
    },
    /// Have the server upper-case a text, to try the connection.
    Echo {
        /// The text.
        #[arg(allow_hyphen_values = true)]
        text: String,
    },
    /// Ask the server whether it is there.
    Ping {
        /// Keep trying for so long, such as `30s`.
        #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
        wait: Option<Duration>,
    },
    /// Run a command on a server of the old protocol.
    ///
    /// Exit code: the command's own where the reply tells it, as those of remex's gateway do on the wire json-header;
    /// else 0. 255 for every failure of remex itself.
    Legacy(LegacyArgs),
}

/// The shape of what `--json` prints.
const JSON_HELP: &str = "\
With --json each event is one line, an object whose \"event\" is one of
  started  execution_id, pid
  output   stream (\"stdout\", \"stderr\", \"terminal\"), offset, and text, or data_base64 if it is not UTF-8
  gap      stdout_bytes, stderr_bytes, terminal_bytes: output that is missing
  exited   exit_code (null if there is none), signal (such as \"SIGKILL\", or null), reason (\"self\", \"timeout\",
           \"disconnect\", \"shutdown\", \"signal\", \"lost_start\", \"lost_exit\", \"lost_reboot\", \"unknown\"),
           core_dumped, oom_killed, wall_seconds, user_seconds, system_seconds, max_rss_bytes (or null)
started is the first line, exited the last.";

#[derive(Debug, clap::Args)]
#[command(
    override_usage = "remex run [OPTIONS] -- PROGRAM [ARG]...\n       remex run [OPTIONS] --shell TEXT",
    after_help = JSON_HELP
)]
pub(crate) struct RunArgs {
    /// Run this text with /bin/sh.
    #[arg(long, value_name = "TEXT", conflicts_with = "argv")]
    pub(crate) shell: Option<String>,
    /// Read no stdin; the command's is empty.
    #[arg(short = 'n', long)]
    pub(crate) no_stdin: bool,
    /// Give the command a terminal.
    #[arg(short = 't', long, conflicts_with_all = ["no_stdin", "json"])]
    pub(crate) terminal: bool,
    /// Run it as this user, a name or a number.
    #[arg(short = 'u', long)]
    pub(crate) user: Option<String>,
    /// End it after so long, such as `30s`, `2m` or `500ms`.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
    /// Run it in this folder, an absolute path.
    #[arg(long, value_name = "FOLDER")]
    pub(crate) cwd: Option<String>,
    /// Set a variable of its environment; NAME alone takes the local value.
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<EnvVar>,
    /// Label the execution.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) label: Vec<Label>,
    /// Print events as JSON, one a line, in place of the output.
    #[arg(long)]
    pub(crate) json: bool,
    /// The program and its arguments.
    #[arg(
        value_name = "PROGRAM",
        trailing_var_arg = true,
        required_unless_present = "shell"
    )]
    pub(crate) argv: Vec<OsString>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct LegacyArgs {
    #[command(flatten)]
    pub(crate) wire: WireArgs,
    /// The character set of that server, such as `gbk`.
    #[arg(long, value_name = "LABEL", value_parser = values::charset, default_value = "utf-8")]
    pub(crate) charset: &'static Encoding,
    /// Give up after so long, such as `30s`. Without it a datagram has 40 s, and any other answer as long as it takes.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) timeout: Option<Duration>,
    /// The server: `HOST:PORT`, `udp://HOST:PORT` or `unix:/PATH`.
    #[arg(value_name = "HOST:PORT")]
    pub(crate) address: LegacyAddress,
    /// The command, as one argument.
    #[arg(value_parser = clap::builder::NonEmptyStringValueParser::new(), allow_hyphen_values = true)]
    pub(crate) command: String,
}

/// What is there to say in place of doing anything.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Help, or the version.
    Asked(String),
    /// Something was typed wrong.
    Wrong(Failure),
}

impl Refusal {
    /// Says it.
    pub(crate) fn report(self) -> ExitCode {
        match self {
            Self::Asked(text) => {
                print::asked(&text);
                ExitCode::SUCCESS
            }
            Self::Wrong(failure) => failure.report(),
        }
    }
}

impl Args {
    /// The arguments of this process.
    pub(crate) fn from_command_line() -> Result<Self, Refusal> {
        Self::parse_line(std::env::args_os())
    }

    fn parse_line(
        line: impl IntoIterator<Item = impl Into<OsString> + Clone>,
    ) -> Result<Self, Refusal> {
        Self::try_parse_from(line).map_err(|error| {
            let text = error.render().to_string();
            match error.kind() {
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => Refusal::Asked(text),
                _ => Refusal::Wrong(Failure::new(one_line(&text))),
            }
        })
    }
}

/// clap's paragraphs as one line: what is wrong, what was perhaps meant, where to read on.
fn one_line(text: &str) -> String {
    let mut said = String::new();
    let mut help = "remex --help".to_owned();
    for line in text.lines().map(str::trim) {
        if let Some(usage) = line.strip_prefix("Usage: ") {
            help = format!("{} --help", subcommand(usage));
            break;
        }
        let line = line.strip_prefix("error: ").unwrap_or(line);
        if line.is_empty() || line.starts_with("For more information") {
            continue;
        }
        match said.chars().last() {
            None => {}
            Some(':') => said.push(' '),
            Some(_) => said.push_str("; "),
        }
        said.push_str(line);
    }
    format!("{said}; see `{help}`")
}

/// `remex run` of `remex run [OPTIONS] …`.
fn subcommand(usage: &str) -> String {
    let words = usage.split(' ').enumerate();
    let named =
        words.take_while(|(n, word)| *n < 2 && word.chars().all(|c| c.is_ascii_lowercase()));
    named.map(|(_, word)| word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    fn run_args(line: &[&str]) -> RunArgs {
        match Args::parse_line(line).unwrap().command {
            Subcommand::Run(args) => args,
            other => panic!("{other:?}"),
        }
    }

    fn wrong(line: &[&str]) -> String {
        match Args::parse_line(line).unwrap_err() {
            Refusal::Wrong(failure) => failure.to_string(),
            Refusal::Asked(text) => panic!("{text}"),
        }
    }

    #[test]
    fn the_definition_holds() {
        Args::command().debug_assert();
    }

    #[test]
    fn global_options_stand_before_or_after_the_subcommand() {
        for line in [
            ["remex", "--server", "unix:/s", "ps"],
            ["remex", "ps", "--server", "unix:/s"],
        ] {
            let args = Args::parse_line(line).unwrap();
            assert_eq!(args.server, Endpoint::Unix("/s".into()));
        }
    }

    #[test]
    fn what_follows_the_program_is_its_own() {
        let args = run_args(&["remex", "run", "-n", "--", "ls", "-l", "--", "--server"]);
        assert_eq!(args.argv, ["ls", "-l", "--", "--server"]);
        assert!(args.no_stdin);
        let args = run_args(&["remex", "run", "ls", "-n", "--json"]);
        assert_eq!(args.argv, ["ls", "-n", "--json"]);
        let args = run_args(&["remex", "run", "--", "-x"]);
        assert_eq!(args.argv, ["-x"]);
    }

    #[test]
    fn what_is_wrong_is_said_in_one_line() {
        for (line, text) in [
            (&["remex"][..], "requires a subcommand"),
            (&["remex", "fly"], "unrecognized subcommand 'fly'"),
            (&["remex", "run"], "see `remex run --help`"),
            (
                &["remex", "run", "--resume", "--", "x"],
                "unexpected argument '--resume' found",
            ),
            (&["remex", "run", "--tineout", "3s", "x"], "'--timeout'"),
            (
                &["remex", "run", "--timeout", "soon", "x"],
                "is no duration",
            ),
            (&["remex", "run", "--timeout=-3s", "x"], "is no duration"),
            (&["remex", "run", "-tn", "x"], "cannot be used with"),
            (
                &["remex", "run", "--shell", "a", "--", "b"],
                "cannot be used with",
            ),
            (&["remex", "run", "--env", "=x", "y"], "NAME"),
            (&["remex", "run", "--label", "x", "y"], "KEY=VALUE"),
            (&["remex", "kill", "-s", "NOPE", "x"], "is no signal"),
            (
                &["remex", "ps", "--server", "localhost:1"],
                "write http://HOST:PORT",
            ),
            (
                &["remex", "ps", "--server", "https://x"],
                "https:// is not supported",
            ),
            (&["remex", "legacy", "host", "x"], "HOST:PORT"),
            (
                &["remex", "legacy", "h:1", "x", "--charset", "klingon"],
                "no character set",
            ),
            (&["remex", "legacy", "h:1", ""], "a value is required"),
            (&["remex", "legacy", "h:1/exec", "x"], "--wire"),
            (
                &["remex", "legacy", "h:1", "x", "--wire", "json"],
                "json-header",
            ),
        ] {
            let said = wrong(line);
            assert!(said.contains(text), "{line:?}: {said}");
            assert!(said.ends_with("--help`") && !said.contains('\n'), "{said}");
        }
    }

    #[test]
    fn help_is_no_failure() {
        for line in [["remex", "--help"], ["remex", "--version"]] {
            assert!(matches!(Args::parse_line(line), Err(Refusal::Asked(_))));
        }
    }
}
