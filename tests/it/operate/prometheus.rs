//! A real Prometheus scrapes a real remexd; its own tools look at the format, at the alerts, and at the dashboard's queries.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use serde_json::Value;
use tokio::process::{Child, Command};

use super::scraper::{get, socket};
use crate::{
    gateway::support::Legacy,
    harness::{
        Daemon, Home, eventually, soon,
        tools::{Missing, program},
    },
};

fn monitoring(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("monitoring")
        .join(name)
}

async fn promtool(promtool: &Path, words: &[&str], file: Option<PathBuf>, stdin: Stdio) {
    let mut command = Command::new(promtool);
    command
        .args(words)
        .args(file)
        .stdin(stdin)
        .kill_on_drop(true);
    let output = soon("promtool", command.output()).await.expect("it runs");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success(), "{words:?}: {said}");
}

/// Killed when it is dropped.
struct Prometheus {
    _child: Child,
    url: String,
}

impl Prometheus {
    /// One that scrapes `daemon` each second.
    async fn start(home: &Home, daemon: &Daemon) -> Result<Self, Missing> {
        let prometheus = program("prometheus")?;
        let config = home.path("prometheus.yml");
        let target = socket(daemon.url("metrics"));
        let text = format!(
            "global: {{scrape_interval: 1s}}\nscrape_configs:\n  - job_name: remex\n    static_configs: [{{targets: [\"{target}\"]}}]\n"
        );
        fs::write(&config, text).expect("a file");
        let log = home.path("prometheus.log");
        let child = Command::new(prometheus)
            .arg(format!("--config.file={}", config.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                home.path("prometheus").display()
            ))
            .arg("--web.listen-address=127.0.0.1:0")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(fs::File::create(&log).expect("a log file"))
            .kill_on_drop(true)
            .spawn()
            .expect("prometheus runs");
        let address = eventually("Prometheus' address", || {
            let log = fs::read_to_string(&log).ok()?;
            let (_, rest) = log.split_once("msg=\"Listening on\" address=")?;
            rest.lines().next().map(str::to_owned)
        })
        .await;
        Ok(Self {
            _child: child,
            url: format!("http://{address}/"),
        })
    }

    /// What a query gives.
    async fn query(&self, query: &str) -> Vec<Value> {
        let encoded = query.bytes().map(|byte| format!("%{byte:02X}"));
        let path = format!("/api/v1/query?query={}", encoded.collect::<String>());
        let (head, body) = get(&self.url, &path).await;
        // It listens before it can be asked.
        if head.starts_with("HTTP/1.0 503") {
            return Vec::new();
        }
        assert!(head.starts_with("HTTP/1.0 200"), "{query}: {head}\n{body}");
        let start = body.find('{').expect("JSON");
        let end = body.rfind('}').expect("JSON");
        let answer: Value = serde_json::from_str(&body[start..=end]).expect("JSON");
        answer["data"]["result"]
            .as_array()
            .expect("results")
            .clone()
    }
}

/// The dashboard's queries, for all instances.
fn queries() -> Vec<String> {
    let text = fs::read_to_string(monitoring("grafana.json")).expect("a dashboard");
    let dashboard: Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let queries = targets.map(|target| target["expr"].as_str().expect("a query"));
    queries
        .map(|query| {
            query
                .replace("$instance", ".*")
                .replace("$__rate_interval", "1m")
        })
        .collect()
}

/// The names of metrics in `text`.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|letter: char| !(letter.is_alphanumeric() || letter == '_'));
    words
        .filter(|word| word.starts_with("remex_") || word.starts_with("process_"))
        .collect()
}

/// A server that is measured, and has a listener of the old protocol.
async fn measured() -> Daemon {
    let legacy = "tcp://127.0.0.1:0/exec";
    Daemon::start(&["--metrics", "127.0.0.1:0", "--legacy", legacy]).await
}

#[tokio::test]
async fn promtool_finds_nothing_wrong() {
    let tool = skip_unless!(program("promtool"));
    promtool(
        &tool,
        &["check", "rules"],
        Some(monitoring("alerts.yaml")),
        Stdio::null(),
    )
    .await;
    let test = Some(monitoring("alerts-test.yaml"));
    promtool(&tool, &["test", "rules"], test, Stdio::null()).await;
    let daemon = measured().await;
    let (_, body) = get(daemon.url("metrics"), "/metrics").await;
    let file = daemon.home().path("metrics");
    fs::write(&file, body).expect("a file");
    let stdin = fs::File::open(file).expect("it").into();
    promtool(&tool, &["check", "metrics"], None, stdin).await;
    daemon.stop().await;
}

#[tokio::test]
async fn prometheus_scrapes_and_each_query_of_the_dashboard_returns_data() {
    let daemon = measured().await;
    let prometheus = skip_unless!(Prometheus::start(daemon.home(), &daemon).await);
    let mut client = Legacy::connect(daemon.socket("tcp-exec")).await;
    let grpc = daemon.client().await;
    for query in queries() {
        soon(&query, async {
            while prometheus.query(&query).await.is_empty() {
                // So that all rates are more than none.
                client.ask("echo out; echo err >&2").await;
                let nothing = remex_client::Command::new("/nowhere");
                grpc.run(nothing).await.unwrap_err();
            }
        })
        .await;
    }
    let up = prometheus.query("up{job=\"remex\"}").await;
    assert_eq!(up[0]["value"][1], "1");
    daemon.stop().await;
}

/// Without a Prometheus, too: a name that is misspelt would never return anything, and never alert.
#[tokio::test]
async fn dashboard_and_alerts_name_what_there_is_and_all_of_it() {
    let daemon = measured().await;
    let (_, body) = get(daemon.url("metrics"), "/metrics").await;
    let told = names(&body);
    let queries = queries().join("\n");
    let alerts = fs::read_to_string(monitoring("alerts.yaml")).expect("alerts");
    let rules = alerts.lines().filter(|line| line.contains("expr:"));
    let rules = rules.collect::<Vec<_>>().join("\n");
    for used in names(&queries).into_iter().chain(names(&rules)) {
        assert!(told.contains(used), "nobody tells {used}");
    }
    for name in body.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
        let (name, _) = name.split_once(' ').expect("a name");
        assert!(queries.contains(name), "the dashboard lacks {name}");
    }
    daemon.stop().await;
}
