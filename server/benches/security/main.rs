//! What it costs to be safe: `cargo bench -p remex-server --bench security`.
//!
//! A command judged by 1,000 rules; a warm Run over plaintext with nothing, and over mutual TLS with a policy and an audit log, and
//! what each of the three adds; what isolation adds to it; what a command writes over TLS, beside ssh with aes128-gcm, if there is an
//! sshd. All take turns within each round; figures are medians over rounds, ratios and differences medians of each round's.
//! `REMEX_SHORT=1` only shows that all of it runs.

#![expect(clippy::print_stdout, reason = "its figures are its output")]

#[path = "../streams/flow.rs"]
mod flow;
mod isolation;
mod rules;
#[expect(dead_code, reason = "what flows to a command is measured elsewhere")]
#[path = "../streams/ssh.rs"]
mod ssh;
#[path = "../support/mod.rs"]
mod support;

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Parser;
use remex::v1;
use remex_client::{Client, CredentialFiles, Credentials};
use remex_server::config::Args;
use tokio::runtime::Runtime;

use self::{
    flow::stdout,
    ssh::Ssh,
    support::{Outcome, Server},
};

const RUNS: usize = 60;

/// Servers that take turns, the first of which has nothing.
const NAMES: [&str; 5] = [
    "plaintext",
    "mutual TLS",
    "a policy",
    "an audit log",
    "all three",
];
const ALL: usize = 4;

/// What all three may add to a Run.
const GOAL: f64 = 1.15;
/// What a stream over TLS is to be of ssh's.
const STREAM_GOAL: f64 = 0.8;

/// Rules, of which the last one allows what runs.
const RULES: usize = 100;

fn main() -> Outcome<()> {
    if let Some(served) = support::serve() {
        return served;
    }
    let is_short = env::var("REMEX_SHORT").is_ok_and(|value| value == "1");
    let (rounds, bytes) = if is_short {
        (1, 16 << 20)
    } else {
        (20, 1 << 30)
    };
    rules::measure();
    let folder = tempfile::tempdir()?;
    let site = Site::make(folder.path())?;
    let runtime = support::runtime()?;
    runs(&runtime, &site, rounds)?;
    isolation::measure(&runtime, &site, rounds)?;
    streams(&runtime, &site, rounds.min(7), bytes)
}

/// What servers and clients are known by.
struct Site {
    folder: PathBuf,
}

impl Site {
    fn make(folder: &Path) -> Outcome<Self> {
        let site = Self {
            folder: folder.to_owned(),
        };
        let certs = site.at("certs");
        let args = Args::try_parse_from(["remexd", "certs", "init", &certs])?;
        args.tool.ok_or("no tool")?.run()?;
        let rule = |index: usize| {
            let program = if index + 1 == RULES {
                "/bin/true".to_owned()
            } else {
                format!("/bin/p{index}")
            };
            format!(
                "[[rule]]\nname = 'r{index}'\ndecision = 'allow'\nanyone = true\nprograms = ['{program}']\nforce.isolation = 'off'\n"
            )
        };
        let rules: String = (0..RULES).map(rule).collect();
        fs::write(site.at("policy"), rules)?;
        Ok(site)
    }

    fn at(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }

    /// A server with so much of it, and a client of it.
    fn start(&self, runtime: &Runtime, index: usize) -> Outcome<(Server, Client)> {
        let file = |name: &str| self.at(&format!("certs/{name}"));
        let (cert, key, ca) = (file("server.pem"), file("server.key"), file("ca.pem"));
        let (policy, log) = (self.at("policy"), self.at(&format!("audit-{index}")));
        let mut flags = vec!["--no-legacy", "--listen", "127.0.0.1:0"];
        let has = |what: usize| index == what || index == ALL;
        if has(1) {
            flags.extend([
                "--tls-cert",
                &cert,
                "--tls-key",
                &key,
                "--tls-client-ca",
                &ca,
            ]);
        }
        if has(2) {
            flags.extend(["--policy", &policy]);
        }
        if has(3) {
            flags.extend(["--audit-log", &log]);
        }
        let folder = self.folder.join(format!("server-{index}"));
        if folder.exists() {
            // Of one that was there before.
            fs::remove_dir_all(&folder)?;
        }
        let server = Server::start(&folder, support::remexd()?, &flags)?;
        let addresses = server.addresses()?;
        let endpoint = addresses.first().ok_or("no address")?.parse()?;
        let credentials = if has(1) {
            let file = |name: &str| Some(PathBuf::from(file(name)));
            Credentials::load(CredentialFiles {
                ca: file("ca.pem"),
                cert: file("client.pem"),
                key: file("client.key"),
                ..CredentialFiles::default()
            })?
        } else {
            Credentials::default()
        };
        let client = runtime.block_on(Client::connect_with(&endpoint, &credentials))?;
        Ok((server, client))
    }
}

/// What a warm Run costs, with each of the three, and with all of them.
fn runs(runtime: &Runtime, site: &Site, rounds: usize) -> Outcome<()> {
    let peers = (0..NAMES.len()).map(|index| site.start(runtime, index));
    let peers = peers.collect::<Outcome<Vec<_>>>()?;
    let mut turns: Vec<Vec<f64>> = Vec::new();
    // The first round warms up and is not counted.
    for _ in 0..=rounds {
        let each = peers
            .iter()
            .map(|(_, client)| runtime.block_on(p50(client, None)));
        turns.push(each.collect::<Outcome<_>>()?);
    }
    let turns = &turns[1..];
    println!("/bin/true, p50 of {RUNS} runs, median of {rounds} interleaved rounds");
    for (index, name) in NAMES.iter().enumerate() {
        let micros = median(turns.iter().map(|turn| turn[index] * 1e6));
        let over = median(turns.iter().map(|turn| turn[index] / turn[0]));
        let goal = if index == ALL {
            format!("  (goal {GOAL:.2})")
        } else {
            String::new()
        };
        println!("  {name:14}{micros:7.1} us  {over:.3} of plaintext{goal}");
    }
    Ok(())
}

/// In seconds, of a command that is so isolated.
async fn p50(client: &Client, isolation: Option<&v1::Isolation>) -> Outcome<f64> {
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let request = v1::RunRequest {
            command: Some(v1::Command {
                argv: vec!["/bin/true".into()],
                isolation: isolation.cloned(),
                ..v1::Command::default()
            }),
            ..v1::RunRequest::default()
        };
        let begun = Instant::now();
        client.exec().run(request).await?;
        times.push(begun.elapsed());
    }
    Ok(median(times.iter().map(Duration::as_secs_f64)))
}

/// What a command writes, over TLS and over ssh.
fn streams(runtime: &Runtime, site: &Site, rounds: usize, bytes: u64) -> Outcome<()> {
    let (_server, client) = site.start(runtime, 1)?;
    let ssh = match Ssh::start(&site.folder.join("ssh")) {
        Ok(ssh) => Some(ssh),
        Err(why) => {
            println!("skipped: ssh, since {why}");
            None
        }
    };
    let mut turns = Vec::new();
    for _ in 0..=rounds {
        let tls = runtime.block_on(stdout(&client, bytes))?;
        let ssh = ssh.as_ref().map(|ssh| ssh.stdout(bytes)).transpose()?;
        turns.push((tls, ssh.unwrap_or(f64::NAN)));
    }
    let turns = &turns[1..];
    println!(
        "{} MiB of stdout, medians of {rounds} interleaved rounds",
        bytes >> 20
    );
    let tls = median(turns.iter().map(|turn| turn.0));
    println!("  over TLS                {tls:8.1} MB/s");
    if ssh.is_some() {
        let ssh = median(turns.iter().map(|turn| turn.1));
        let ratio = median(turns.iter().map(|turn| turn.0 / turn.1));
        println!("  over ssh, aes128-gcm    {ssh:8.1} MB/s");
        println!("  TLS / ssh: {ratio:.2}  (goal {STREAM_GOAL:.2})");
    }
    Ok(())
}

fn median(figures: impl Iterator<Item = f64>) -> f64 {
    let mut figures: Vec<_> = figures.collect();
    figures.sort_unstable_by(f64::total_cmp);
    figures[figures.len() / 2]
}
