//! `remex kill`.

use remex::v1::SignalRequest;
use remex_client::{Client, Endpoint, Signal};

use super::{Failure, args::ServerArgs, ids, values};

/// Send a signal to executions.
#[derive(Debug, clap::Args)]
#[command(override_usage = "remex kill [-s SIGNAL | -SIGNAL] ID...")]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) server: ServerArgs,
    /// The signal: TERM, SIGTERM or 15; -9 and -KILL do as well [default: TERM]
    #[arg(short, long, value_name = "SIGNAL", value_parser = values::signal, allow_hyphen_values = true)]
    signal: Option<Signal>,
    /// The executions: their ids, or the beginning of one.
    #[arg(value_name = "ID", required = true, allow_hyphen_values = true)]
    ids: Vec<String>,
}

impl Args {
    /// Takes `-9` from among the ids, where nothing else can be meant.
    pub(super) fn check(&mut self) -> Result<(), String> {
        let mut ids = Vec::new();
        for word in self.ids.drain(..) {
            let Some(name) = word.strip_prefix('-') else {
                ids.push(word);
                continue;
            };
            // -sKILL is not told from -KILL before this.
            let signal = values::signal(name)
                .or_else(|error| values::signal(name.strip_prefix('s').ok_or(error)?))
                .map_err(|_| format!("unexpected argument '{word}', which is no signal either"))?;
            if self.signal.replace(signal).is_some() {
                return Err(format!("{word} is a second signal; leave one out"));
            }
        }
        if ids.is_empty() {
            return Err("ID is missing".to_owned());
        }
        self.ids = ids;
        Ok(())
    }
}

pub(crate) async fn kill(server: &Endpoint, args: &Args) -> Result<u8, Failure> {
    let client = Client::connect(server).await?;
    let signal = i32::from(args.signal.unwrap_or(Signal::TERM).number());
    let signalled = ids::each(&client, &args.ids, async |execution_id| {
        let request = SignalRequest {
            execution_id,
            signal,
        };
        client.exec().signal(request).await?;
        Ok(())
    });
    ids::all(signalled.await?)?;
    Ok(0)
}
