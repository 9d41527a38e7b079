//! What is no command but another protocol, such as a browser sends to a port that a page names.

use std::fs;

use super::support::{Legacy, remexd};

/// Each would leave a file `x` behind, if a shell got hold of it and it can be a command at all.
const FOREIGN: [&[u8]; 8] = [
    b"GET /;touch${IFS}x HTTP/1.1\r\nHost: localhost\r\n\r\ntouch x\n",
    b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\n;touch x\n",
    b"echo /;touch${IFS}x HTTP/1.1\r\nHost: localhost\r\n\r\n",
    b"touch x HTTP/1.1\r\n\r\n",
    b"\r\ntouch x HTTP/1.0\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n;touch x\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03;touch x\n",
    b"SSH-2.0-OpenSSH_9.6\r\n;touch x\n",
];

#[tokio::test]
async fn other_protocols_run_nothing_and_get_nothing() {
    for wire in ["json-header", "length", "ascii-length", "raw"] {
        let daemon = remexd(&[&format!("tcp://127.0.0.1:0/exec?wire={wire}")]).await;
        let files = || {
            fs::read_dir(daemon.home().folder())
                .expect("a folder")
                .count()
        };
        let before = files();
        for bytes in FOREIGN {
            let mut first = Legacy::connect(daemon.socket("tcp-exec")).await;
            first.send(bytes).await;
            let got = first.rest().await;
            assert!(got.is_empty(), "{} got {got:?}", bytes.escape_ascii());
        }
        assert_eq!(files(), before);
        let line = "refused a cross-protocol attempt";
        daemon.home().logged(&[line]).await;
        daemon.stop().await;
    }
}

#[tokio::test]
async fn other_protocols_run_nothing_as_a_later_command_either() {
    let daemon = remexd(&["tcp://127.0.0.1:0/exec"]).await;
    let files = || {
        fs::read_dir(daemon.home().folder())
            .expect("a folder")
            .count()
    };
    let before = files();
    for bytes in FOREIGN {
        let mut later = Legacy::connect(daemon.socket("tcp-exec")).await;
        assert_eq!(later.ask("echo 1").await.text(), "1\n");
        later.send(bytes).await;
        let got = later.rest().await;
        assert!(got.is_empty(), "{} got {got:?}", bytes.escape_ascii());
    }
    assert_eq!(files(), before);
    daemon.stop().await;
}

#[tokio::test]
async fn echo_reflects_none_of_them() {
    let daemon = remexd(&["tcp://127.0.0.1:0/echo"]).await;
    for bytes in FOREIGN {
        let mut client = Legacy::connect(daemon.socket("tcp-echo")).await;
        client.send(bytes).await;
        let got = client.rest().await;
        assert!(got.is_empty(), "{} got {got:?}", bytes.escape_ascii());
    }
    daemon.stop().await;
}

#[tokio::test]
async fn commands_that_look_like_it_are_commands() {
    let daemon = remexd(&["tcp://127.0.0.1:0/exec"]).await;
    let mut client = Legacy::connect(daemon.socket("tcp-exec")).await;
    fs::write(daemon.home().path("page"), "GET / HTTP/1.1\n").expect("a file");
    for (command, expected) in [
        ("ls /tmp >list && test -s list && echo listed", "listed\n"),
        (
            "grep -r --include=page HTTP/1.1 .",
            "./page:GET / HTTP/1.1\n",
        ),
        (
            "grep -r --include=page HTTP/1.1 .\n",
            "./page:GET / HTTP/1.1\n",
        ),
        ("echo a HTTP/1.1", "a HTTP/1.1\n"),
        ("echo SSH-2.0", "SSH-2.0\n"),
    ] {
        assert_eq!(client.ask(command).await.text(), expected, "{command:?}");
    }
    daemon.stop().await;
}
