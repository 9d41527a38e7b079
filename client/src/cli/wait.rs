//! `remex wait`.

use remex::v1::{WaitRequest, execution::State};
use remex_client::{Client, Exit};

use super::{
    Failure, complete,
    failure::status_of,
    ids, json, print,
    server::{Server, ServerArgs},
};

/// Wait for executions to end, and exit with the exit code of the last one named.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) server: ServerArgs,
    /// The executions: their ids, or the beginning of one.
    #[arg(value_name = "ID", required = true, add = complete::ids(&complete::ANY))]
    ids: Vec<String>,
    /// Print each that has ended as a line of JSON, as `ps` does.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn wait(server: &Server, args: &Args) -> Result<u8, Failure> {
    let client = server.connect().await?;
    let waited = ids::each(&client, &args.ids, async |id| {
        end_of(&client, id, args.json).await
    });
    // A shell's `wait` has the exit code of the last one, too.
    Ok(ids::all(waited.await?)?.unwrap_or(0))
}

async fn end_of(client: &Client, execution_id: String, json: bool) -> Result<u8, Failure> {
    loop {
        let request = WaitRequest {
            execution_id: execution_id.clone(),
            timeout: None,
        };
        let response = client.exec().wait(request).await?.into_inner();
        let record = response.execution.unwrap_or_default();
        if record.state() == State::Ended {
            if json {
                print::out(&json::record(&record))?;
            }
            return status_of(&Exit::from(record.exit.unwrap_or_default()));
        }
    }
}
