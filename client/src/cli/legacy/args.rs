//! What is typed behind `remex legacy`.

use std::time::Duration;

use encoding_rs::Encoding;
use remex::duration;

use crate::cli::values::{self, LegacyAddress, WireArgs};

/// The shape of what `--json` prints, in lines that no terminal of 80 columns breaks.
const JSON_HELP: &str = "\
With --json each line is an object whose \"event\" is one of
  output  offset, text: what is not of the --charset is replaced
  exited  exit_code (0 where the wire does not tell, null if there is none),
          bytes; the last line, and of a whole answer alone";

/// Run a command on a server of the old protocol.
///
/// Its output is passed through as it is; on a terminal it is decoded, and control characters in it are escaped. Exit
/// code: the command's own where the reply tells it, as those of remex's gateway do on the wire json-header; else 0. 255
/// for every failure of remex itself.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "remex legacy [OPTIONS] HOST:PORT COMMAND...",
    after_long_help = JSON_HELP
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) wire: WireArgs,
    /// The character set of that server, such as gbk.
    #[arg(long, value_name = "LABEL", value_parser = values::charset, default_value = "utf-8")]
    pub(super) charset: &'static Encoding,
    /// Give up after so long, such as 30s. Without it a datagram has 40 s, and any other answer as long as it takes.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(super) timeout: Option<Duration>,
    /// Print the output as JSON, an object a line; see `remex help legacy`.
    #[arg(long)]
    pub(super) json: bool,
    /// The server: HOST:PORT, udp://HOST:PORT or unix:/PATH.
    #[arg(value_name = "HOST:PORT")]
    pub(super) address: LegacyAddress,
    /// The command; words are joined by blanks, as ssh does.
    #[arg(
        value_name = "COMMAND",
        required = true,
        trailing_var_arg = true,
        allow_hyphen_values = true
    )]
    words: Vec<String>,
}

impl Args {
    /// The command as it goes out.
    pub(super) fn command(&self) -> String {
        self.words.join(" ")
    }

    /// There is something to send: no wire can tell an empty command from none.
    pub(in crate::cli) fn check(&self) -> Result<(), String> {
        if self.command().trim().is_empty() {
            return Err("COMMAND is empty; write what to run there".to_owned());
        }
        Ok(())
    }
}
