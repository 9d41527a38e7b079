//! `remex kill`.

use std::ffi::OsString;

use remex::v1::{SignalRequest, execution::State};
use remex_client::{Error, Reason, Signal};

use super::{
    Failure, complete, ids, json, print,
    server::{Server, ServerArgs},
    values,
};

/// Send a signal to executions.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "remex kill [-s SIGNAL | -SIGNAL] ID...\n       remex kill [-s SIGNAL | -SIGNAL] --all",
    // Behind `kill` it is the signal's, as everywhere.
    mut_arg("server", |server| server.short(None))
)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) server: ServerArgs,
    /// The signal: TERM, SIGTERM or 15; -9 and -KILL do as well [default: TERM]
    #[arg(short, long, value_name = "SIGNAL", value_parser = values::signal, allow_hyphen_values = true)]
    signal: Option<Signal>,
    /// Everything that runs and may be seen by you, what outlives its callers too.
    #[arg(long, conflicts_with = "ids")]
    all: bool,
    /// The executions: their ids, or the beginning of one.
    #[arg(value_name = "ID", required_unless_present = "all", add = complete::ids(&complete::ACTIVE))]
    ids: Vec<String>,
    /// Print each that was sent the signal as a line of JSON.
    #[arg(long)]
    json: bool,
}

/// `words` with each `-9` and `-KILL`, from the word at `begin` on, as the value of `--signal`.
pub(super) fn with_signals_named(words: &[OsString], begin: usize) -> Vec<OsString> {
    let end = words.iter().position(|word| word == "--");
    let mut named = words.to_vec();
    for index in begin..end.unwrap_or(words.len()) {
        let is_value = ["-s", "--signal"]
            .iter()
            .any(|option| words[index - 1] == *option);
        if let Some(word) = words[index].to_str()
            && is_signal(word)
            && !is_value
        {
            named[index] = format!("--signal={word}").into();
        }
    }
    named
}

/// Whether this can only be meant as a signal, if a wrong one.
fn is_signal(word: &str) -> bool {
    match word.strip_prefix('-') {
        None | Some("" | "h" | "V") => false,
        Some(name) if name.starts_with('-') => false,
        // `-s9` is an option with its value.
        Some(name) if name.starts_with('s') => values::signal(name).is_ok(),
        Some(_) => true,
    }
}

pub(crate) async fn kill(server: &Server, args: &Args) -> Result<u8, Failure> {
    let client = server.connect().await?;
    let signal = args.signal.unwrap_or(Signal::TERM);
    let named = if args.all {
        let running = ids::list(&client, &[State::Starting, State::Running]).await?;
        running
            .into_iter()
            .map(|record| record.execution_id)
            .collect()
    } else {
        args.ids.clone()
    };
    let signalled = ids::each(&client, &named, async |execution_id| {
        let request = SignalRequest {
            execution_id: execution_id.clone(),
            signal: signal.number().into(),
        };
        match client.exec().signal(request).await.map_err(Error::from) {
            // It was listed, and ended by itself.
            Err(error) if args.all && has_gone(&error) => Ok(()),
            Err(error) => Err(error.into()),
            Ok(_) if args.json => print::out(&json::signalled(&execution_id, signal)),
            Ok(_) => Ok(()),
        }
    });
    ids::all(signalled.await?)?;
    Ok(0)
}

fn has_gone(error: &Error) -> bool {
    let gone = [Reason::ExecutionEnded, Reason::ExecutionNotFound];
    error.reason().is_some_and(|reason| gone.contains(&reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_may_be_an_option_of_its_own() {
        for (typed, named) in [
            ("-9 x y", "--signal=-9 x y"),
            ("x -KILL", "x --signal=-KILL"),
            ("-SIGRTMIN+3 x", "--signal=-SIGRTMIN+3 x"),
            ("-stop x", "--signal=-stop x"),
            ("-NOPE x", "--signal=-NOPE x"),
            ("-s -9 x", "-s -9 x"),
            ("--signal -9 x", "--signal -9 x"),
            ("-sKILL -h --server x", "-sKILL -h --server x"),
            ("- x", "- x"),
            ("-- -9", "-- -9"),
        ] {
            let words: Vec<OsString> = typed.split(' ').map(Into::into).collect();
            let expected: Vec<OsString> = named.split(' ').map(Into::into).collect();
            let all = [&["kill".into()], &words[..]].concat();
            assert_eq!(with_signals_named(&all, 1)[1..], expected, "{typed}");
        }
    }
}
