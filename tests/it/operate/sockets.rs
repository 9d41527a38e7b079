//! Sockets that a service manager has bound, and hands over, by sd_listen_fds(3). The manager is the test: it keeps them.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::MetadataExt,
            net::{UnixListener, UnixStream},
        },
    },
    process::Stdio,
};

use remex_client::{Client, Command, CredentialFiles, Credentials, Endpoint};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{control::asked, scraper::Scrape};
use crate::{
    gateway::support::Legacy,
    harness::{Daemon, Home, binaries::binary, eventually, home::Refusal, soon},
};

/// Moves its stdin, stdout and stderr to where handed sockets are expected, and becomes the daemon, of which it has the pid.
const SCRIPT: &str =
    r#"exec 3<&0 4<&1 5<&2 </dev/null >>"$LOG" 2>&1; export LISTEN_PID=$$; exec "$@""#;

/// A socket, by the name that it is handed over by.
type Named = (&'static str, OwnedFd);

/// At most three of them.
fn handing(
    mut command: tokio::process::Command,
    home: &Home,
    sockets: &[Named],
) -> tokio::process::Command {
    let names: Vec<_> = sockets.iter().map(|(name, _)| *name).collect();
    let mut sockets = sockets.iter().map(|(_, socket)| {
        let copy = socket.try_clone().expect("a copy");
        Stdio::from(copy)
    });
    let mut next = || sockets.next().unwrap_or_else(Stdio::null);
    command
        .stdin(next())
        .stdout(next())
        .stderr(next())
        .env("LOG", home.path("log"))
        .env("LISTEN_FDS", names.len().to_string())
        .env("LISTEN_FDNAMES", names.join(":"));
    command
}

fn remexd(home: &Home, flags: &[&str], sockets: &[Named]) -> tokio::process::Command {
    let command = home.remexd_under(&["bash", "-c", SCRIPT, "bash"], flags);
    handing(command, home, sockets)
}

fn tcp() -> (TcpListener, SocketAddr) {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = socket.local_addr().expect("its address");
    (socket, address)
}

fn copy(socket: impl AsFd) -> OwnedFd {
    socket.as_fd().try_clone_to_owned().expect("a copy")
}

async fn run(client: &Client, shell: &str) -> String {
    let outcome = soon("a run", client.run(Command::shell(shell))).await;
    String::from_utf8(outcome.expect("it runs").stdout.into()).expect("UTF-8")
}

async fn at(endpoint: &str) -> Client {
    let endpoint: Endpoint = endpoint.parse().expect("an endpoint");
    soon("a connection", Client::connect(&endpoint))
        .await
        .expect("a connection")
}

#[tokio::test]
async fn grpc_over_tcp_and_unix_and_the_old_protocol_over_udp_are_served_on_them() {
    let home = Home::new();
    let (listener, address) = tcp();
    let path = home.path("grpc.sock");
    let unix = UnixListener::bind(&path).expect("a socket");
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let sockets = [
        ("listen", copy(&listener)),
        ("listen", copy(&unix)),
        ("legacy", copy(&udp)),
    ];
    let (listen, socket) = (address.to_string(), format!("unix:{}", path.display()));
    let legacy = format!("udp://{}/exec", udp.local_addr().unwrap());
    let flags = [
        "--listen", &socket, "--listen", &listen, "--legacy", &legacy,
    ];
    // Whoever comes before it is there waits.
    let mut early = tokio::net::TcpStream::connect(address)
        .await
        .expect("the queue");
    early
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    for _ in 0..2 {
        let daemon = Daemon::spawn_as_it_is(&home, remexd(&home, &flags, &sockets)).await;
        let names: Vec<_> = daemon
            .addresses()
            .iter()
            .map(|(_, url)| url.clone())
            .collect();
        assert_eq!(
            names,
            [
                format!("unix://{}", path.display()),
                format!("http://{address}"),
                format!("udp://{}", udp.local_addr().unwrap())
            ]
        );
        assert_eq!(
            run(&at(&format!("http://{address}")).await, "echo tcp").await,
            "tcp\n"
        );
        assert_eq!(run(&at(&socket).await, "echo unix").await, "unix\n");
        let ours = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
        ours.send_to(b"echo udp", udp.local_addr().unwrap())
            .await
            .unwrap();
        let mut answer = [0; 64];
        let bytes = soon("an answer", ours.recv(&mut answer)).await.unwrap();
        assert_eq!(&answer[..bytes], b"udp\n");
        daemon.stop().await;
        // They are the manager's, with the file: nobody is refused between two daemons.
        assert!(path.exists());
        TcpStream::connect(address).expect("the queue of the socket");
    }
    soon("the settings of the server", early.read_exact(&mut [0; 9]))
        .await
        .expect("it was served");
}

#[tokio::test]
async fn pitfall_11_commands_do_not_get_sockets_that_were_handed_over() {
    let home = Home::new();
    let (listener, address) = tcp();
    let sockets = [("listen", copy(&listener))];
    let listen = address.to_string();
    let daemon =
        Daemon::spawn_as_it_is(&home, remexd(&home, &["--listen", &listen], &sockets)).await;
    let client = daemon.client().await;
    let seen = run(&client, "ls -l /proc/self/fd; env").await;
    assert!(
        !seen.contains("socket:") && !seen.contains("LISTEN_"),
        "{seen}"
    );
    let inode = rustix::fs::fstat(&listener).unwrap().st_ino;
    let everybody = run(&client, "cat /proc/self/environ").await;
    assert!(!everybody.contains("LISTEN_"), "{everybody}");
    // Nor has the zygote, or a supervisor that waits: of all processes, the daemon and this test alone.
    let home = daemon.home().clone();
    home.spares_are_there().await;
    let own = [
        daemon.pid().as_raw_nonzero().get(),
        std::process::id().cast_signed(),
    ];
    let target = format!("socket:[{inode}]");
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    for process in processes {
        let Some(pid) = process
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<i32>().ok())
        else {
            continue;
        };
        let descriptors = std::fs::read_dir(process.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten();
        let mut targets = descriptors.filter_map(|one| std::fs::read_link(one.path()).ok());
        let name = std::fs::read_to_string(process.path().join("comm")).unwrap_or_default();
        let is_of_remexd = name.starts_with("remexd");
        assert!(
            own.contains(&pid)
                || !is_of_remexd
                || targets.all(|one| one.as_os_str() != target.as_str()),
            "{pid}, {name}"
        );
    }
    daemon.stop().await;
}

#[tokio::test]
async fn tls_metrics_and_control_are_served_on_them() {
    let home = Home::new();
    let made = tokio::process::Command::new(binary("remexd"))
        .args(["certs", "init"])
        .arg(home.path("tls"))
        .output();
    assert!(soon("certificates", made).await.unwrap().status.success());
    std::fs::create_dir(home.path("state")).unwrap();
    std::fs::set_permissions(
        home.path("state"),
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    let ((listener, address), (metrics, metrics_address)) = (tcp(), tcp());
    let control = UnixListener::bind(home.path("state/control.socket")).expect("a socket");
    // Two of them by their addresses alone, as where a unit gives them no names.
    let sockets = [
        ("remexd.socket", copy(&listener)),
        ("unknown", copy(&metrics)),
        ("control", copy(&control)),
    ];
    let file = |name: &str| {
        home.path(&format!("tls/{name}"))
            .to_str()
            .unwrap()
            .to_owned()
    };
    let (cert, key, ca) = (file("server.pem"), file("server.key"), file("ca.pem"));
    let (listen, metrics) = (address.to_string(), metrics_address.to_string());
    let flags = [
        "--listen",
        &listen,
        "--metrics",
        &metrics,
        "--tls-cert",
        &cert,
        "--tls-key",
        &key,
        "--tls-client-ca",
        &ca,
    ];
    let daemon = Daemon::spawn_as_it_is(&home, remexd(&home, &flags, &sockets)).await;
    let files = CredentialFiles {
        ca: Some(ca.clone().into()),
        cert: Some(file("client.pem").into()),
        key: Some(file("client.key").into()),
        token: None,
    };
    let credentials = Credentials::load(files).expect("good files");
    let client = soon(
        "a connection",
        Client::connect_with(&daemon.endpoint(), &credentials),
    )
    .await;
    assert_eq!(
        run(&client.expect("a connection"), "echo tls").await,
        "tls\n"
    );
    let scrape = Scrape::of(&format!("http://{metrics_address}/metrics")).await;
    assert_eq!(
        scrape.count("remex_executions_ended_total{outcome=\"success\"}"),
        1
    );
    let status = asked(&home, &["status"]).await;
    assert!(status.contains(&format!("https://{address}")), "{status}");
    // Whoever has made the socket listens on it still, so that nobody may put another in its place.
    let file = || std::fs::metadata(home.path("state/control.socket")).map(|file| file.ino());
    let made = file().expect("the socket");
    asked(&home, &["upgrade"]).await;
    assert_eq!(file().expect("the socket"), made);
    asked(&home, &["status"]).await;
    daemon.stop().await;
    assert_eq!(file().expect("the socket"), made);
}

#[tokio::test]
async fn the_gateway_serves_on_them() {
    let home = Home::new();
    let ((listener, address), (metrics, metrics_address)) = (tcp(), tcp());
    let udp = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let sockets = [
        ("legacy", copy(&udp)),
        ("legacy", copy(&listener)),
        ("metrics", copy(&metrics)),
    ];
    let server = Daemon::start(&[]).await;
    let mut command = tokio::process::Command::new("bash");
    command
        .args(["-c", SCRIPT, "bash"])
        .arg(binary("remex-gateway"));
    command.args([
        "--upstream",
        server.url("grpc"),
        "--metrics",
        "127.0.0.1:0",
        "--legacy",
    ]);
    // At port 0 a socket is told by its name.
    command.args([
        "tcp://127.0.0.1:0/exec",
        "--legacy",
        &format!("udp://{}/exec", udp.local_addr().unwrap()),
    ]);
    command
        .arg("--ready-file")
        .arg(home.path("ready"))
        .kill_on_drop(true);
    let mut child = handing(command, &home, &sockets).spawn().expect("it runs");
    let ready = eventually("the ready file", || {
        std::fs::read_to_string(home.path("ready")).ok()
    })
    .await;
    let expected = format!(
        "tcp-exec tcp://{address}\nudp-exec udp://{}\nmetrics http://{metrics_address}/metrics\n",
        udp.local_addr().unwrap()
    );
    assert_eq!(ready, expected);
    let mut legacy = Legacy::connect(address).await;
    assert_eq!(legacy.ask("echo tcp").await.text(), "tcp\n");
    Scrape::of(&format!("http://{metrics_address}/metrics")).await;
    child.start_kill().unwrap();
    soon("its end", child.wait()).await.unwrap();
    server.stop().await;
}

/// How a daemon ends that is handed `sockets`, and is told of `count` of them.
async fn refused(flags: &[&str], sockets: &[Named], count: usize) -> Refusal {
    let home = Home::new();
    let mut command = remexd(&home, flags, sockets);
    command.env("LISTEN_FDS", count.to_string());
    let mut child = command.spawn().expect("bash runs");
    let status = soon("a refusal", child.wait()).await.expect("a child");
    Refusal {
        code: status.code(),
        stderr: home.log(),
    }
}

#[tokio::test]
async fn what_is_of_no_use_is_named_with_what_to_do() {
    let (listener, address) = tcp();
    let listen = address.to_string();
    let flags = ["--listen", &listen];
    let named = |name, socket: OwnedFd| [(name, socket)];

    let other = refused(
        &["--listen", "127.0.0.1:1"],
        &named("listen", copy(&listener)),
        1,
    )
    .await;
    other.assert(
        69,
        &[
            "descriptor 3 (listen)",
            &format!("tcp://{address}"),
            "`listen`",
            "same address",
        ],
    );
    // A name is what it is for, wherever else the address is asked for.
    let legacy = format!("tcp://{address}/exec");
    let flags_of_another = ["--listen", "127.0.0.1:0", "--legacy", &legacy];
    let misnamed = refused(&flags_of_another, &named("listen", copy(&listener)), 1).await;
    misnamed.assert(69, &[&format!("port {}", address.port())]);

    let file = File::open("/dev/null").unwrap();
    refused(&flags, &named("listen", copy(&file)), 1)
        .await
        .assert(69, &["descriptor 3 (listen)", "no socket"]);

    let stream = TcpStream::connect(address).unwrap();
    refused(&flags, &named("listen", copy(&stream)), 1)
        .await
        .assert(69, &["is a connection", "Accept=no"]);

    if let Ok(both) = TcpListener::bind("[::]:0") {
        let all = format!("[::]:{}", both.local_addr().unwrap().port());
        let flags = ["--allow-plaintext", "--listen", &all];
        refused(&flags, &named("listen", copy(&both)), 1)
            .await
            .assert(69, &["IPv4", "BindIPv6Only=ipv6-only"]);
    }

    let unix = std::os::unix::net::UnixDatagram::unbound().unwrap();
    refused(&flags, &named("listen", copy(&unix)), 1)
        .await
        .assert(69, &["nothing here serves it"]);

    // As many names as sockets, and as many sockets as are said to be there.
    refused(&flags, &named("listen", copy(&listener)), 2)
        .await
        .assert(69, &["LISTEN_FDNAMES"]);
    refused(&flags, &named("listen", copy(&listener)), 4000)
        .await
        .assert(69, &["LISTEN_FDS"]);
}

/// What is meant for another process is left alone.
#[tokio::test]
async fn sockets_of_another_process_are_not_taken() {
    let home = Home::new();
    let mut command = home.remexd(&[]);
    command.env("LISTEN_FDS", "3").env("LISTEN_PID", "1");
    let daemon = Daemon::spawn(&home, command).await;
    assert_eq!(run(&daemon.client().await, "echo served").await, "served\n");
    daemon.stop().await;
}

/// systemd's own tool, as whoever tries it out has it.
#[tokio::test]
async fn systemds_own_activation_works() {
    let tool = skip_unless!(crate::harness::tools::program("systemd-socket-activate"));
    let home = Home::new();
    let path = home.path("activated.sock");
    let socket = path.to_str().expect("UTF-8");
    let flags = ["--listen", &format!("unix:{socket}")];
    let wrapper = [tool.to_str().unwrap(), "-l", socket, "--fdname=listen"];
    let mut command = home.remexd_under(&wrapper, &flags);
    let log = File::create(home.path("log")).unwrap();
    command.stdout(Stdio::null()).stderr(log);
    let mut child = command.spawn().expect("it runs");
    // It is there a little before it is listened on. Whoever comes has remexd started.
    let early = eventually("the socket", || UnixStream::connect(&path).ok()).await;
    let client = at(&format!("unix:{socket}")).await;
    assert_eq!(run(&client, "echo activated").await, "activated\n");
    drop(early);
    let pid = rustix::process::Pid::from_raw(child.id().unwrap().cast_signed()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    assert_eq!(
        soon("its end", child.wait()).await.unwrap().code(),
        Some(0),
        "{}",
        home.log()
    );
}

#[tokio::test]
async fn a_listener_that_was_handed_over_may_go_in_a_reload() {
    let home = Home::new();
    let (listener, address) = tcp();
    let file = home.path("remexd.toml");
    let write = |listen: &str| {
        let text = format!("listen = [{listen}]\nno-legacy = true\n");
        std::fs::write(&file, text).expect("a file");
    };
    write(&format!("\"{address}\", \"127.0.0.1:0\""));
    let sockets = [("listen", copy(&listener))];
    let flags = ["--config", file.to_str().unwrap()];
    let daemon = Daemon::spawn_as_it_is(&home, remexd(&home, &flags, &sockets)).await;
    assert_eq!(
        run(&at(&format!("http://{address}")).await, "echo here").await,
        "here\n"
    );
    write("\"127.0.0.1:0\"");
    assert_eq!(asked(&home, &["reload"]).await, "changed: listen\n");
    drop((listener, sockets));
    // With the manager's own copies gone, nobody listens any more.
    eventually("the end of the listener", || {
        TcpStream::connect(address).is_err().then_some(())
    })
    .await;
    daemon.stop().await;
}
