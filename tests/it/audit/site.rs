//! A server with an audit log, and a look at that.

use std::{fs, path::PathBuf};

use remex::v1::{self, RunRequest, RunResponse};
use remex_client::Client;
use serde_json::Value;
use tonic::Status;

use crate::harness::{Daemon, Home, eventually, soon};

pub(super) struct Site {
    pub(super) home: Home,
    pub(super) daemon: Daemon,
}

impl Site {
    /// With an audit log in its home, and more flags.
    pub(super) async fn start(flags: &[&str]) -> Self {
        Self::start_in(&Home::new(), flags).await
    }

    pub(super) async fn start_in(home: &Home, flags: &[&str]) -> Self {
        let log = home.path("audit");
        let flags = [&["--audit-log", log.to_str().expect("UTF-8")], flags].concat();
        // As a service, so that it takes SIGHUP.
        let daemon = Daemon::spawn(home, home.service(&flags)).await;
        Self {
            home: home.clone(),
            daemon,
        }
    }

    pub(super) async fn run(&self, command: v1::Command) -> Result<RunResponse, Status> {
        run(&self.daemon.client().await, command).await
    }

    pub(super) fn lines(&self) -> Vec<Value> {
        lines(&self.home)
    }

    /// The lines so far, once there are so many for which `is_one` holds.
    pub(super) async fn told(&self, count: usize, is_one: impl Fn(&Value) -> bool) -> Vec<Value> {
        told(&self.home, count, is_one).await
    }
}

/// Whole lines of the audit log in `home`.
pub(super) fn lines(home: &Home) -> Vec<Value> {
    lines_of(&home.path("audit"))
}

pub(super) fn lines_of(path: &PathBuf) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
    let lines = whole.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

pub(super) async fn told(home: &Home, count: usize, is_one: impl Fn(&Value) -> bool) -> Vec<Value> {
    let told = || {
        let lines = lines(home);
        let found: Vec<_> = lines.into_iter().filter(|line| is_one(line)).collect();
        (found.len() >= count).then_some(found)
    };
    let found = eventually("the lines", told).await;
    assert_eq!(found.len(), count, "{found:#?}");
    found
}

pub(super) fn is_end(line: &Value) -> bool {
    line["event"] == "end"
}

pub(super) fn is_decision(line: &Value) -> bool {
    line["event"] == "decision"
}

/// A decision on a call.
pub(super) fn is_of(rpc: &str) -> impl Fn(&Value) -> bool {
    move |line| is_decision(line) && line["rpc"] == rpc
}

pub(super) async fn run(client: &Client, command: v1::Command) -> Result<RunResponse, Status> {
    let request = RunRequest {
        command: Some(command),
        ..RunRequest::default()
    };
    let response = soon("a run", client.exec().run(request)).await?;
    Ok(response.into_inner())
}

pub(super) fn shell(text: &str) -> v1::Command {
    v1::Command {
        shell: text.to_owned(),
        ..v1::Command::default()
    }
}
