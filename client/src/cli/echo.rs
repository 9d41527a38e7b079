//! `remex echo`.

use remex::v1::{EchoRequest, echo_request, echo_response};
use remex_client::{Client, Endpoint};

use super::{Failure, escape::Lines, print};

pub(crate) async fn echo(server: &Endpoint, text: String) -> Result<u8, Failure> {
    let client = Client::connect(server).await?;
    let content = Some(echo_request::Content::Text(text));
    let response = client.echo().echo(EchoRequest { content }).await?;
    let text = match response.into_inner().content {
        Some(echo_response::Content::Text(text)) => text,
        Some(echo_response::Content::Data(data)) => String::from_utf8_lossy(&data).into_owned(),
        None => String::new(),
    };
    let mut lines = Lines::default();
    let escaped = lines.piece(&text);
    print::out(&format!("{escaped}{}\n", lines.end()))?;
    Ok(0)
}
