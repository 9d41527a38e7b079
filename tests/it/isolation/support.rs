//! Isolated commands, and what comes of them.

use std::{fs, path::Path};

use remex::{
    error::Reason,
    v1::{Command, Isolation, ListRequest, RunRequest, isolation::Network},
};
use tonic::Status;

use crate::{harness::soon, supervision::support::Server};

/// How a command ended.
#[derive(Debug)]
pub(super) struct Ran {
    pub(super) code: i32,
    pub(super) out: String,
    pub(super) err: String,
}

/// Runs `command`.
pub(super) async fn try_run(server: &Server, command: Command) -> Result<Ran, Status> {
    let request = RunRequest {
        command: Some(command),
        text: true,
        ..RunRequest::default()
    };
    let ran = soon("a run", server.exec().run(request)).await?;
    let ran = ran.into_inner();
    Ok(Ran {
        code: ran.exit.and_then(|exit| exit.code).expect("a code"),
        out: ran.stdout_text,
        err: ran.stderr_text,
    })
}

/// Nothing runs with this isolation, for that `reason`. Returns what is said of it.
pub(super) async fn refused(server: &Server, isolation: Isolation, reason: Reason) -> String {
    let folder = server.daemon.home().path("");
    let command = shell("true", &folder, Some(isolation));
    let status = try_run(server, command).await.unwrap_err();
    assert_eq!(Reason::of(&status), Some(reason), "{status}");
    status.message().to_owned()
}

#[track_caller]
pub(super) fn assert_succeeds(ran: &Ran, what: &str) {
    assert_eq!(ran.code, 0, "{what}: {ran:?}");
}

#[track_caller]
pub(super) fn assert_fails(ran: &Ran, what: &str) {
    assert!(ran.code > 0, "{what}: {ran:?}");
}

/// A shell's text, in a folder that it knows as `$F`.
pub(super) fn shell(text: &str, folder: &Path, isolation: Option<Isolation>) -> Command {
    Command {
        shell: text.to_owned(),
        environment: [("F".to_owned(), folder.display().to_string())].into(),
        isolation,
        ..Command::default()
    }
}

/// The folders of the system's programs, of those that are there.
pub(super) fn system() -> Vec<String> {
    let folders = ["/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/opt"];
    let there = folders.into_iter().filter(|path| Path::new(path).exists());
    there.map(str::to_owned).collect()
}

/// The system's programs, and `folder` to read and write.
pub(super) fn within(folder: &Path) -> Isolation {
    Isolation {
        execute_paths: system(),
        write_paths: vec![folder.display().to_string()],
        ..Isolation::default()
    }
}

pub(super) fn network(network: Network) -> Isolation {
    Isolation {
        network: network.into(),
        ..Isolation::default()
    }
}

pub(super) fn ports(connect: &[u16], bind: &[u16]) -> Isolation {
    Isolation {
        connect_ports: connect.iter().copied().map(u32::from).collect(),
        bind_ports: bind.iter().copied().map(u32::from).collect(),
        ..network(Network::Ports)
    }
}

/// A folder with two in it: `open`, which is empty, and `shut`, with a secret, a script and a program.
pub(super) fn folders(parent: &Path, name: &str) -> std::path::PathBuf {
    let folder = parent.join(name);
    fs::create_dir_all(folder.join("open")).expect("a folder");
    fs::create_dir_all(folder.join("shut")).expect("a folder");
    fs::write(folder.join("shut/secret"), "the secret\n").expect("a file");
    fs::write(folder.join("shut/script"), "echo the secret\n").expect("a file");
    // By another process: one that another test forks right now would hold it open for writing.
    let copied = std::process::Command::new("cp")
        .args([
            "/bin/true",
            folder.join("shut/program").to_str().expect("UTF-8"),
        ])
        .status();
    assert!(copied.expect("cp").success());
    folder
}

/// What the record of the newest execution says of its isolation.
pub(super) async fn applied(server: &Server) -> Option<remex::v1::AppliedIsolation> {
    let list = soon("a list", server.exec().list(ListRequest::default())).await;
    let newest = list
        .expect("a list")
        .into_inner()
        .executions
        .into_iter()
        .next();
    newest.expect("an execution").isolation
}
