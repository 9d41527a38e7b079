//! `remex wait`.

use remex::v1::{WaitRequest, execution::State};
use remex_client::{Client, Exit};

use super::{
    Failure,
    failure::status_of,
    ids,
    server::{Server, ServerArgs},
};

/// Wait for executions to end, and exit with the exit code of the last one named.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) server: ServerArgs,
    /// The executions: their ids, or the beginning of one.
    #[arg(value_name = "ID", required = true)]
    ids: Vec<String>,
}

pub(crate) async fn wait(server: &Server, args: &Args) -> Result<u8, Failure> {
    let client = server.connect().await?;
    let waited = ids::each(&client, &args.ids, async |id| end_of(&client, id).await);
    // A shell's `wait` has the exit code of the last one, too.
    Ok(ids::all(waited.await?)?.unwrap_or(0))
}

async fn end_of(client: &Client, execution_id: String) -> Result<u8, Failure> {
    loop {
        let request = WaitRequest {
            execution_id: execution_id.clone(),
            timeout: None,
        };
        let response = client.exec().wait(request).await?.into_inner();
        let record = response.execution.unwrap_or_default();
        if record.state() == State::Ended {
            return status_of(&Exit::from(record.exit.unwrap_or_default()));
        }
    }
}
