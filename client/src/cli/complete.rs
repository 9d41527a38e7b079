//! Completions: the script of a shell asks remex itself, which knows what can be typed, which servers have names, and of the
//! server which executions there are.

use std::{
    env,
    ffi::{OsStr, OsString},
    process::ExitCode,
    time::Duration,
};

use clap::FromArgMatches;
use clap_complete::{ArgValueCompleter, CompleteEnv, CompletionCandidate};
use remex::v1::{Execution, execution::State};
use tokio::{runtime::Builder, time::timeout};

use super::{
    Failure,
    args::definition,
    config::NamedServers,
    ids, ps,
    server::{Server, ServerArgs},
};

/// The variable by which a shell asks: its name is the value.
pub const VARIABLE: &str = "REMEX_COMPLETE";

/// How long whoever pressed the key waits for a server at most.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most ids that are offered.
const MAX_IDS: usize = 100;

/// Executions in any state.
pub(super) const ANY: [State; 0] = [];
/// Executions that can be signalled.
pub(super) const ACTIVE: [State; 2] = [State::Starting, State::Running];
/// Executions that can be forgotten.
pub(super) const ENDED: [State; 1] = [State::Ended];

/// Answers the shell, if it is one that asks.
pub(super) fn answer() -> Option<ExitCode> {
    let here = env::current_dir().ok();
    let asked = CompleteEnv::with_factory(definition).var(VARIABLE);
    match asked.try_complete(env::args_os(), here.as_deref()) {
        Ok(true) => Some(ExitCode::SUCCESS),
        Ok(false) => None,
        Err(error) => Some(Failure::new(error.to_string()).report()),
    }
}

/// Completes a server's name. With a file that cannot be read there is none.
pub(super) fn servers() -> ArgValueCompleter {
    ArgValueCompleter::new(|current: &OsStr| {
        let named = NamedServers::all().unwrap_or_default();
        let names = named.names().filter(|name| begins(name, current));
        names.map(CompletionCandidate::new).collect()
    })
}

/// Completes the id of an execution in one of `states`. Without an answer in time there is none.
pub(super) fn ids(states: &'static [State]) -> ArgValueCompleter {
    ArgValueCompleter::new(move |current: &OsStr| {
        let executions = listed(states).unwrap_or_default();
        offered(&executions, current)
    })
}

fn offered(executions: &[Execution], current: &OsStr) -> Vec<CompletionCandidate> {
    let fitting = executions.iter().filter(|execution| {
        let id = &execution.execution_id;
        is_id(id) && begins(id, current)
    });
    let candidate = |execution: &Execution| {
        let command = ps::command(execution.command.as_ref());
        CompletionCandidate::new(&execution.execution_id).help(Some(command.into()))
    };
    fitting.take(MAX_IDS).map(candidate).collect()
}

/// A server may say anything; what is typed into a shell is an id.
fn is_id(text: &str) -> bool {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '-';
    text.chars().all(is_plain) && !text.starts_with('-') && !text.is_empty()
}

fn begins(text: &str, current: &OsStr) -> bool {
    current
        .to_str()
        .is_some_and(|begin| text.starts_with(begin))
}

fn listed(states: &[State]) -> Option<Vec<Execution>> {
    let server = server(env::args_os())?;
    let runtime = Builder::new_current_thread().enable_all().build().ok()?;
    let list = async {
        let client = server.connect().await.ok()?;
        ids::list(&client, states).await.ok()
    };
    // In the runtime, whose clock it needs.
    let listed = runtime.block_on(async { timeout(PATIENCE, list).await });
    runtime.shutdown_background();
    listed.ok().flatten()
}

/// The server that is named in the line so far, which is behind `--` in what the shell passes.
fn server(words: impl Iterator<Item = OsString>) -> Option<Server> {
    let line = words.skip_while(|word| word != "--").skip(1);
    let matches = definition().ignore_errors(true);
    let matches = matches.try_get_matches_from(line).ok()?;
    let args = |matches| ServerArgs::from_arg_matches(matches).unwrap_or_default();
    let (_, behind) = matches.subcommand()?;
    let typed = args(behind).or(&args(&matches));
    Server::new(&typed, &ServerArgs::of_environment()).ok()
}

#[cfg(test)]
mod tests {
    use remex::v1;

    use super::*;

    #[test]
    fn only_what_is_an_id_is_offered() {
        let execution = |id: &str| Execution {
            execution_id: id.to_owned(),
            command: Some(v1::Command {
                argv: vec!["sleep".into(), "1".into()],
                ..v1::Command::default()
            }),
            ..Execution::default()
        };
        let known = [
            "0190-a",
            "0190-b",
            "0191",
            "0190;reboot",
            "0190 $(x)",
            "-f",
            "",
        ];
        let known = known.map(execution);
        let offered = |current: &str| {
            let candidates = offered(&known, OsStr::new(current));
            let values = candidates
                .iter()
                .map(|candidate| candidate.get_value().to_string_lossy().into_owned());
            values.collect::<Vec<_>>()
        };
        assert_eq!(offered(""), ["0190-a", "0190-b", "0191"]);
        assert_eq!(offered("0190"), ["0190-a", "0190-b"]);
        let many = vec![execution("1"); MAX_IDS + 1];
        let all = super::offered(&many, OsStr::new(""));
        assert_eq!(all.len(), MAX_IDS);
        let help = all[0].get_help().map(ToString::to_string);
        assert_eq!(help.as_deref(), Some("sleep 1"));
    }

    #[test]
    fn the_server_is_that_of_the_line() {
        let of = |line: &str| {
            let words = ["remex", "--"].into_iter().chain(line.split(' '));
            let server = server(words.map(OsString::from))?;
            Some(server.to_string())
        };
        assert_eq!(of("remex -s unix:/s kill 01"), Some("unix:/s".into()));
        assert_eq!(of("remex --server unix:/s kill "), Some("unix:/s".into()));
        assert_eq!(of("remex kill --server unix:/s 01"), Some("unix:/s".into()));
        assert_eq!(of("remex"), None);
    }
}
