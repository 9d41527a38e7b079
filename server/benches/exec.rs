//! What a unary Run costs over a local vfork, exec and wait of the same command: `cargo bench -p remex-server`.
//!
//! The floor, a small server, one with 500 MB resident, and a call that runs nothing take turns within each round; the
//! figures are medians over rounds of each round's median. Needs a C compiler for the floor.

#![expect(clippy::print_stdout, reason = "its figures are its output")]

use std::{
    env,
    error::Error,
    fs,
    io::{BufRead, BufReader, Lines, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use clap::Parser;
use remex::v1;
use remex_client::{Client, Endpoint};
use remex_server::{
    app,
    config::{Args, Config},
};

const ROUNDS: usize = 30;
const RUNS: usize = 60;
const SHELL_TEXT: &str = "echo hi";
const BALLAST_BYTES: usize = 500 << 20;
/// Set in the process that is to be the server: how many bytes it shall hold.
const BALLAST_VARIABLE: &str = "REMEX_BENCH_BALLAST";

type Outcome<T> = Result<T, Box<dyn Error>>;

fn main() -> Outcome<()> {
    if let Ok(bytes) = env::var(BALLAST_VARIABLE) {
        return serve(bytes.parse()?);
    }
    let dir = tempfile::tempdir()?;
    // As in `remex`: a client that does one thing at a time.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut floor = Floor::start(dir.path())?;
    let small = Server::start(&dir.path().join("small"), 0)?;
    let large = Server::start(&dir.path().join("large"), BALLAST_BYTES)?;
    let clients = [
        runtime.block_on(small.connect())?,
        runtime.block_on(large.connect())?,
    ];
    let mut medians = [Vec::new(), Vec::new(), Vec::new(), Vec::new()];
    let mut ratios = [Vec::new(), Vec::new()];
    // The first round warms up and is not counted.
    for round in 0..=ROUNDS {
        let floor = median(floor.run(RUNS)?);
        let small = median(runtime.block_on(runs(&clients[0]))?);
        let large = median(runtime.block_on(runs(&clients[1]))?);
        let echo = median(runtime.block_on(echoes(&clients[0]))?);
        if round == 0 {
            continue;
        }
        for (list, value) in medians.iter_mut().zip([floor, small, large, echo]) {
            list.push(value);
        }
        ratios[0].push(small.as_secs_f64() / floor.as_secs_f64());
        ratios[1].push(large.as_secs_f64() / floor.as_secs_f64());
    }
    let [floor, small, large, echo] = medians.map(median);
    let [ratio_small, ratio_large] = ratios.map(median_ratio);
    println!("sh -c {SHELL_TEXT:?}, p50 of {RUNS} runs, median of {ROUNDS} interleaved rounds");
    println!("  local vfork            {floor:>10.1?}");
    println!("  Run, small server      {small:>10.1?}  {ratio_small:.2} of the floor (goal 1.40)");
    println!("  Run, 500 MB server     {large:>10.1?}  {ratio_large:.2} of the floor (goal 1.45)");
    println!("  Echo, small server     {echo:>10.1?}  what of that is gRPC");
    Ok(())
}

async fn runs(client: &Client) -> Outcome<Vec<Duration>> {
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let begin = Instant::now();
        let request = v1::RunRequest {
            command: Some(v1::Command {
                shell: SHELL_TEXT.into(),
                ..v1::Command::default()
            }),
            ..v1::RunRequest::default()
        };
        let response = client.exec().run(request).await?.into_inner();
        times.push(begin.elapsed());
        if response.stdout_data != b"hi\n"[..] {
            return Err("the command did not print what it should".into());
        }
    }
    Ok(times)
}

async fn echoes(client: &Client) -> Outcome<Vec<Duration>> {
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let begin = Instant::now();
        let request = v1::EchoRequest {
            content: Some(v1::echo_request::Content::Text(SHELL_TEXT.into())),
        };
        client.echo().echo(request).await?;
        times.push(begin.elapsed());
    }
    Ok(times)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn median_ratio(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_unstable_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

/// The local floor, in a small process of its own.
struct Floor {
    child: Child,
    stdin: ChildStdin,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Floor {
    fn start(dir: &Path) -> Outcome<Self> {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/floor.c");
        let program = dir.join("floor");
        let built = Command::new("cc")
            .args(["-O2", "-D_GNU_SOURCE", "-o"])
            .arg(&program)
            .arg(source)
            .status()?;
        if !built.success() {
            return Err("the floor could not be compiled".into());
        }
        let mut child = Command::new(program)
            .args(["/bin/sh", "-c", SHELL_TEXT])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdin = child.stdin.take().ok_or("no stdin")?;
        let stdout = child.stdout.take().ok_or("no stdout")?;
        Ok(Self {
            child,
            stdin,
            lines: BufReader::new(stdout).lines(),
        })
    }

    fn run(&mut self, count: usize) -> Outcome<Vec<Duration>> {
        writeln!(self.stdin, "{count}")?;
        let lines = self.lines.by_ref().take(count);
        let times = lines.map(|line| Ok(Duration::from_nanos(line?.parse()?)));
        times.collect()
    }
}

impl Drop for Floor {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This program once more, as remexd.
struct Server {
    child: Child,
    ready: PathBuf,
}

impl Server {
    fn start(dir: &Path, ballast: usize) -> Outcome<Self> {
        fs::create_dir(dir)?;
        let ready = dir.join("ready");
        let child = Command::new(env::current_exe()?)
            .env(BALLAST_VARIABLE, ballast.to_string())
            .env("REMEX_BENCH_DIR", dir)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let server = Self { child, ready };
        let deadline = Instant::now() + Duration::from_secs(30);
        while !server.ready.exists() {
            if Instant::now() > deadline {
                return Err("the server did not start".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    async fn connect(&self) -> Outcome<Client> {
        let ready = fs::read_to_string(&self.ready)?;
        let address = ready
            .lines()
            .find_map(|line| line.strip_prefix("grpc "))
            .ok_or("no address")?;
        let endpoint: Endpoint = address.parse()?;
        Ok(Client::connect(&endpoint).await?)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn serve(ballast: usize) -> Outcome<()> {
    // Written to, so that it is resident.
    let ballast = vec![1_u8; ballast];
    let dir = PathBuf::from(env::var_os("REMEX_BENCH_DIR").ok_or("no folder")?);
    let args = Args::try_parse_from([
        "remexd".into(),
        "--listen".into(),
        "127.0.0.1:0".into(),
        "--no-legacy".into(),
        "--state-dir".into(),
        dir.join("state").into_os_string(),
        "--ready-file".into(),
        dir.join("ready").into_os_string(),
    ])?;
    let config = Config::new(&args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(app::run(config))?;
    drop(std::hint::black_box(ballast));
    Ok(())
}
