//! What the gateway as a process of its own reads again at SIGHUP.

use std::fs;

use rustix::process::Signal;
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::reload::{Configured, is_refused};
use crate::{
    gateway::support::Legacy,
    harness::{Home, binaries::binary, eventually, soon},
};

/// The gateway as a service manager starts it.
fn gateway(home: &Home, file: &std::path::Path) -> tokio::process::Child {
    let log = fs::File::create(home.path("gateway-log")).expect("a log file");
    tokio::process::Command::new("env")
        .args(["--default-signal=HUP", "setsid"])
        .arg(binary("remex-gateway"))
        .arg("--config")
        .arg(file)
        .env("NOTIFY_SOCKET", home.path("notify"))
        .stdin(std::process::Stdio::null())
        .stdout(std::process::Stdio::null())
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("remex-gateway runs")
}

fn hangup(child: &tokio::process::Child) {
    let pid = rustix::process::Pid::from_raw(child.id().expect("it runs").cast_signed());
    rustix::process::kill_process(pid.expect("a pid"), Signal::HUP).expect("it runs");
}

#[tokio::test]
async fn the_gateway_reads_its_file_again_at_sighup() {
    let home = Home::new();
    let manager = tokio::net::UnixDatagram::bind(home.path("notify")).expect("a socket");
    let news = async || {
        let mut buffer = [0; 256];
        let bytes = soon("news", manager.recv(&mut buffer))
            .await
            .expect("a notification");
        String::from_utf8_lossy(&buffer[..bytes]).into_owned()
    };
    let site = Configured {
        file: home.path("gateway.toml"),
        home: home.clone(),
    };
    let text = |legacy: &str| {
        format!(
            "upstream = \"unix:/none\"\nready-file = \"{}\"\nlegacy = [{legacy}]\n",
            home.path("ready").display()
        )
    };
    site.write(&text("\"tcp://127.0.0.1:0/echo\""));
    let mut child = gateway(&home, &site.file);
    assert_eq!(news().await, "READY=1\n");
    let address = site.address("tcp-echo");
    let standing = TcpStream::connect(address).await.unwrap();
    site.write(&text(
        "\"udp://127.0.0.1:0/time\", \"tcp://127.0.0.1:0/echo?gather=1ms\"",
    ));
    hangup(&child);
    assert!(news().await.starts_with("RELOADING=1\nMONOTONIC_USEC="));
    assert_eq!(news().await, "READY=1\n");
    assert_eq!(site.address("tcp-echo"), address);
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    udp.send_to(b"%%", site.address("udp-time")).await.unwrap();
    let mut answer = [0; 1];
    soon("the time", udp.recv(&mut answer)).await.unwrap();
    assert_eq!(&answer, b"%");
    // What is wrong, and what is taken, change nothing.
    let before = site.ready();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = taken.local_addr().unwrap();
    for wrong in [
        "\"tcp://127.0.0.1:0/echo?wier=1\"".to_owned(),
        format!("\"tcp://{port}/echo\""),
    ] {
        site.write(&text(&wrong));
        hangup(&child);
        assert!(news().await.starts_with("RELOADING=1\n"));
        assert_eq!(news().await, "READY=1\n");
        assert_eq!(site.ready(), before);
    }
    eventually("both in the log", || {
        let log = fs::read_to_string(home.path("gateway-log")).expect("the log");
        let said = log.contains("`wier`") && log.contains(&format!("port {}", port.port()));
        said.then_some(())
    })
    .await;
    site.write(&text("\"udp://127.0.0.1:0/time\""));
    hangup(&child);
    assert!(news().await.starts_with("RELOADING=1\n"));
    assert_eq!(news().await, "READY=1\n");
    is_refused(address).await;
    let mut legacy = Legacy { stream: standing };
    assert!(legacy.rest().await.is_empty());
    child.start_kill().unwrap();
    soon("its end", child.wait()).await.unwrap();
}
