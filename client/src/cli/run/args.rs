//! What is typed behind `remex run`.

use std::{ffi::OsString, time::Duration};

use clap::ValueEnum;
use remex::duration;

use crate::cli::{
    later,
    server::ServerArgs,
    usage::Typed,
    values::{self, EnvVar, Label},
};

/// The shape of what `--json` prints, in lines that no terminal of 80 columns breaks.
const JSON_HELP: &str = "\
With --json each event is one line, an object whose \"event\" is one of
  started  execution_id, pid
  output   stream (\"stdout\", \"stderr\", \"terminal\"), offset,
           and text, or data_base64 if it is not UTF-8
  gap      stdout_bytes, stderr_bytes, terminal_bytes: output that is missing
  exited   exit_code (null if there is none),
           signal (such as \"SIGKILL\", or null),
           reason (\"self\", \"timeout\", \"disconnect\", \"shutdown\", \"signal\",
           \"lost_start\", \"lost_exit\", \"lost_reboot\", \"unknown\"),
           core_dumped, oom_killed, wall_seconds, user_seconds,
           system_seconds, max_rss_bytes (or null)
started is the first line, exited the last.

With -t, at the beginning of a line:
  ~.   ends the command, and remex
  ~^Z  suspends remex; the command runs on
  ~~   types a ~";

/// Run a command with stdin, stdout and stderr as if it were local.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "remex run [OPTIONS] -- PROGRAM [ARG]...\n       remex run [OPTIONS] --shell TEXT",
    after_help = "`remex help run` says more: what --json prints, and the keys of -t.",
    after_long_help = JSON_HELP
)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is an option of its own"
)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(in crate::cli) server: ServerArgs,
    /// Run this text with /bin/sh.
    #[arg(long, value_name = "TEXT", value_parser = values::shell, conflicts_with = "argv")]
    pub(in crate::cli) shell: Option<String>,
    /// Read no stdin; the command's is empty.
    #[arg(short = 'n', long)]
    pub(in crate::cli) no_stdin: bool,
    /// Forward stdin, as is done without it too.
    #[arg(short, long, hide = true, conflicts_with = "no_stdin")]
    interactive: bool,
    /// Give the command a terminal.
    #[arg(short = 't', long, alias = "tty", conflicts_with_all = ["no_stdin", "json"], overrides_with = "terminal")]
    pub(in crate::cli) terminal: bool,
    /// Run it as this user: a name, a number or UID:GID.
    #[arg(short, long, value_parser = values::user)]
    pub(in crate::cli) user: Option<String>,
    /// End it after so long, such as 30s, 1h30m or 90.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(in crate::cli) timeout: Option<Duration>,
    /// Run it in this folder, an absolute path.
    #[arg(long, alias = "workdir", short_alias = 'w', value_name = "FOLDER", value_parser = values::folder)]
    pub(in crate::cli) cwd: Option<String>,
    /// Set a variable of its environment; NAME alone takes the local value.
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(in crate::cli) env: Vec<EnvVar>,
    /// How long output of what it left in the background is waited for: bounded (at most 1 s), or eof, as ssh does.
    #[arg(
        long,
        value_name = "HOW",
        default_value = "bounded",
        hide_possible_values = true
    )]
    pub(in crate::cli) drain: Drain,
    /// Label the execution.
    #[arg(long, value_name = "KEY=VALUE")]
    pub(in crate::cli) label: Vec<Label>,
    /// What happens when remex goes, or its connection.
    #[arg(
        long,
        value_name = "WHAT",
        default_value = "kill",
        hide_possible_values = true
    )]
    on_disconnect: OnDisconnect,
    /// Print events as JSON, one a line, in place of the output.
    #[arg(long)]
    pub(in crate::cli) json: bool,
    /// Do not say why the command was ended if it was not by itself.
    #[arg(short, long)]
    pub(in crate::cli) quiet: bool,
    #[command(flatten)]
    later: later::Durability,
    /// The program and its arguments.
    #[arg(
        value_name = "PROGRAM",
        trailing_var_arg = true,
        required_unless_present = "shell"
    )]
    pub(in crate::cli) argv: Vec<OsString>,
    #[arg(skip)]
    pub(in crate::cli) typed: Typed,
}

/// How long output is waited for that others than the command itself may still write.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Drain {
    Bounded,
    Eof,
}

/// What happens to the command when nobody is connected to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnDisconnect {
    Kill,
    Grace,
    Detach,
}

impl RunArgs {
    /// Nothing of it is for a later version.
    pub(in crate::cli) fn check(&self) -> Result<(), String> {
        self.later.check()?;
        later::refuse([
            (
                "--on-disconnect grace",
                self.on_disconnect == OnDisconnect::Grace,
            ),
            (
                "--on-disconnect detach",
                self.on_disconnect == OnDisconnect::Detach,
            ),
        ])
    }
}
