//! The tonic services. Messages stop here: `translate` makes typed requests of them, `status` errors, `reply` and
//! `stream` answers; [`exec`] and [`echo`] are what is between; [`run`] is how Run's answer leaves,
//! `answer` what it is.

mod answer;
pub mod echo;
pub mod exec;
mod info;
mod interact;
mod isolation;
mod list;
mod reply;
pub mod run;
pub(crate) mod status;
mod stream;
mod translate;

use remex::v1;
use remex_supervisor::process::CommandSpec;

use crate::execution::EndRecord;

/// A command as records show it.
pub(crate) fn record_command(spec: &CommandSpec, until_end: bool) -> v1::Command {
    reply::command(spec, until_end)
}

/// Why an execution ended, in the API's words.
pub(crate) fn exit_of_record(end: &EndRecord) -> &'static str {
    let exit = reply::exit(&end.exit, end.lost);
    let name = exit.reason().as_str_name();
    name.strip_prefix("REASON_").unwrap_or(name)
}

/// What [`record_command`] has made, perhaps in an earlier version; and whether its output is read to the end of file.
pub(crate) fn command_of_record(command: v1::Command) -> Option<(CommandSpec, bool)> {
    let until_end = command.drain() == v1::command::Drain::Eof;
    let spec = translate::command(command).ok()?;
    Some((spec, until_end))
}
