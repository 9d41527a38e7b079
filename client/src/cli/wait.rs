//! `remex wait`.

use remex::v1::{WaitRequest, execution::State};
use remex_client::{Client, Endpoint, Exit};

use super::{Failure, failure::status_of};

pub(crate) async fn wait(server: &Endpoint, execution_id: String) -> Result<u8, Failure> {
    let client = Client::connect(server).await?;
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
