//! `remex echo`.

use remex::v1::{EchoRequest, echo_request, echo_response};

use super::{
    Failure,
    escape::Lines,
    json, print,
    server::{Server, ServerArgs},
};

/// Have the server upper-case a text, to try the connection.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) server: ServerArgs,
    /// The text; words are joined by blanks.
    #[arg(value_name = "TEXT", required = true, allow_hyphen_values = true)]
    words: Vec<String>,
    /// Print it as a line of JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn echo(server: &Server, args: &Args) -> Result<u8, Failure> {
    let client = server.connect().await?;
    let text = args.words.join(" ");
    let content = Some(echo_request::Content::Text(text));
    let response = client.echo().echo(EchoRequest { content }).await?;
    let text = match response.into_inner().content {
        Some(echo_response::Content::Text(text)) => text,
        Some(echo_response::Content::Data(data)) => String::from_utf8_lossy(&data).into_owned(),
        None => String::new(),
    };
    if args.json {
        print::out(&json::echoed(&text))?;
        return Ok(0);
    }
    let mut lines = Lines::default();
    let escaped = lines.piece(&text);
    print::out(&format!("{escaped}{}\n", lines.end()))?;
    Ok(0)
}
