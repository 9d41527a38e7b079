//! `remex legacy` against servers of the old protocol, good and bad.

use std::{
    io::{Read, Write},
    net::{Shutdown, TcpListener},
    process::{Command, Stdio},
    thread::{self, JoinHandle},
};

use crate::cli::result;

const DIGEST: &str = "5d41402abc4b2a76b9719d911017c592";

/// A server that answers one command with `reply`, in pieces of `piece` bytes, and the command.
fn serve(reply: Vec<u8>, piece: usize) -> (String, JoinHandle<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        let mut command = vec![0; 1024];
        let count = stream.read(&mut command).unwrap();
        command.truncate(count);
        for piece in reply.chunks(piece) {
            stream.write_all(piece).unwrap();
        }
        stream.shutdown(Shutdown::Write).unwrap();
        command
    });
    (address, serving)
}

fn reply(header: &str, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(header.len()).unwrap().to_le_bytes();
    [&length, header.as_bytes(), body].concat()
}

fn legacy(args: &[&str]) -> (i32, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_remex"));
    command.arg("legacy").args(args);
    result(
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped()),
    )
}

#[test]
fn replies_are_printed_however_they_are_cut() {
    let header = r#"{"total_size": 5, "md5": "abcdefg1234", "filename": "xxxxxxxx"}"#;
    for piece in [1, 7, 1000] {
        let (address, server) = serve(reply(header, b"hello"), piece);
        assert_eq!(
            legacy(&[&address, "uname -a"]),
            (0, "hello".into(), String::new())
        );
        assert_eq!(server.join().unwrap(), b"uname -a");
    }
}

#[test]
fn exit_code_and_digest_are_taken_from_the_header() {
    let header = format!(r#"{{"size": 5, "md5": "{DIGEST}", "exit_code": 7, "signal": null}}"#);
    let (address, _server) = serve(reply(&header, b"hello"), 1000);
    assert_eq!(legacy(&[&address, "x"]), (7, "hello".into(), String::new()));
    let (address, _server) = serve(reply(&header, b"hullo"), 1000);
    let (code, stdout, stderr) = legacy(&[&address, "x"]);
    assert_eq!((code, stdout.as_str()), (7, "hullo"));
    assert!(stderr.contains("MD5"), "{stderr}");
}

#[test]
fn text_is_decoded_and_made_safe() {
    let (address, server) = serve(reply(r#"{"data_size": 8}"#, b"\xc4\xe3\xba\xc3\x1b[m\n"), 1);
    let outcome = legacy(&["--charset", "gbk", &address, "echo 你好"]);
    assert_eq!(outcome, (0, "你好\\x1b[m\n".into(), String::new()));
    assert_eq!(server.join().unwrap(), b"echo \xc4\xe3\xba\xc3");
}

#[test]
fn what_is_no_reply_is_a_failure() {
    for (sent, said) in [
        (&b""[..], "without a whole answer"),
        (b"\x04\0", "without a whole answer"),
        (b"HTTP/1.1 400 Bad Request\r\n", "speaks json-header"),
        (b"\xff\xff\xff\xff", "speaks json-header"),
        // One byte more than a header may have.
        (b"\x01\0\x01\0", "speaks json-header"),
        (b"\x02\0\0\0[]", "not JSON"),
        (b"\x02\0\0\0{}", "total_size"),
        (b"\x0b\0\0\0{\"size\": 5}abc", "after 3 of 5 bytes"),
    ] {
        let (address, _server) = serve(sent.to_vec(), 1000);
        let (code, _, stderr) = legacy(&[&address, "x"]);
        assert_eq!(code, 255, "{stderr}");
        assert!(
            stderr.contains(said) && stderr.lines().count() == 1,
            "{stderr}"
        );
    }
}

#[test]
fn a_header_may_be_as_long_as_the_limit() {
    let start = r#"{"size": 2, "filename": ""#;
    let padding = "x".repeat((64 << 10) - start.len() - 2);
    let header = format!(r#"{start}{padding}"}}"#);
    let (address, _server) = serve(reply(&header, b"ok"), 1 << 20);
    assert_eq!(legacy(&[&address, "x"]), (0, "ok".into(), String::new()));
}

#[test]
fn a_silent_server_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (code, _, stderr) = legacy(&["--timeout", "100ms", &address, "x"]);
    assert_eq!(code, 255);
    assert!(stderr.contains("--timeout"), "{stderr}");
}
