//! What a person types who has grpcurl, a server and no .proto file: two versions of it, over TCP and a Unix socket.
//! The older one knows reflection v1alpha alone.

use std::{
    path::{Path, PathBuf},
    process::Output,
};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::harness::{Daemon, Home, soon, tools::program};

const CURRENT: &str = "grpcurl";
const OLD: &str = "grpcurl-1.8.6";

/// One grpcurl, and what it is told to find the server.
struct Grpcurl {
    program: PathBuf,
    server: Vec<String>,
}

impl Grpcurl {
    fn over_tcp(program: &Path, daemon: &Daemon) -> Self {
        Self {
            program: program.to_owned(),
            server: vec!["-plaintext".into(), daemon.socket("grpc").to_string()],
        }
    }

    /// What it derives `:authority` from is the socket's path, which HTTP/2 does not take.
    fn over_unix(program: &Path, daemon: &Daemon) -> Self {
        let path = daemon.url("grpc").strip_prefix("unix://").unwrap();
        let server = ["-plaintext", "-unix", "-authority", "localhost", path];
        Self {
            program: program.to_owned(),
            server: server.map(Into::into).into(),
        }
    }

    async fn output(&self, flags: &[&str], words: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        command.args(flags).args(&self.server).args(words);
        let output = soon("grpcurl", command.kill_on_drop(true).output()).await;
        output.unwrap()
    }

    async fn run(&self, flags: &[&str], words: &[&str]) -> String {
        let output = self.output(flags, words).await;
        assert!(output.status.success(), "{words:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// The messages that `method` answers to `request`.
    async fn call(&self, request: &Value, method: &str) -> Vec<Value> {
        let answer = self.run(&["-d", &request.to_string()], &[method]).await;
        let messages = serde_json::Deserializer::from_str(&answer).into_iter();
        messages.map(Result::unwrap).collect()
    }

    async fn does_everything(&self) {
        self.lists().await;
        self.describes().await;
        self.runs().await;
        self.starts().await;
        self.echoes().await;
        self.is_refused().await;
    }

    async fn lists(&self) {
        let services = self.run(&[], &["list"]).await;
        for service in [
            "grpc.health.v1.Health",
            "grpc.reflection.v1.ServerReflection",
            "grpc.reflection.v1alpha.ServerReflection",
            "remex.v1.EchoService",
            "remex.v1.ExecService",
        ] {
            let listed = services.lines().any(|line| line == service);
            assert!(listed, "{service}: {services}");
        }
        let methods = self.run(&[], &["list", "remex.v1.ExecService"]).await;
        assert!(methods.contains("remex.v1.ExecService.Run"), "{methods}");
    }

    /// With the comments that the .proto files have.
    async fn describes(&self) {
        for (symbol, comment) in [
            // Every limit that a caller can meet,
            ("remex.v1.ExecService", "4 MiB"),
            ("remex.v1.ExecService", "1,024 calls"),
            ("remex.v1.ExecService", "kept 10 minutes"),
            ("remex.v1.ExecService", "315,576,000,000 s"),
            ("remex.v1.Command", "131,071 bytes"),
            ("remex.v1.Command", "65,536 strings"),
            ("remex.v1.RunRequest.labels", "at most 32"),
            ("remex.v1.RunRequest.labels", "up to 256 bytes"),
            ("remex.v1.RunRequest.max_output_bytes", "16 MiB"),
            ("remex.v1.ListRequest.page_size", "1,000"),
            ("remex.v1.Refused", "At most 16"),
            // what a later version brings,
            ("remex.v1.ExecService", "NOT_YET"),
            // how long what is durable is kept,
            ("remex.v1.ExecService", "3 days"),
            ("remex.v1.RunRequest.request_id", "1,024 bytes"),
            ("remex.v1.StartRequest.disconnect_grace", "60 s"),
            ("remex.v1.AttachRequest.after_sequence", "POSITION_GONE"),
            // and what becomes of a stream that is broken off.
            ("remex.v1.ExecService", "BREAKING OFF"),
            ("remex.v1.Exit", "Always set."),
            ("remex.v1.Event", "What happened."),
            ("remex.v1.RunRequest.text", "invalid UTF-8 replaced"),
        ] {
            let described = self.run(&[], &["describe", symbol]).await;
            // A comment goes over several lines.
            let described = described.replace("//", "");
            let words: Vec<_> = described.split_whitespace().collect();
            let described = words.join(" ");
            assert!(described.contains(comment), "{symbol}: {described}");
        }
    }

    async fn runs(&self) {
        let request = json!({"command": {"shell": "echo out; echo err >&2; exit 3"}, "text": true});
        let answers = self.call(&request, "remex.v1.ExecService/Run").await;
        let [answer] = &answers[..] else {
            panic!("{answers:?}")
        };
        assert_eq!(answer["stdoutText"], "out\n", "{answer}");
        assert_eq!(answer["stderrText"], "err\n", "{answer}");
        assert_eq!(answer["exit"]["code"], 3, "{answer}");
        assert_eq!(answer["exit"]["reason"], "REASON_SELF", "{answer}");
    }

    async fn starts(&self) {
        let request = json!({"command": {"argv": ["echo", "out"]}, "text": true});
        let answers = self.call(&request, "remex.v1.ExecService/Start").await;
        let events: Vec<_> = answers.iter().map(|answer| &answer["event"]).collect();
        let [started, output, exited] = events[..] else {
            panic!("{events:?}")
        };
        assert!(started["started"]["pid"].is_number(), "{started}");
        assert_eq!(output["output"]["text"], "out\n", "{output}");
        assert_eq!(output["output"]["stream"], "STREAM_STDOUT", "{output}");
        // Even 0 is said.
        assert_eq!(exited["exited"]["exit"]["code"], 0, "{exited}");
    }

    async fn echoes(&self) {
        let answers = self
            .call(&json!({"text": "straße"}), "remex.v1.EchoService/Echo")
            .await;
        assert_eq!(answers, [json!({"text": "STRAßE"})]);
    }

    /// The details of an error are readable too.
    async fn is_refused(&self) {
        let flags = ["-format-error", "-d", r#"{"command": {}}"#];
        let output = self.output(&flags, &["remex.v1.ExecService/Run"]).await;
        let said: Value = serde_json::from_slice(&output.stderr)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let details = said["details"].to_string();
        assert_eq!(said["code"], 3, "INVALID_ARGUMENT: {said}");
        assert!(details.contains("INVALID_COMMAND"), "{said}");
        assert!(details.contains(r#""field":"command""#), "{said}");
    }
}

async fn over_tcp(program: PathBuf) {
    let daemon = Daemon::start(&[]).await;
    Grpcurl::over_tcp(&program, &daemon).does_everything().await;
    daemon.stop().await;
}

async fn over_unix(program: PathBuf) {
    let home = Home::new();
    let socket = format!("unix:{}", home.path("remexd.sock").display());
    let daemon = Daemon::start_in(&home, &["--listen", &socket]).await;
    Grpcurl::over_unix(&program, &daemon)
        .does_everything()
        .await;
    daemon.stop().await;
}

#[tokio::test]
async fn current_over_tcp() {
    over_tcp(skip_unless!(program(CURRENT))).await;
}

#[tokio::test]
async fn current_over_unix() {
    over_unix(skip_unless!(program(CURRENT))).await;
}

#[tokio::test]
async fn old_over_tcp() {
    over_tcp(skip_unless!(program(OLD))).await;
}

#[tokio::test]
async fn old_over_unix() {
    over_unix(skip_unless!(program(OLD))).await;
}

/// The line that remexd prints, as a shell takes it.
#[tokio::test]
async fn the_line_to_paste_works() {
    skip_unless!(program(CURRENT));
    let daemon = Daemon::start(&[]).await;
    let printed = daemon.stdout();
    let line = printed
        .lines()
        .find_map(|line| Some(&line[line.find("grpcurl ")?..]))
        .unwrap_or_else(|| panic!("no grpcurl in {printed}"));
    let run = Command::new("sh").args(["-c", line]).output();
    let output = soon("grpcurl", run).await.unwrap();
    let answer: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let expected = rustix::system::uname();
    let expected = expected.release().to_str().unwrap();
    let said = answer["stdoutText"].as_str().unwrap();
    assert!(said.contains(expected), "{answer}");
    daemon.stop().await;
}
