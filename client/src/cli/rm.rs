//! `remex rm`.

use remex::v1::DeleteRequest;

use super::{
    Failure, complete, ids,
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
}

pub(crate) async fn rm(server: &Server, args: &Args) -> Result<u8, Failure> {
    let client = server.connect().await?;
    let deleted = ids::each(&client, &args.ids, async |execution_id| {
        client.exec().delete(DeleteRequest { execution_id }).await?;
        Ok(())
    });
    ids::all(deleted.await?)?;
    Ok(0)
}
