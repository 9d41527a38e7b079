//! `remex legacy` against servers of the old protocol, good and bad.

use std::{
    fs::File,
    io::{Read, Write},
    net::{Shutdown, TcpListener, TcpStream, UdpSocket},
    os::unix::net::UnixListener,
    process::{Command, Stdio},
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Instant,
};

use crate::{
    cli::{PATIENCE, output_of, result},
    terminal::{terminal, wait_readable},
};

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
        // A client that has all it wants may be gone before the rest.
        let sent = reply
            .chunks(piece)
            .try_for_each(|piece| stream.write_all(piece));
        let _ = sent.and_then(|()| stream.shutdown(Shutdown::Write));
        command
    });
    (address, serving)
}

fn reply(header: &str, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(header.len()).unwrap().to_le_bytes();
    [&length, header.as_bytes(), body].concat()
}

fn legacy_command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_remex"));
    command.arg("legacy").args(args);
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn legacy(args: &[&str]) -> (i32, String, String) {
    result(&mut legacy_command(args))
}

/// A server that does with its one connection what `talk` says.
fn played(talk: impl FnOnce(TcpStream) + Send + 'static) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serving = thread::spawn(move || talk(listener.accept().unwrap().0));
    (address, serving)
}

/// What one read brings.
fn some(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    let count = stream.read(&mut bytes).unwrap();
    bytes.truncate(count);
    bytes
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
fn what_a_file_or_a_program_takes_is_byte_for_byte() {
    let body: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    for flags in [&[][..], &["--charset", "gbk"]] {
        let header = format!(r#"{{"total_size": {}}}"#, body.len());
        let (address, server) = serve(reply(&header, &body), 999);
        // Options behind the command are its own, and its words are joined as ssh joins them.
        let words = [flags, &[&address, "cat", "-v", "r.bin"]].concat();
        let output = output_of(legacy_command(&words).spawn().unwrap());
        assert_eq!(output.status.code(), Some(0));
        assert!(output.stdout == body, "{flags:?}");
        assert_eq!(server.join().unwrap(), b"cat -v r.bin");
    }
}

#[test]
fn on_a_terminal_text_is_decoded_and_made_safe() {
    let (address, server) = serve(
        reply(r#"{"data_size": 9}"#, b"\xc4\xe3\xba\xc3\x1b[m\n\xc4"),
        1,
    );
    let (mut near, far) = terminal();
    let mut command = legacy_command(&["--charset", "gbk", &address, "echo 你好"]);
    let child = command.stdout(far).spawn().unwrap();
    until(&mut near, "你好\\u{1b}[m\r\n\u{fffd}");
    assert!(output_of(child).status.success());
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

#[test]
fn a_length_comes_in_either_byte_order() {
    for (endian, length) in [("little", b"\x05\0\0\0"), ("big", b"\0\0\0\x05")] {
        for piece in [1, 1000] {
            let sent = [&length[..], b"hello, and what is no part of it"].concat();
            let (address, server) = serve(sent, piece);
            let outcome = legacy(&["--wire", "length", "--endian", endian, &address, "uname -a"]);
            assert_eq!(outcome, (0, "hello".into(), String::new()));
            assert_eq!(server.join().unwrap(), b"uname -a");
        }
    }
    let (address, _server) = serve(b"\0\0\0\0".to_vec(), 1);
    let nothing = legacy(&["--wire", "length", &address, "true"]);
    assert_eq!(nothing, (0, String::new(), String::new()));
}

#[test]
fn a_length_is_acknowledged_where_the_server_waits_for_it() {
    let (address, server) = played(|mut stream| {
        assert_eq!(some(&mut stream), b"ls");
        stream.write_all(b"11").unwrap();
        assert!(!some(&mut stream).is_empty(), "no acknowledgement");
        stream.write_all(b"hello world").unwrap();
        assert_eq!(some(&mut stream), b"");
    });
    let outcome = legacy(&["--wire", "ascii-length", &address, "ls"]);
    assert_eq!(outcome, (0, "hello world".into(), String::new()));
    server.join().unwrap();
}

#[test]
fn a_length_is_not_acknowledged_where_the_server_pauses() {
    let (address, server) = played(|mut stream| {
        assert_eq!(some(&mut stream), b"ls");
        stream.write_all(b"5").unwrap();
        stream.write_all(b"hello").unwrap();
        // Nothing comes but the end.
        assert_eq!(some(&mut stream), b"");
    });
    let outcome = legacy(&["--wire", "ascii-length", "--ack", "pause", &address, "ls"]);
    assert_eq!(outcome, (0, "hello".into(), String::new()));
    server.join().unwrap();
}

#[test]
fn raw_output_goes_on_to_the_end_of_the_connection() {
    let (address, server) = played(|mut stream| {
        let mut command = Vec::new();
        // The end tells the server that this was all.
        stream.read_to_end(&mut command).unwrap();
        assert_eq!(command, b"ls");
        stream.write_all(b"hello ").unwrap();
        stream.write_all(b"world").unwrap();
    });
    let outcome = legacy(&["--wire", "raw", &address, "ls"]);
    assert_eq!(outcome, (0, "hello world".into(), String::new()));
    server.join().unwrap();
}

#[test]
fn a_datagram_is_answered_by_one() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = format!("udp://{}", socket.local_addr().unwrap());
    let server = thread::spawn(move || {
        let mut command = [0; 1024];
        let (count, from) = socket.recv_from(&mut command).unwrap();
        assert_eq!(command[..count], *b"ls \xc4\xe3");
        socket.send_to(b"\xc4\xe3\n", from).unwrap();
    });
    let child = legacy_command(&["--charset", "gbk", &address, "ls 你"]).spawn();
    let output = output_of(child.unwrap());
    assert_eq!(output.stdout, b"\xc4\xe3\n");
    assert_eq!((output.status.code(), output.stderr.len()), (Some(0), 0));
    server.join().unwrap();
}

#[test]
fn a_datagram_that_nobody_takes_is_a_failure() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = format!("udp://{}", socket.local_addr().unwrap());
    let silent = legacy(&["--timeout", "100ms", &address, "ls"]);
    assert!(
        silent.0 == 255 && silent.2.contains("--timeout"),
        "{silent:?}"
    );
    drop(socket);
    let absent = legacy(&[&address, "ls"]);
    assert!(
        absent.0 == 255 && absent.2.contains("nobody listens"),
        "{absent:?}"
    );
    let long = legacy(&[&address, &"x".repeat(70_000)]);
    assert!(
        long.0 == 255 && long.2.contains("send it over TCP"),
        "{long:?}"
    );
    let wire = legacy(&["--wire", "raw", &address, "ls"]);
    assert!(
        wire.0 == 255 && wire.2.contains("leave out --wire"),
        "{wire:?}"
    );
}

#[test]
fn a_unix_socket_is_a_connection_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = UnixListener::bind(&path).unwrap();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        assert_eq!(some(&mut stream), b"ls");
        stream.write_all(b"\x02\0\0\0ok").unwrap();
    });
    let address = format!("unix:{}", path.display());
    let outcome = legacy(&["--wire", "length", &address, "ls"]);
    assert_eq!(outcome, (0, "ok".into(), String::new()));
    server.join().unwrap();
    let gone = folder.path().join("gone");
    let absent = legacy(&[&format!("unix:{}", gone.display()), "ls"]);
    assert!(
        absent.0 == 255 && absent.2.contains("cannot connect"),
        "{absent:?}"
    );
}

/// Reads from a terminal until it shows `text`.
fn until(near: &mut File, text: &str) {
    let end = Instant::now() + PATIENCE;
    let mut seen = String::new();
    while !seen.contains(text) {
        wait_readable(near, end, &format_args!("{text:?}: {seen:?}"));
        seen.push_str(&String::from_utf8_lossy(&some(near)));
    }
}

#[test]
fn the_progress_of_a_slow_reply_is_seen_on_a_terminal() {
    let (go_on, may_go_on) = mpsc::channel();
    let half = vec![b'x'; 2_500_000];
    let (address, server) = played(move |mut stream| {
        some(&mut stream);
        may_go_on.recv_timeout(PATIENCE).unwrap();
        stream.write_all(&5_000_000_i32.to_le_bytes()).unwrap();
        stream.write_all(&half).unwrap();
        may_go_on.recv_timeout(PATIENCE).unwrap();
        stream.write_all(&half).unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("output");
    let (mut near, far) = terminal();
    let mut command = legacy_command(&["--wire", "length", &address, "ls"]);
    command.env("TERM", "xterm").stderr(far);
    let child = command
        .stdout(File::create(&path).unwrap())
        .spawn()
        .unwrap();
    until(&mut near, "waiting for the reply");
    go_on.send(()).unwrap();
    until(&mut near, "2.38 MiB/4.77 MiB");
    go_on.send(()).unwrap();
    assert!(output_of(child).status.success());
    assert_eq!(path.metadata().unwrap().len(), 5_000_000);
    server.join().unwrap();
}

#[test]
fn the_example_of_a_client_ends_with_its_connection() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/legacy/client.py");
    for sent in [
        &b""[..],
        b"\x14\0\0\0",
        b"\x12\0\0\0{\"total_size\": 5 }abc",
    ] {
        let (address, _server) = serve(sent.to_vec(), 1000);
        let mut client = Command::new("python3");
        client.args([script, &address, "ls"]).stdin(Stdio::null());
        let (code, _, stderr) = result(client.stdout(Stdio::piped()).stderr(Stdio::piped()));
        assert_eq!(code, 1, "{stderr}");
        assert!(stderr.contains("in the middle of an answer"), "{stderr}");
    }
}
