//! UDP: one datagram in, one out.

use remex_gateway::limits::Limits;

use crate::site::{Site, ask_udp, skip, soon};

#[tokio::test]
async fn a_command_is_answered_with_one_datagram() {
    let site = Site::start("udp://127.0.0.1:0/exec");
    let socket = site.udp().await;
    for (command, reply) in [
        ("out hello;err  there", "hello there"),
        ("err e;out o", "oe"),
        ("exit 3", "(no output, exit code 3)\n"),
        ("", "(no output, exit code 0)\n"),
        (" \n", "(no output, exit code 0)\n"),
        ("timeout", "[remex: the command was ended by its timeout]\n"),
        (
            "out a;signal 9",
            "a\n[remex: the command was ended by signal SIGKILL]\n",
        ),
        ("refuse", "remex: there is no program `nope`\n"),
        (
            "out a\0",
            "remex: the command contains a NUL byte; nothing was run\n",
        ),
    ] {
        assert_eq!(
            ask_udp(&socket, command).await,
            reply.as_bytes(),
            "{command:?}"
        );
    }
    let asked = site.fake.asked().remove(0);
    assert_eq!(
        asked.command.timeout.map(|timeout| timeout.seconds),
        Some(30)
    );
    let caller = asked.caller.unwrap();
    assert_eq!(caller.address, Some(socket.local_addr().unwrap()));
    assert!(caller.is_local());
}

#[tokio::test]
async fn a_reply_fits_into_its_datagram() {
    let site = Site::start("udp://127.0.0.1:0/exec?max_datagram=1024");
    let socket = site.udp().await;
    assert_eq!(ask_udp(&socket, "fill 1024").await, b"x".repeat(1024));
    let reply = ask_udp(&socket, "fill 1025;err more").await;
    assert!(reply.len() <= 1024);
    let kept = reply.iter().take_while(|byte| **byte == b'x').count();
    let note = format!("\n[remex: cut, {kept} of 1029 bytes]");
    assert_eq!(&reply[kept..], note.as_bytes());

    let site = Site::start("udp://127.0.0.1:0/exec");
    let socket = site.udp().await;
    assert_eq!(ask_udp(&socket, "fill 65507").await.len(), 65_507);
    let reply = ask_udp(&socket, "fill 10000000").await;
    assert!(reply.ends_with(b" of 10000000 bytes]") && reply.len() <= 65_507);
}

#[tokio::test]
async fn no_character_is_cut() {
    let site = Site::start("udp://127.0.0.1:0/exec?max_datagram=128&charset=gbk");
    let socket = site.udp().await;
    let text = "目".repeat(100);
    let reply = ask_udp(&socket, format!("out a{text}")).await;
    let (text, _, errors) = encoding_rs::GBK.decode(&reply);
    assert!(!errors && text.starts_with("a目目"), "{text}");
}

#[tokio::test]
async fn another_protocol_gets_nothing() {
    let site = Site::start("udp://127.0.0.1:0/exec");
    let socket = site.udp().await;
    socket.send(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(ask_udp(&socket, "out next").await, b"next");
    assert_eq!(site.fake.asked().len(), 1);
}

#[tokio::test]
async fn echo_sends_every_datagram_back() {
    let site = Site::start("udp://127.0.0.1:0/echo");
    let socket = site.udp().await;
    assert_eq!(
        ask_udp(&socket, "hello äß\n").await,
        "HELLO äß\n".as_bytes()
    );
    assert_eq!(ask_udp(&socket, "").await, b"");
    let most = "a".repeat(65_507);
    assert_eq!(ask_udp(&socket, &most).await, b"A".repeat(65_507));
}

#[tokio::test]
async fn time_is_told_in_the_format_asked_for() {
    let site = Site::start("udp://127.0.0.1:0/time?charset=gbk");
    let socket = site.udp().await;
    let year = ask_udp(&socket, "%Y").await;
    assert!(str::from_utf8(&year).unwrap().parse::<u16>().unwrap() >= 2025);
    assert_eq!(ask_udp(&socket, "%9999Y").await.len(), 4);
    let default = ask_udp(&socket, "").await;
    assert_eq!(default.len(), "2025-01-01 12:00:00".len());
    let gbk = encoding_rs::GBK.encode("年").0.into_owned();
    assert_eq!(ask_udp(&socket, &gbk).await, gbk);
}

#[tokio::test]
async fn our_own_listeners_are_no_clients() {
    let site = Site::start("udp://127.0.0.1:0/echo");
    let socket = site.udp().await;
    // As a forged datagram would have it: from the listener, to itself.
    let forged = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::RAW, Some(17.into()));
    let Ok(forged) = forged else {
        return skip("a raw socket").unwrap_or_default();
    };
    let port = site.address().port().to_be_bytes();
    let datagram = [
        port[0], port[1], port[0], port[1], 0, 12, 0, 0, b'l', b'o', b'o', b'p',
    ];
    forged.send_to(&datagram, &site.address().into()).unwrap();
    assert_eq!(ask_udp(&socket, "after").await, b"AFTER");
}

#[tokio::test]
async fn rates_are_bounded() {
    let limits = Limits {
        datagrams_per_source: 5,
        ..Limits::default()
    };
    let site = Site::with("udp://127.0.0.1:0/echo", limits);
    let socket = site.udp().await;
    for _ in 0..50 {
        socket.send(b"a").await.unwrap();
    }
    let mut replies = 0;
    let mut buffer = [0; 8];
    // A sixth is earned 200 ms later.
    while tokio::time::timeout(
        std::time::Duration::from_millis(100),
        socket.recv(&mut buffer),
    )
    .await
    .is_ok()
    {
        replies += 1;
    }
    assert_eq!(replies, 5);
}

#[tokio::test]
async fn datagrams_at_once_are_bounded() {
    // Echo and time have room of their own.
    let limits = Limits {
        datagram_commands: 1,
        datagrams_in_flight: 0,
        ..Limits::default()
    };
    let site = Site::with("udp://127.0.0.1:0/exec", limits);
    let socket = site.udp().await;
    socket.send(b"wait").await.unwrap();
    soon(site.fake.running(1)).await;
    socket.send(b"out lost").await.unwrap();
    site.stop();
    assert_eq!(site.fake.asked().len(), 1);
    site.abort().await;
}
