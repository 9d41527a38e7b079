//! Where remexd may find itself: without /proc, threads, netlink or IPv4, with few descriptors, with a state folder that a
//! crash has left half-written, under a clock that was never set. It serves, or says by name why it does not.

use std::{fs, process::Stdio, time::Instant};

use remex::{
    error::Reason,
    v1::{Command, RunRequest, RunResponse, Terminal, exit},
};
use remex_client::Client;
use tokio::net::TcpStream;
use tonic::Status;

use crate::{
    harness::{
        Daemon, Home, Marker,
        binaries::binary,
        eventually, soon,
        tools::{Missing, program, root},
    },
    supervision::support::duration,
};

async fn run(client: &Client, shell: &str) -> Result<RunResponse, Status> {
    let request = RunRequest {
        command: Some(Command {
            shell: shell.to_owned(),
            ..Command::default()
        }),
        ..RunRequest::default()
    };
    let ran = soon("a run", client.exec().run(request)).await;
    ran.map(tonic::Response::into_inner)
}

async fn serves(daemon: &Daemon) {
    let ran = run(&daemon.client().await, "echo served").await.unwrap();
    assert_eq!(ran.stdout_data, "served\n");
}

/// A shell in a namespace of its own that does `text` before it becomes remexd.
fn apart(namespace: &'static str, text: &'static str) -> Result<[String; 6], Missing> {
    root()?;
    program("unshare")?;
    let made = std::process::Command::new("unshare")
        .args([namespace, "true"])
        .stderr(Stdio::null())
        .status();
    if !made.is_ok_and(|status| status.success()) {
        return Err(Missing::new(format!("unshare {namespace}")));
    }
    let text = format!("{text}; exec \"$@\"");
    Ok(["unshare", namespace, "sh", "-ec", &text, "sh"].map(str::to_owned))
}

fn words(wrapper: &[String]) -> Vec<&str> {
    wrapper.iter().map(String::as_str).collect()
}

#[tokio::test]
async fn pitfall_51_without_proc_it_says_so() {
    let wrapper = skip_unless!(apart("--mount", "umount -l /proc"));
    let home = Home::new();
    let refused = Home::refusal(home.remexd_under(&words(&wrapper), &[])).await;
    refused.assert(69, &["/proc is not mounted", "mount -t proc"]);
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
}

#[tokio::test]
async fn without_ipv4_the_defaults_are_those_of_ipv6() {
    let text = "ip link set lo up; ip addr del 127.0.0.1/8 dev lo";
    skip_unless!(program("ip"));
    let wrapper = skip_unless!(apart("--net", text));
    let home = Home::new();
    let mut command = tokio::process::Command::new(&wrapper[0]);
    command
        .args(&wrapper[1..])
        .arg(binary("remexd"))
        .arg("--state-dir")
        .arg(home.path("state"))
        .current_dir(home.folder())
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let daemon = Daemon::spawn(&home, command).await;
    let addresses = daemon.addresses().iter().map(|(_, url)| url.as_str());
    assert_eq!(
        addresses.collect::<Vec<_>>(),
        [
            "http://[::1]:50051",
            "tcp://[::1]:8080",
            "udp://[::1]:8080",
            "tcp://[::1]:8081",
            "udp://[::1]:8081"
        ]
    );
    let pid = daemon.pid().as_raw_nonzero().to_string();
    let inside = ["--target", &pid, "--net"];
    let output = tokio::process::Command::new("nsenter")
        .args(inside)
        .arg(binary("remex"))
        .args(["run", "--", "echo", "served"])
        .env("REMEX_SERVER", "[::1]")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = soon("remex run", output).await.unwrap();
    assert_eq!(output.stdout, b"served\n", "{output:?}");
    daemon.stop().await;
    // What was asked for is what is had, or an error.
    let flags = ["--listen", "127.0.0.1:0"];
    let refused = Home::refusal(home.remexd_under(&words(&wrapper), &flags)).await;
    refused.assert(69, &["--listen", "127.0.0.1"]);
}

/// Denies system calls as a container's profile does, and becomes what follows.
const SECCOMP: &str = r#"
import ctypes, os, platform, struct, sys
ARM = platform.machine() == "aarch64"
CLONE, SOCKET, CLONE3, UNSHARE = (220, 198, 435, 97) if ARM else (56, 41, 435, 272)
LANDLOCK_FIRST, LANDLOCK_LAST = 444, 446
LOAD, EQUAL, SET, RETURN, AT_LEAST, ABOVE = 0x20, 0x15, 0x45, 0x06, 0x35, 0x25
ALLOW, ERRNO = 0x7fff0000, 0x50000
NR, ARGUMENT = 0, 16
FILTERS = {
    "threads": [
        (LOAD, 0, 0, NR), (EQUAL, 4, 0, CLONE3), (EQUAL, 0, 2, CLONE), (LOAD, 0, 0, ARGUMENT),
        (SET, 2, 0, 0x10000), (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, ERRNO | 38), (RETURN, 0, 0, ERRNO | 1),
    ],
    "clone3": [(LOAD, 0, 0, NR), (EQUAL, 0, 1, CLONE3), (RETURN, 0, 0, ERRNO | 38), (RETURN, 0, 0, ALLOW)],
    "landlock": [
        (LOAD, 0, 0, NR), (AT_LEAST, 0, 2, LANDLOCK_FIRST), (ABOVE, 1, 0, LANDLOCK_LAST),
        (RETURN, 0, 0, ERRNO | 38), (RETURN, 0, 0, ALLOW),
    ],
    "landlock_restrict_self": [
        (LOAD, 0, 0, NR), (EQUAL, 0, 1, LANDLOCK_LAST), (RETURN, 0, 0, ERRNO | 1), (RETURN, 0, 0, ALLOW),
    ],
    "namespaces": [(LOAD, 0, 0, NR), (EQUAL, 0, 1, UNSHARE), (RETURN, 0, 0, ERRNO | 1), (RETURN, 0, 0, ALLOW)],
    "netlink": [
        (LOAD, 0, 0, NR), (EQUAL, 0, 2, SOCKET), (LOAD, 0, 0, ARGUMENT), (EQUAL, 1, 0, 16),
        (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, ERRNO | 1),
    ],
}
program = FILTERS[sys.argv[1]]
code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *line) for line in program))
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("code", ctypes.c_void_p)]
libc = ctypes.CDLL(None)
libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
denied = Program(len(program), ctypes.addressof(code))
assert libc.prctl(38, 1, 0, 0, 0) == 0
assert libc.prctl(22, 2, ctypes.addressof(denied), 0, 0) == 0
os.execv(sys.argv[2], sys.argv[2:])
"#;

/// What a program is executed by to be without `what`.
pub(crate) fn without(what: &'static str) -> Result<[&'static str; 4], Missing> {
    program("python3")?;
    Ok(["python3", "-c", SECCOMP, what])
}

#[tokio::test]
async fn pitfall_51_without_threads_it_says_so() {
    let wrapper = skip_unless!(without("threads"));
    let home = Home::new();
    let mut command = home.remexd_under(&wrapper, &[]);
    command.env("RUST_BACKTRACE", "1");
    let refused = Home::refusal(command).await;
    refused.assert(69, &["cannot start threads"]);
    assert_eq!(refused.stderr.lines().count(), 1, "{}", refused.stderr);
}

/// Whatever a child needs of the server: a terminal, another user, both, an end.
#[tokio::test]
async fn pitfall_51_without_clone3_all_kinds_of_commands_run() {
    let wrapper = skip_unless!(without("clone3"));
    let home = Home::new();
    let daemon = Daemon::spawn(&home, home.remexd_under(&wrapper, &[])).await;
    let client = daemon.client().await;
    let has_root = root().is_ok();
    for user in ["", "nobody"]
        .into_iter()
        .filter(|user| user.is_empty() || has_root)
    {
        for terminal in [None, Some(Terminal::default())] {
            let is_terminal = terminal.is_some();
            let request = RunRequest {
                command: Some(Command {
                    shell: "id -un; test -t 1 && echo on a terminal; kill -USR1 $$".to_owned(),
                    user: user.to_owned(),
                    terminal,
                    ..Command::default()
                }),
                text: true,
                ..RunRequest::default()
            };
            let ran = soon("a run", client.exec().run(request)).await;
            let ran = ran.unwrap().into_inner();
            let output = &ran.stdout_text;
            assert_eq!(ran.exit.unwrap().signal, 10, "{output}");
            assert!(output.contains(user), "{output}");
            assert_eq!(output.contains("on a terminal"), is_terminal, "{output}");
        }
    }
    let marker = Marker::new();
    let request = RunRequest {
        command: Some(Command {
            shell: format!("setsid sleep {marker} & exec sleep {marker}"),
            timeout: Some(duration(100)),
            ..Command::default()
        }),
        ..RunRequest::default()
    };
    let ran = soon("a run", client.exec().run(request)).await;
    let exit = ran.unwrap().into_inner().exit.unwrap();
    assert_eq!(exit.reason(), exit::Reason::Timeout);
    assert!(marker.processes().is_empty());
    daemon.stop().await;
}

#[tokio::test]
async fn pitfall_51_without_netlink_unix_sockets_serve() {
    let wrapper = skip_unless!(without("netlink"));
    let home = Home::new();
    let socket = format!("unix:{}", home.path("remexd.sock").display());
    let flags = ["--listen", &socket, "--listen", "127.0.0.1:0"];
    let daemon = Daemon::spawn(&home, home.remexd_under(&wrapper, &flags)).await;
    serves(&daemon).await;
    home.logged(&["sock_diag", "unix:/PATH"]).await;
    let (_, tcp) = daemon.addresses().last().unwrap();
    let client = Client::connect_lazy(&tcp.parse().unwrap());
    let refused = run(&client, "true").await.unwrap_err();
    assert_eq!(
        Reason::of(&refused),
        Some(Reason::PeerNotAllowed),
        "{refused}"
    );
    assert!(refused.message().contains("unix:/PATH"), "{refused}");
    daemon.stop().await;
}

#[tokio::test]
async fn pitfall_66_a_state_file_that_is_of_no_use_is_named_and_set_aside() {
    let home = Home::new();
    Daemon::start_in(&home, &[]).await.stop().await;
    let file = home.path("state/instance");
    for bytes in [&b""[..], b"01", b"\xff\0"] {
        fs::write(&file, bytes).unwrap();
        let daemon = Daemon::start_in(&home, &[]).await;
        serves(&daemon).await;
        home.logged(&["set aside", file.to_str().unwrap()]).await;
        daemon.stop().await;
        fs::remove_file(home.path("log")).unwrap();
    }
}

/// A clock of 1969, for whoever asks libc.
const CLOCK: &str = r"
#define _GNU_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
int clock_gettime(clockid_t clock, struct timespec *now) {
    int asked = syscall(SYS_clock_gettime, clock, now);
    if (asked == 0 && clock == CLOCK_REALTIME) now->tv_sec = -86400;
    return asked;
}
";

#[tokio::test]
async fn pitfall_52_a_clock_before_1970_stops_nothing() {
    skip_unless!(program("cc"));
    let home = Home::new();
    let (source, library) = (home.path("clock.c"), home.path("clock.so"));
    fs::write(&source, CLOCK).unwrap();
    let built = std::process::Command::new("cc")
        .args(["-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .status();
    assert!(built.unwrap().success());
    let mut command = home.remexd(&[]);
    command.env("LD_PRELOAD", &library);
    let daemon = Daemon::spawn(&home, command).await;
    for _ in 0..3 {
        serves(&daemon).await;
    }
    home.logged(&["1969-12-31"]).await;
    daemon.stop().await;
    assert!(!home.log().contains("panicked"), "{}", home.log());
}

#[tokio::test]
async fn pitfall_29_few_descriptors_leave_some_for_callers_to_come() {
    skip_unless!(program("prlimit"));
    let home = Home::new();
    let command = home.remexd_under(&["prlimit", "--nofile=96:96"], &[]);
    let daemon = Daemon::spawn(&home, command).await;
    let mut silent = Vec::new();
    for _ in 0..200 {
        silent.push(TcpStream::connect(daemon.socket("grpc")).await.unwrap());
    }
    let since = Instant::now();
    eventually("its connections", || {
        (daemon.open_files() >= 24).then_some(())
    })
    .await;
    assert!(daemon.open_files() < 96);
    drop(silent);
    serves(&daemon).await;
    let log = home.log();
    let lines = log.lines().filter(|line| line.contains("cannot accept"));
    let most = 1 + usize::try_from(since.elapsed().as_secs() / 10).unwrap();
    assert!(lines.count() <= most, "{log}");
    daemon.stop().await;
}

#[tokio::test]
async fn each_execution_that_ends_leaves_one_line_without_its_arguments() {
    let daemon = Daemon::start(&[]).await;
    let client = daemon.client().await;
    let ran = run(&client, "echo secret; exit 7").await.unwrap();
    let line = eventually("the line", || {
        let log = daemon.home().log();
        log.lines()
            .find(|line| line.contains(&ran.execution_id))
            .map(str::to_owned)
    })
    .await;
    for part in [
        "INFO",
        "execution ended",
        "caller=unix:",
        "through=grpc tcp",
        "program=\"/bin/sh\"",
        "exit=7",
        "reason=SELF",
        "bytes=7",
    ] {
        assert!(line.contains(part), "no {part}: {line}");
    }
    let log = daemon.home().log();
    assert!(!log.contains("secret"), "{log}");
    daemon.stop().await;
    let quiet = Daemon::start(&["--log-level", "warn"]).await;
    run(&quiet.client().await, "true").await.unwrap();
    let home = quiet.home().clone();
    quiet.stop().await;
    assert_eq!(home.log(), "");
}

/// A server that is killed while the process executes that makes its children: that one has no flags, and ends.
#[tokio::test]
async fn pitfall_40_a_zygote_whose_server_has_gone_serves_nobody() {
    let home = Home::new();
    let mut zygote = home.remexd(&[]);
    zygote.arg0("remexd: zygote");
    let ended = soon("its end", zygote.status()).await.unwrap();
    assert!(ended.success(), "{ended}");
    assert!(!home.path("state").exists(), "it served");
}
