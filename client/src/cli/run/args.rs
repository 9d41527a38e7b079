//! What is typed behind `remex run`.

use clap::ValueEnum;
use remex_client::{Command, v1};

use super::session::Hold;
use crate::cli::{command::CommandArgs, server::ServerArgs};

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
and each has its sequence. started is the first line, exited the last.

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
    #[command(flatten)]
    pub(in crate::cli) command: CommandArgs,
    /// Read no stdin; the command's is empty.
    #[arg(short = 'n', long)]
    pub(in crate::cli) no_stdin: bool,
    /// Forward stdin, as is done without it too.
    #[arg(short, long, hide = true, conflicts_with = "no_stdin")]
    interactive: bool,
    /// Give the command a terminal.
    #[arg(short = 't', long, alias = "tty", conflicts_with_all = ["no_stdin", "json"], overrides_with = "terminal")]
    pub(in crate::cli) terminal: bool,
    /// What happens when remex goes, or its connection: kill (the default), grace (killed unless somebody attaches within
    /// 60 s; the default with --request-id), or detach (it runs on).
    #[arg(long, value_name = "WHAT", hide_possible_values = true)]
    on_disconnect: Option<OnDisconnect>,
    /// Ride through lost connections and restarts of remexd, with nothing lost and nothing run twice; implies
    /// --on-disconnect grace.
    #[arg(long)]
    resume: bool,
    #[arg(short, long, hide = true)]
    detach: bool,
    /// Print events as JSON, one a line, in place of the output.
    #[arg(long)]
    pub(in crate::cli) json: bool,
    /// Do not say why the command was ended if it was not by itself.
    #[arg(short, long)]
    pub(in crate::cli) quiet: bool,
}

/// What happens to the command when nobody is connected to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum OnDisconnect {
    Kill,
    Grace,
    Detach,
}

impl RunArgs {
    /// What clap cannot check.
    pub(in crate::cli) fn check(&self) -> Result<(), String> {
        if self.detach {
            return Err(
                "-d is not for run; write `remex start`, which leaves it running".to_owned(),
            );
        }
        let kills = self.on_disconnect == Some(OnDisconnect::Kill);
        if self.resume && kills {
            return Err(
                "--resume cannot be used with --on-disconnect kill, which leaves nothing to go on with"
                    .to_owned(),
            );
        }
        Ok(())
    }

    /// `command`, with what becomes of it without remex.
    pub(super) fn durable(&self, mut command: Command) -> Command {
        if let Some(what) = self.on_disconnect {
            command = command.on_disconnect(match what {
                OnDisconnect::Kill => v1::OnDisconnect::Kill,
                OnDisconnect::Grace => v1::OnDisconnect::Grace,
                OnDisconnect::Detach => v1::OnDisconnect::Detach,
            });
        }
        if self.resume {
            command.resume()
        } else {
            command
        }
    }

    /// What a lost connection means for it.
    pub(super) fn hold(&self) -> Hold {
        match self.on_disconnect {
            Some(OnDisconnect::Kill) => Hold::Ends,
            None if !self.resume && self.command.request_id.is_none() => Hold::Ends,
            _ => Hold::Outlives,
        }
    }
}
