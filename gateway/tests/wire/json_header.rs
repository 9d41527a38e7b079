//! `json-header`: what the reply says and what it carries.

use md5::{Digest, Md5};
use remex::v1::command::Drain;
use serde_json::json;

use crate::{fake, site::Site};

const URL: &str = "tcp://127.0.0.1:0/exec";

fn hex(bytes: &[u8]) -> String {
    let digest: [u8; 16] = Md5::digest(bytes).into();
    format!("{:032x}", u128::from_be_bytes(digest))
}

#[tokio::test]
async fn a_reply_says_all_of_its_body() {
    let site = Site::start(URL);
    let mut peer = site.connect().await;
    let reply = peer.ask("err b;out a;err c;exit 3").await;
    assert_eq!(reply.text(), "abc");
    let expected = json!({
        "total_size": 3,
        "md5": hex(b"abc"),
        "filename": "output.txt",
        "stdout_size": 1,
        "stderr_size": 2,
        "exit_code": 3,
        "signal": null,
        "truncated": false,
        "execution_id": fake::ID,
    });
    assert_eq!(reply.header, expected);
}

#[tokio::test]
async fn a_command_goes_as_the_listener_says_and_tells_whose_it_is() {
    let site = Site::start("tcp://127.0.0.1:0/exec?shell=/bin/bash&timeout=5s&drain=eof");
    let mut peer = site.connect().await;
    peer.ask("out x\n").await;
    let asked = site.fake.asked().remove(0);
    assert_eq!(asked.command.argv, ["/bin/bash", "-c", "out x"]);
    assert_eq!(
        asked.command.timeout.map(|timeout| timeout.seconds),
        Some(5)
    );
    assert_eq!(asked.command.drain(), Drain::Eof);
    assert_eq!(asked.address.as_deref(), Some("127.0.0.1"));
    let caller = asked.caller.unwrap();
    assert_eq!(caller.address, Some(peer.stream.local_addr().unwrap()));
    assert!(caller.is_local());
}

#[tokio::test]
async fn one_connection_runs_one_command_after_the_other() {
    let site = Site::start(URL);
    let mut peer = site.connect().await;
    for number in 0..20 {
        let reply = peer.ask(&format!("out {number}")).await;
        assert_eq!(reply.text(), number.to_string());
    }
    assert_eq!(site.fake.asked()[0].command.shell, "out 0");
    assert_eq!(site.fake.asked()[0].command.timeout, None);
    assert_eq!(site.fake.asked()[0].command.drain(), Drain::Unspecified);
}

#[tokio::test]
async fn nothing_is_a_reply_too() {
    let site = Site::start(URL);
    let mut peer = site.connect().await;
    for (command, id) in [("exit 0", fake::ID), (" \t\n", ""), ("\n\n", "")] {
        let reply = peer.ask(command).await;
        assert_eq!(reply.body, b"", "{command:?}");
        assert_eq!(reply.header["exit_code"], 0);
        assert_eq!(reply.header["execution_id"], id);
    }
    assert_eq!(site.fake.asked().len(), 1);
}

#[tokio::test]
async fn pitfall_64_a_killed_command_never_looks_like_success() {
    let site = Site::start(URL);
    let mut peer = site.connect().await;
    for (script, signal) in [
        ("signal 9", "SIGKILL"),
        ("signal 37", "SIGRTMIN+3"),
        ("timeout", "SIGTERM"),
    ] {
        let reply = peer.ask(script).await;
        assert!(reply.header["exit_code"].is_null());
        assert_eq!(reply.header["signal"], signal);
    }
}

#[tokio::test]
async fn large_output_is_whole_and_its_digest_true() {
    let site = Site::start(URL);
    let mut peer = site.connect().await;
    for bytes in [1_048_575, 1_048_576, 1_048_577, 10_000_000] {
        let reply = peer.ask(&format!("fill {bytes};err end")).await;
        assert_eq!(reply.body.len(), bytes + 3);
        assert!(reply.body.ends_with(b"xend"));
        assert_eq!(reply.header["md5"], hex(&reply.body));
        assert_eq!(reply.header["stdout_size"], bytes);
        assert_eq!(reply.header["stderr_size"], 3);
    }
    assert_eq!(site.spool().read_dir().unwrap().count(), 0);
}

#[tokio::test]
async fn a_body_beyond_the_bound_is_cut_and_says_so() {
    let limits = remex_gateway::limits::Limits {
        body_bytes: 3_000_000,
        ..remex_gateway::limits::Limits::default()
    };
    let site = Site::with(URL, limits);
    let mut peer = site.connect().await;
    let reply = peer.ask("fill 3000000").await;
    assert_eq!(
        (reply.body.len(), &reply.header["truncated"]),
        (3_000_000, &json!(false))
    );
    let reply = peer.ask("fill 3000001").await;
    assert!(reply.body.len() <= 3_000_000);
    assert_eq!(reply.header["truncated"], true);
    assert_eq!(reply.header["md5"], hex(&reply.body));
    let kept = reply.header["stdout_size"].as_u64().unwrap();
    let note = format!("\n[remex: cut, {kept} of 3000001 bytes]");
    assert!(reply.body.ends_with(note.as_bytes()));
}

#[tokio::test]
async fn size_key_and_byte_order_are_the_listeners() {
    let site = Site::start("tcp://127.0.0.1:0/exec?size_key=data_size&endian=big");
    let mut peer = site.connect().await;
    peer.send("out abc").await;
    let length: [u8; 4] = peer.exactly(4).await.try_into().unwrap();
    let length = usize::try_from(i32::from_be_bytes(length)).unwrap();
    let header: serde_json::Value = serde_json::from_slice(&peer.exactly(length).await).unwrap();
    assert_eq!(header["data_size"], 3);
    assert!(header.get("total_size").is_none());
    assert_eq!(peer.exactly(3).await, b"abc");
}

#[tokio::test]
async fn gbk_comes_and_goes() {
    let site = Site::start("tcp://127.0.0.1:0/exec?charset=gbk");
    let mut peer = site.connect().await;
    let gbk = |text: &str| encoding_rs::GBK.encode(text).0.into_owned();
    peer.send(gbk("out 你好")).await;
    let reply = peer.reply().await;
    assert_eq!(reply.body, gbk("你好"));
    assert_eq!(reply.header["md5"], hex(&reply.body));
    assert_eq!(site.fake.asked()[0].command.shell, "out 你好");
    // UTF-8 too, split in the middle of a character, and what GBK does not have.
    peer.send("hex e79b;hex ae;out 🙂;hex ff".as_bytes()).await;
    assert_eq!(peer.reply().await.body, gbk("目??"));
}

#[tokio::test]
async fn bytes_that_are_no_text_pass_as_they_are() {
    let site = Site::start(URL);
    let mut peer = site.connect().await;
    let reply = peer.ask("hex 00ff80e7").await;
    assert_eq!(reply.body, [0, 0xff, 0x80, 0xe7]);
}

#[tokio::test]
async fn a_unix_socket_speaks_it_too() {
    let folder = tempfile::tempdir().unwrap();
    let url = format!("unix:{}/legacy.sock?service=exec", folder.path().display());
    let site = Site::start(&url);
    let mut peer = site.connect_unix().await;
    assert_eq!(peer.ask("out a").await.text(), "a");
    assert_eq!(peer.ask("fill 2000000").await.body.len(), 2_000_000);
    assert_eq!(site.fake.asked()[0].address, None);
}
