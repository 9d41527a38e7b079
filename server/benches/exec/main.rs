//! What a unary Run costs over a local vfork, exec and wait of the same command: `cargo bench -p remex-server --bench exec`.
//!
//! The floor, a small server over TCP and over a Unix socket, one with 500 MB resident, one with 1,000 executions running,
//! and the least that a server of tonic can do take turns within each round, each with the same command in an environment
//! of the same size; so does a call that runs nothing. Figures are medians over rounds of each round's median, ratios medians of each round's. Needs a C compiler
//! for the floor.
//!
//! Where the kernel moves processes between CPUs, wake-ups across them come on top, and are the machine's: `taskset -c 0`
//! before it leaves the work alone.

#![expect(clippy::print_stdout, reason = "its figures are its output")]

mod crowd;
mod floor;
mod servers;

use std::{
    error::Error,
    time::{Duration, Instant},
};

use remex::v1::{self, echo_request::Content};
use remex_client::Client;

use self::{
    floor::Floor,
    servers::{BARE, Server, serve},
};

const ROUNDS: usize = 30;
const RUNS: u32 = 60;
const SHELL_TEXT: &str = "echo hi";
const BALLAST_BYTES: usize = 500 << 20;
/// What runs on the busy server meanwhile.
const OTHERS: usize = 1000;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What takes turns, in the order of the turns.
const NAMES: [&str; 7] = [
    "local vfork",
    "Run, small server",
    "Run, 500 MB server",
    "Run, 1,000 others running",
    "Run, over a Unix socket",
    "bare tonic server",
    "Echo, which runs nothing",
];

/// Ratios to the floor that are asked for.
const GOALS: [Option<f64>; 7] = [None, Some(1.40), Some(1.45), None, None, None, None];

fn main() -> Outcome<()> {
    if let Some(served) = serve() {
        return served;
    }
    let folder = tempfile::tempdir()?;
    // As in `remex`: a client that does one thing at a time.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ballast = BALLAST_BYTES.to_string();
    let roles = [
        ("small", "0"),
        ("large", &ballast),
        ("busy", "0"),
        (BARE, BARE),
    ];
    let servers = roles.map(|(name, role)| Server::start(&folder.path().join(name), role));
    let [small, large, busy, bare] = servers;
    let (small, large, busy, bare) = (small?, large?, busy?, bare?);
    let local = runtime.block_on(small.connect("unix:"))?;
    let small = runtime.block_on(small.connect("http:"))?;
    let large = runtime.block_on(large.connect("http:"))?;
    let busy = runtime.block_on(busy.connect("http:"))?;
    let bare = runtime.block_on(bare.connect("http:"))?;
    let others = runtime.block_on(occupy(&busy))?;
    let environment = runtime.block_on(environment(&small))?;
    let mut floor = Floor::start(folder.path(), &environment)?;

    let mut medians: [Vec<Duration>; NAMES.len()] = Default::default();
    let mut ratios: [Vec<f64>; NAMES.len()] = Default::default();
    // The first round warms up and is not counted.
    for round in 0..=ROUNDS {
        let turns = [
            floor.run(RUNS, 1)?,
            runtime.block_on(times(|| run(&small)))?,
            runtime.block_on(times(|| run(&large)))?,
            runtime.block_on(times(|| run(&busy)))?,
            runtime.block_on(times(|| run(&local)))?,
            runtime.block_on(times(|| echo(&bare, b"hi\n")))?,
            runtime.block_on(times(|| echo(&small, b"ECHO HI")))?,
        ]
        .map(median);
        if round == 0 {
            continue;
        }
        for (index, time) in turns.into_iter().enumerate() {
            medians[index].push(time);
            ratios[index].push(time.as_secs_f64() / turns[0].as_secs_f64());
        }
    }
    drop(others);
    println!("sh -c {SHELL_TEXT:?}, p50 of {RUNS} runs, median of {ROUNDS} interleaved rounds");
    let figures = medians
        .map(median)
        .into_iter()
        .zip(ratios.map(median_figure));
    for ((name, goal), (time, ratio)) in NAMES.iter().zip(GOALS).zip(figures) {
        let micros = time.as_secs_f64() * 1e6;
        let goal = goal.map_or_else(String::new, |goal| format!("  (goal {goal:.2})"));
        println!("  {name:26}{micros:7.1} us  {ratio:.2} of the floor{goal}");
    }
    runtime.block_on(crowd::measure(&small, &mut floor))
}

/// Starts [`OTHERS`], which end when they are dropped.
async fn occupy(client: &Client) -> Outcome<Vec<tonic::Streaming<v1::StartResponse>>> {
    let mut others = Vec::with_capacity(OTHERS);
    for _ in 0..OTHERS {
        let request = v1::StartRequest {
            command: Some(v1::Command {
                argv: vec!["sleep".into(), "1000".into()],
                ..v1::Command::default()
            }),
            ..v1::StartRequest::default()
        };
        others.push(client.exec().start(request).await?.into_inner());
    }
    Ok(others)
}

/// The variables of a command's environment, as the server sets it.
async fn environment(client: &Client) -> Outcome<Vec<(String, String)>> {
    let response = client.exec().run(request("env")).await?.into_inner();
    let text = String::from_utf8(response.stdout_data.to_vec())?;
    let pairs = text.lines().filter_map(|line| line.split_once('='));
    Ok(pairs
        .map(|(name, value)| (name.into(), value.into()))
        .collect())
}

fn request(shell: &str) -> v1::RunRequest {
    v1::RunRequest {
        command: Some(v1::Command {
            shell: shell.into(),
            ..v1::Command::default()
        }),
        ..v1::RunRequest::default()
    }
}

/// How long each of [`RUNS`] calls took.
async fn times<F: Future<Output = Outcome<()>>>(call: impl Fn() -> F) -> Outcome<Vec<Duration>> {
    let mut times = Vec::with_capacity(RUNS as usize);
    for _ in 0..RUNS {
        let begin = Instant::now();
        call().await?;
        times.push(begin.elapsed());
    }
    Ok(times)
}

async fn run(client: &Client) -> Outcome<()> {
    let response = client.exec().run(request(SHELL_TEXT)).await?.into_inner();
    expect(&response.stdout_data, b"hi\n")
}

async fn echo(client: &Client, expected: &[u8]) -> Outcome<()> {
    let content = Some(Content::Text(SHELL_TEXT.into()));
    let request = v1::EchoRequest { content };
    let response = client.echo().echo(request).await?.into_inner();
    match response.content {
        Some(v1::echo_response::Content::Text(text)) => expect(text.as_bytes(), expected),
        Some(v1::echo_response::Content::Data(data)) => expect(&data, expected),
        None => Err("an empty answer".into()),
    }
}

fn expect(answer: &[u8], expected: &[u8]) -> Outcome<()> {
    if answer == expected {
        return Ok(());
    }
    Err("the command did not print what it should".into())
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn median_figure(mut figures: Vec<f64>) -> f64 {
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}
