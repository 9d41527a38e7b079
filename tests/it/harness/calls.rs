//! The call that most scenarios make.

use remex::v1::{self, RunRequest, RunResponse};
use remex_client::Client;
use tonic::Status;

use super::soon;

pub(crate) async fn run(client: &Client, command: v1::Command) -> Result<RunResponse, Status> {
    let request = RunRequest {
        command: Some(command),
        ..RunRequest::default()
    };
    let response = soon("a run", client.exec().run(request)).await?;
    Ok(response.into_inner())
}

pub(crate) fn shell(text: &str) -> v1::Command {
    v1::Command {
        shell: text.to_owned(),
        ..v1::Command::default()
    }
}
