//! The README's tour, pasted: every command of its console blocks prints what the README says it prints.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    path::Path,
    time::Duration,
};

use tokio::{process::Command, time::timeout};

use crate::harness::{Daemon, binaries::binary, soon, tools};

/// What differs from run to run.
const WILDCARD: char = '…';

/// One line to type, and what comes of it.
#[derive(Debug, PartialEq, Eq)]
struct Step {
    command: String,
    output: String,
}

#[tokio::test]
async fn the_tour_prints_what_it_says() {
    skip_unless!(tools::root());
    for program in ["grpcurl", "nc", "python3", "go", "bash"] {
        skip_unless!(tools::program(program));
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).expect("the README");
    let blocks = blocks(&readme);
    build_examples(root, &blocks).await;
    let daemon = Daemon::start(&[
        "--legacy",
        "tcp://127.0.0.1:0/exec",
        "--legacy",
        "udp://127.0.0.1:0/exec",
        "--legacy",
        "udp://127.0.0.1:0/echo",
    ])
    .await;
    let gateway = free_port();
    for block in blocks {
        let steps = block
            .iter()
            .map(|step| placed(&step.command, &daemon, gateway));
        let script: Vec<_> = steps
            .map(|command| {
                format!(
                    "{command}
echo {END}
"
                )
            })
            .collect();
        let script = script.concat();
        // As a shell at a prompt has it: %1 is the first job.
        let mut shell = Command::new("bash");
        shell
            .args(["-c", &format!("set -m; {script}")])
            .env("REMEX_SERVER", daemon.url("grpc"))
            .current_dir(root)
            .kill_on_drop(true);
        let output = soon("a block of the README", shell.output())
            .await
            .expect("bash runs");
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = String::from_utf8_lossy(&output.stderr);
        let end = format!("{END}\n");
        let mut outputs = stdout.split(&*end);
        for step in &block {
            let seen = outputs.next().unwrap_or_default();
            let expected = placed(&step.output, &daemon, gateway);
            assert!(
                matches(&expected, seen),
                "{}\nprints\n{seen}\nnot\n{expected}\n{said}",
                step.command
            );
        }
    }
    daemon.stop().await;
}

/// Runs the README's scripts that build, which wait for compilers and downloads; in the tour they find all made.
async fn build_examples(root: &Path, blocks: &[Vec<Step>]) {
    let commands = blocks.iter().flatten().map(|step| &step.command);
    for command in commands.filter(|command| command.ends_with("/build.sh")) {
        let mut shell = Command::new("bash");
        shell
            .args(["-c", command])
            .current_dir(root)
            .kill_on_drop(true);
        let built = timeout(BUILD_PATIENCE, shell.output()).await;
        let built = built.unwrap_or_else(|_| panic!("{command}: longer than {BUILD_PATIENCE:?}"));
        let built = built.expect("bash runs");
        assert!(built.status.success(), "{command}: {built:?}");
    }
}

/// Longer than the examples take to be built from nothing.
const BUILD_PATIENCE: Duration = Duration::from_mins(10);

/// Printed behind each command of a block.
const END: &str = "-- end of a step --";

/// The README speaks of the default ports and of a release; here it is this daemon's ports and this build.
fn placed(text: &str, daemon: &Daemon, gateway: SocketAddr) -> String {
    let release = binary("remexd").parent().expect("a folder");
    let mut text = text
        .replace("cargo build --quiet --release --bins", ":")
        .replace("target/release", &release.display().to_string())
        .replace(
            "/tmp/gateway.ready",
            &daemon.home().path("gateway").display().to_string(),
        )
        .replace("127.0.0.1:50051", &daemon.socket("grpc").to_string())
        .replace("udp://127.0.0.1:8080", daemon.url("udp-exec"))
        .replace("127.0.0.1:8080", &daemon.socket("tcp-exec").to_string());
    let port = |name: &str| format!("127.0.0.1 {}", daemon.socket(name).port());
    text = text.replace("127.0.0.1 8080", &port("udp-exec"));
    text = text.replace("127.0.0.1 8081", &port("udp-echo"));
    text.replace("127.0.0.1:8082", &gateway.to_string())
}

/// A port for the gateway that the tour starts, which nobody has now.
fn free_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("its address")
}

/// The console blocks: lines that begin with `$ `, and the lines behind each.
fn blocks(readme: &str) -> Vec<Vec<Step>> {
    let mut blocks = Vec::new();
    let mut steps: Option<Vec<Step>> = None;
    for line in readme.lines() {
        match (&mut steps, line) {
            (None, "```console") => steps = Some(Vec::new()),
            (Some(_), "```") => blocks.extend(steps.take()),
            (Some(steps), line) => match (line.strip_prefix("$ "), steps.last_mut()) {
                (Some(command), _) => steps.push(Step {
                    command: command.to_owned(),
                    output: String::new(),
                }),
                (None, Some(step)) => {
                    step.output.push_str(line);
                    step.output.push('\n');
                }
                (None, None) => panic!("output before a command: {line}"),
            },
            _ => {}
        }
    }
    blocks
}

/// Whether `seen` is `expected`, in which a wildcard stands for anything.
fn matches(expected: &str, seen: &str) -> bool {
    let mut parts = expected.split(WILDCARD);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = seen.strip_prefix(first) else {
        return false;
    };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else {
        return rest.is_empty();
    };
    for part in parts {
        let Some((_, behind)) = rest.split_once(part) else {
            return false;
        };
        rest = behind;
    }
    rest.ends_with(last)
}

#[test]
fn wildcards_stand_for_anything_and_the_rest_for_itself() {
    assert!(matches("a…c\n", "abbbc\n"));
    assert!(matches("same", "same"));
    assert!(!matches("same", "same and more"));
    assert!(!matches("a…c", "abbb"));
    assert!(!matches("x…", "ax"));
}

#[test]
fn blocks_are_commands_with_their_output() {
    let text = "t\n```console\n$ a\n1\n2\n$ b\n```\n```sh\n$ c\n```\n";
    let step = |command: &str, output: &str| Step {
        command: command.to_owned(),
        output: output.to_owned(),
    };
    assert_eq!(blocks(text), [vec![step("a", "1\n2\n"), step("b", "")]]);
}
