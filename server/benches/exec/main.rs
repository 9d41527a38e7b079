//! What a unary Run costs over a local vfork, exec and wait of the same command: `cargo bench -p remex-server --bench exec`.
//!
//! The floor, a small server over TCP and over a Unix socket, one with 500 MB resident, one with 1,000 executions running,
//! and the least that a server of tonic can do take turns within each round, each with the same command in an environment
//! of the same size; so does a call that runs nothing. Figures are medians over rounds of each round's median, ratios medians of
//! each round's; what is asked of a Run over the bare server is the median of five such ratios. Needs a C compiler for the
//! floor.
//!
//! Where the kernel moves processes between CPUs, wake-ups across them come on top, and are the machine's: `taskset -c 0`
//! before it leaves the work alone.
//!
//! `REMEX_BENCH_OTHER=/path/to/remexd` has an older build take turns with this one.

#![expect(clippy::print_stdout, reason = "its figures are its output")]

mod bare;
mod crowd;
mod floor;
#[path = "../support/mod.rs"]
mod support;

use std::{
    env,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use remex::v1::{self, echo_request::Content};
use remex_client::Client;
use tokio::runtime::Runtime;

use self::{
    floor::Floor,
    support::{BALLAST_VARIABLE, Outcome, Server, remexd},
};

const ROUNDS: usize = 30;
const RUNS: u32 = 60;
const SHELL_TEXT: &str = "echo hi";
const BALLAST_BYTES: usize = 500 << 20;
/// What runs on the busy server meanwhile.
const OTHERS: usize = 1000;

/// Ratios over the bare server, each of as many rounds, of which the median counts.
const REPEATS: usize = 5;

/// What takes turns, in the order of the turns.
const NAMES: [&str; 8] = [
    "local vfork",
    "Run, small server",
    "Run, 500 MB server",
    "Run, 1,000 others running",
    "Run, over a Unix socket",
    "bare tonic server",
    "Echo, which runs nothing",
    "Run, other build",
];
const SMALL: usize = 1;
const BARE_SERVER: usize = 5;
const OTHER: usize = 7;

/// Ratios to the floor that are asked for.
const GOALS: [Option<f64>; NAMES.len()] = [None, Some(1.45), None, None, None, None, None, None];

/// The medians of one round, in seconds, in the order of the turns; not a number for who is not there.
type Turns = [f64; NAMES.len()];

/// A client each of whoever takes turns, and what they talk to.
struct Peers {
    runtime: Runtime,
    floor: Floor,
    small: Client,
    large: Client,
    busy: Client,
    local: Client,
    bare: Client,
    other: Option<Client>,
    /// What runs on the busy server. Dropped before the servers are, it ends at once.
    _running: Vec<tonic::Streaming<v1::StartResponse>>,
    _servers: Vec<Server>,
}

fn main() -> Outcome<()> {
    if let Some(served) = support::serve().or_else(bare::serve) {
        return served;
    }
    let folder = tempfile::tempdir()?;
    let mut peers = Peers::start(folder.path())?;
    let rounds = if is_short() { REPEATS } else { ROUNDS };
    // The first round warms up and is not counted.
    peers.round()?;
    let turns = (0..rounds)
        .map(|_| peers.round())
        .collect::<Outcome<Vec<_>>>()?;
    println!("sh -c {SHELL_TEXT:?}, p50 of {RUNS} runs, median of {rounds} interleaved rounds");
    report(&turns);
    let Peers {
        runtime,
        floor,
        small,
        other,
        ..
    } = &mut peers;
    runtime.block_on(crowd::measure(small, other.as_ref(), floor))
}

fn is_short() -> bool {
    env::var("REMEX_SHORT").is_ok_and(|value| value == "1")
}

impl Peers {
    fn start(folder: &Path) -> Outcome<Self> {
        // As in `remex`: a client that does one thing at a time.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let small_server = start(&folder.join("small"), remexd()?)?;
        let mut large = remexd()?;
        large.env(BALLAST_VARIABLE, BALLAST_BYTES.to_string());
        let large_server = start(&folder.join("large"), large)?;
        let busy_server = start(&folder.join("busy"), remexd()?)?;
        let bare_server = bare::start(&folder.join("bare"))?;
        let connect = |server: &Server| runtime.block_on(connect(server, "http:"));
        let local = runtime.block_on(self::connect(&small_server, "unix:"))?;
        let [small, large, busy, bare] =
            [&small_server, &large_server, &busy_server, &bare_server].map(connect);
        let (small, busy) = (small?, busy?);
        let environment = runtime.block_on(environment(&small))?;
        let mut servers = vec![small_server, large_server, busy_server, bare_server];
        let other = match env::var_os("REMEX_BENCH_OTHER") {
            Some(program) => {
                let server = start(&folder.join("other"), Command::new(program))?;
                let client = connect(&server)?;
                servers.push(server);
                Some(client)
            }
            None => None,
        };
        Ok(Self {
            floor: Floor::start(folder, &environment)?,
            small,
            large: large?,
            local,
            bare: bare?,
            other,
            _running: runtime.block_on(occupy(&busy))?,
            busy,
            _servers: servers,
            runtime,
        })
    }

    /// Everybody's turn.
    fn round(&mut self) -> Outcome<Turns> {
        let runtime = &self.runtime;
        let remexd = |client: &Client| runtime.block_on(times(|| run(client)));
        let mut turns = [f64::NAN; NAMES.len()];
        let times = [
            self.floor.run(RUNS, 1)?,
            remexd(&self.small)?,
            remexd(&self.large)?,
            remexd(&self.busy)?,
            remexd(&self.local)?,
            runtime.block_on(times(|| echo(&self.bare, b"hi\n")))?,
            runtime.block_on(times(|| echo(&self.small, b"ECHO HI")))?,
        ];
        for (turn, times) in turns.iter_mut().zip(times) {
            *turn = median(times).as_secs_f64();
        }
        if let Some(other) = &self.other {
            turns[OTHER] = median(remexd(other)?).as_secs_f64();
        }
        Ok(turns)
    }
}

fn report(rounds: &[Turns]) {
    let column = |of: &dyn Fn(&Turns) -> f64| median_figure(rounds.iter().map(of).collect());
    for (index, (name, goal)) in NAMES.iter().zip(GOALS).enumerate() {
        let micros = column(&|turns| turns[index] * 1e6);
        if micros.is_nan() {
            continue;
        }
        let ratio = column(&|turns| turns[index] / turns[0]);
        let goal = goal.map_or_else(String::new, |goal| format!("  (goal {goal:.2})"));
        println!("  {name:26}{micros:7.1} us  {ratio:.2} of the floor{goal}");
    }
    let over_bare = |turns: &Turns| turns[SMALL] / turns[BARE_SERVER];
    let mut ratios: Vec<_> = rounds
        .chunks(rounds.len().div_ceil(REPEATS))
        .map(|rounds| median_figure(rounds.iter().map(over_bare).collect()))
        .collect();
    ratios.sort_unstable_by(f64::total_cmp);
    println!(
        "  Run, small server, over the bare tonic server: {:.2} (goal 1.10, stretch 1.05), of {ratios:.2?}; over the floor {:.2}",
        ratios[ratios.len() / 2],
        column(&|turns| turns[SMALL] / turns[0])
    );
    let over_other = column(&|turns| turns[SMALL] / turns[OTHER]);
    if !over_other.is_nan() {
        println!("  Run, small server, over the other build: {over_other:.3} (goal 1.03)");
    }
}

/// Starts a remexd that listens on TCP and on a Unix socket.
fn start(folder: &Path, remexd: Command) -> Outcome<Server> {
    let socket = format!("unix:{}", folder.join("socket").display());
    let flags = [
        "--no-legacy",
        "--listen",
        "127.0.0.1:0",
        "--listen",
        &socket,
    ];
    Server::start(folder, remexd, &flags)
}

/// Connects to the address that begins with `scheme`.
async fn connect(server: &Server, scheme: &str) -> Outcome<Client> {
    let mut addresses = server.addresses()?.into_iter();
    let address = addresses.find(|address| address.starts_with(scheme));
    let endpoint = address.ok_or("no address")?.parse()?;
    Ok(Client::connect(&endpoint).await?)
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
