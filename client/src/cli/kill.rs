//! `remex kill`.

use remex::v1::SignalRequest;
use remex_client::{Client, Endpoint, Signal};

use super::Failure;

pub(crate) async fn kill(
    server: &Endpoint,
    execution_id: String,
    signal: Signal,
) -> Result<u8, Failure> {
    let client = Client::connect(server).await?;
    let signal = signal.number().into();
    let request = SignalRequest {
        execution_id,
        signal,
    };
    client.exec().signal(request).await?;
    Ok(0)
}
