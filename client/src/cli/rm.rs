//! `remex rm`.

use remex::v1::DeleteRequest;

use super::{
    Failure, complete, ids, json, print,
    server::{Server, ServerArgs},
};

/// Forget executions that have ended.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) server: ServerArgs,
    /// The executions: their ids, or the beginning of one.
    #[arg(value_name = "ID", required = true, add = complete::ids(&complete::ENDED))]
    ids: Vec<String>,
    /// Print each that is forgotten as a line of JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn rm(server: &Server, args: &Args) -> Result<u8, Failure> {
    let client = server.connect().await?;
    let deleted = ids::each(&client, &args.ids, async |execution_id| {
        let request = DeleteRequest {
            execution_id: execution_id.clone(),
        };
        client.exec().delete(request).await?;
        if args.json {
            print::out(&json::named(&execution_id))?;
        }
        Ok(())
    });
    ids::all(deleted.await?)?;
    Ok(0)
}
