//! What it costs that an execution outlives its caller and its server: `cargo bench -p remex-server --bench durable`.
//!
//! The same command, started attached, detached, and detached where its reservation is synced before it runs, one after the
//! other and many at once; its output, of which a journal keeps all, and as it is; a new Run beside a thousand that run and ten
//! thousand that have ended; a start that finds a hundred thousand records; what one that runs takes of memory. What is
//! compared takes turns within each round; figures are medians over rounds, ratios medians of each round's.
//!
//! State folders are made where temporary files are: `TMPDIR` names another disk. `REMEX_SHORT=1` only shows that all of it runs.

#![expect(clippy::print_stdout, reason = "its figures are its output")]

mod beside;
mod crowd;
mod memory;
mod output;
mod records;
mod starts;
#[path = "../support/mod.rs"]
mod support;

use std::{
    env,
    path::Path,
    time::{Duration, Instant},
};

use remex::v1::{self, event::Kind};
use remex_client::Client;

use self::support::{Outcome, Server};

/// How much of each, and how often.
struct Size {
    rounds: usize,
    /// Starts in a round, one after the other.
    starts: usize,
    /// Starts of each of a crowd, in a round.
    crowd_starts: usize,
    /// Of output, each way.
    output_bytes: u64,
    output_rounds: usize,
    /// That run, and that have ended, beside a new one.
    running: usize,
    ended: usize,
    /// That a start finds.
    found: usize,
}

const WHOLE: Size = Size {
    rounds: 25,
    starts: 40,
    crowd_starts: 8,
    output_bytes: 512 << 20,
    output_rounds: 7,
    running: 1000,
    ended: 10_000,
    found: 100_000,
};
const SHORT: Size = Size {
    rounds: 3,
    starts: 10,
    crowd_starts: 2,
    output_bytes: 16 << 20,
    output_rounds: 1,
    running: 20,
    ended: 100,
    found: 500,
};

fn main() -> Outcome<()> {
    if let Some(served) = support::serve() {
        return served;
    }
    let is_short = env::var("REMEX_SHORT").is_ok_and(|value| value == "1");
    let size = if is_short { SHORT } else { WHOLE };
    let folder = tempfile::tempdir()?;
    // As in `remex`: a client that does one thing at a time.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(measure(folder.path(), &size))
}

async fn measure(folder: &Path, size: &Size) -> Outcome<()> {
    let plain = serve(&folder.join("plain"), &[])?;
    let synced = serve(&folder.join("synced"), &["--sync", "start"])?;
    let (plain_client, synced_client) = (connect(&plain).await?, connect(&synced).await?);
    starts::measure(folder, &plain_client, &synced_client, size).await?;
    crowd::measure(&plain_client, &synced_client, size).await?;
    output::measure(&plain_client, size).await?;
    drop((plain, synced));
    let template = records::template(folder).await?;
    beside::measure(folder, &template, size).await?;
    records::measure(folder, &template, size).await
}

/// Starts this build in `folder`, which is made.
fn serve(folder: &Path, flags: &[&str]) -> Outcome<Server> {
    let flags = [&["--no-legacy", "--listen", "127.0.0.1:0"], flags].concat();
    Server::start(folder, support::remexd()?, &flags)
}

async fn connect(server: &Server) -> Outcome<Client> {
    let addresses = server.addresses()?;
    let endpoint = addresses.first().ok_or("no address")?.parse()?;
    Ok(Client::connect(&endpoint).await?)
}

/// A request for a command that goes with its caller, or that does not.
fn request(argv: &[&str], on_disconnect: v1::OnDisconnect) -> v1::StartRequest {
    v1::StartRequest {
        command: Some(v1::Command {
            argv: argv.iter().map(|&part| part.to_owned()).collect(),
            ..v1::Command::default()
        }),
        on_disconnect: on_disconnect.into(),
        ..v1::StartRequest::default()
    }
}

/// An execution that was seen to its end.
struct Seen {
    id: String,
    output_bytes: u64,
}

/// Starts a command, and reads along until it has ended well.
async fn run(client: &Client, request: v1::StartRequest) -> Outcome<Seen> {
    let mut events = client.exec().start(request).await?.into_inner();
    let mut seen = Seen {
        id: String::new(),
        output_bytes: 0,
    };
    while let Some(response) = events.message().await? {
        match response.event.and_then(|event| event.kind) {
            Some(Kind::Started(started)) => seen.id = started.execution_id,
            Some(Kind::Output(output)) => seen.output_bytes += output.data.len() as u64,
            Some(Kind::Exited(exited)) if exited.exit.as_ref().is_some_and(is_success) => {
                return Ok(seen);
            }
            other => return Err(format!("unexpected: {other:?}").into()),
        }
    }
    Err("it ended without an exit".into())
}

fn is_success(exit: &v1::Exit) -> bool {
    exit.code == Some(0)
}

/// How long `count` calls took, each.
async fn times<T, F>(count: usize, call: impl Fn() -> F) -> Outcome<Vec<Duration>>
where
    F: Future<Output = Outcome<T>>,
{
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let begin = Instant::now();
        call().await?;
        times.push(begin.elapsed());
    }
    Ok(times)
}

/// The median, in seconds.
fn median(mut times: Vec<Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64()
}

fn median_figure(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}
