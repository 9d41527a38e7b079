//! `remex ping`: whether the server is there, or will be.

use std::time::Duration;

use remex::{VERSION_HEADER, duration, v1::EchoRequest};
use remex_client::{CONNECT_TIMEOUT, Error};
use tokio::time::{Instant, sleep, timeout};
use tonic::Code;

use super::{
    Failure, escape, json, print,
    server::{Server, ServerArgs},
};

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Ask the server whether it is there.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(super) server: ServerArgs,
    /// Keep trying for so long, such as 30s.
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    wait: Option<Duration>,
    /// Print it as a line of JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) async fn ping(server: &Server, args: &Args) -> Result<u8, Failure> {
    let end = args.wait.and_then(|wait| Instant::now().checked_add(wait));
    let mut pause = FIRST_PAUSE;
    loop {
        let error = match ask(server).await {
            Ok(answer) => return report(server, &answer, args.json),
            Err(error) => error,
        };
        // Any other answer comes from a server that is there.
        let may_come = error.code() == Code::Unavailable;
        let left = end.map(|end| end.saturating_duration_since(Instant::now()));
        match left {
            Some(left) if may_come && left > Duration::ZERO => sleep(pause.min(left)).await,
            _ => return Err(error.into()),
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

fn report(server: &Server, answer: &Answer, json: bool) -> Result<u8, Failure> {
    let milliseconds = answer.milliseconds;
    print::out(&if json {
        json::pong(&server.to_string(), answer.version.as_deref(), milliseconds)
    } else {
        let version = answer.version();
        format!("{server}: remexd {version}, {milliseconds:.2} ms\n")
    })?;
    Ok(0)
}

/// How a server answered.
pub(super) struct Answer {
    /// Its version, as it says.
    pub(super) version: Option<String>,
    milliseconds: f64,
}

impl Answer {
    /// Its version, safe to print.
    pub(super) fn version(&self) -> String {
        escape::line(self.version.as_deref().unwrap_or("of an unknown version"))
    }
}

/// Asks with an Echo, which every version answers.
pub(super) async fn ask(server: &Server) -> Result<Answer, Error> {
    let client = server.connect().await?;
    let mut echo = client.echo();
    let begin = Instant::now();
    let answer = timeout(CONNECT_TIMEOUT, echo.echo(EchoRequest::default())).await;
    let silence = || tonic::Status::unavailable(format!("{server} does not answer"));
    let response = answer.map_err(|_| silence())??;
    let milliseconds = begin.elapsed().as_secs_f64() * 1000.0;
    let version = response.metadata().get(VERSION_HEADER);
    let version = version.and_then(|version| Some(version.to_str().ok()?.to_owned()));
    Ok(Answer {
        version,
        milliseconds,
    })
}
