use proptest::prelude::*;

use super::*;

#[test]
fn other_protocols_are_seen() {
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    for (bytes, expected) in [
        (
            &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..],
            Foreign::Http1,
        ),
        (b"POST /x HTTP/1.0\n\nid", Foreign::Http1),
        (b"echo /;touch${IFS}x HTTP/1.1\r\n", Foreign::Http1),
        (b"ls http://127.0.0.1:8080/ HTTP/1.1\r\n", Foreign::Http1),
        (b"rm * HTTP/1.9\r", Foreign::Http1),
        (b"\r\n\r\nGET / HTTP/1.1\r\n", Foreign::Http1),
        (b"\xef\xbb\xbfGET / HTTP/1.1\r\n", Foreign::Http1),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Foreign::Http2),
        (hello, Foreign::Tls),
        (b"\x16\x03\x00\x00\x00\x01", Foreign::Tls),
        (b"\x16\x03\x04\xff\xff\x01", Foreign::Tls),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Foreign::Ssh),
        (b"SSH-1.99-x", Foreign::Ssh),
    ] {
        assert_eq!(foreign(bytes), Some(expected), "{}", bytes.escape_ascii());
    }
}

#[test]
fn commands_are_none() {
    for bytes in [
        &b""[..],
        b"\r\n",
        b"ls /tmp",
        b"ls /tmp\n",
        b"grep -r HTTP/1.1 .",
        b"grep -r HTTP/1.1 .\n",
        b"echo a HTTP/1.1",
        b"GET",
        b"GET /",
        b"echo a b HTTP/1.1\n",
        b"echo HTTP/1.1\n",
        b"echo  HTTP/1.1\n",
        b"echo a HTTP/1.x\n",
        b"echo a HTTP/1.10\n",
        b"echo a HTTP/2.0\n",
        b"echo a HTTP/1.1 \n",
        b"echo(a HTTP/1.1\n",
        b"echo a\tb HTTP/1.1\n",
        b"echo \ta HTTP/1.1\n",
        b"(echo a HTTP/1.1\n)",
        b"printf 'GET / HTTP/1.1\\r\\n'",
        b"date\nGET / HTTP/1.1\n",
        b"SSH-add",
        b"SSH-2x",
        b"SSG-2.0",
        b"PRIntf x",
        b"\x16\x02\x01\x00\x00\x01",
        b"\x16\x03\x05\x00\x00\x01",
        b"\x16\x03\x01\x00\x00\x02",
        b"\x15\x03\x01\x00\x00\x01",
        b"\x16\x03\x01\x00\x00",
    ] {
        assert_eq!(foreign(bytes), None, "{}", bytes.escape_ascii());
    }
}

/// How pieces are taken off a connection, each asked about as it comes; `late`: the rest never comes in time. What would run.
fn run(pieces: &[&[u8]], late: bool) -> Vec<Vec<u8>> {
    let (mut guard, mut pending, mut ran) = (Guard::default(), Vec::new(), Vec::new());
    for (index, piece) in pieces.iter().enumerate() {
        pending.extend_from_slice(piece);
        let last = index + 1 == pieces.len();
        match guard.judge(&pending) {
            Verdict::Foreign(_) => return ran,
            Verdict::Piece if !late && !last => continue,
            Verdict::Piece if guard.without_rest(&pending).is_some() => return ran,
            Verdict::Piece | Verdict::Clear => {}
        }
        ran.push(std::mem::take(&mut pending));
        guard.next();
    }
    ran
}

#[test]
fn pieces_wait_and_commands_do_not() {
    let long = format!("echo /{}", "a".repeat(LONG_PIECE_BYTES));
    for (bytes, expected) in [
        (&b"G"[..], Verdict::Piece),
        (b"GET", Verdict::Piece),
        (b"GET /x;touch", Verdict::Piece),
        (b"\r\nPOST /x", Verdict::Piece),
        (b"echo /x HTTP/1.1", Verdict::Piece),
        (b"P", Verdict::Piece),
        (b"PRI * HTTP", Verdict::Piece),
        (b"\x16\x03\x01", Verdict::Piece),
        (b"S", Verdict::Piece),
        (b"SSH-2", Verdict::Piece),
        (long.as_bytes(), Verdict::Piece),
        (&long.as_bytes()[..1024], Verdict::Piece),
        (&long.as_bytes()[..1023], Verdict::Clear),
        (b"ls /tmp", Verdict::Clear),
        (b"ls", Verdict::Clear),
        (b"get file", Verdict::Clear),
        (b"GETX /", Verdict::Clear),
        (b"", Verdict::Clear),
        (b"SSH-add", Verdict::Clear),
    ] {
        let mut guard = Guard::default();
        assert_eq!(guard.judge(bytes), expected, "{}", bytes.escape_ascii());
    }
    // A page may choose a method that a shell would run, and that is longer than a segment.
    let method = format!("touch$IFS.x&{}", "#".repeat(LONG_PIECE_BYTES));
    assert_eq!(Guard::default().judge(method.as_bytes()), Verdict::Piece);
}

#[test]
fn what_begins_with_a_method_waits_at_any_length() {
    for method in [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH",
    ] {
        let line = format!("\r\n{method} /x HTTP/1.1\r\n");
        for end in 3..line.len() - 1 {
            let piece = &line.as_bytes()[..end];
            let mut guard = Guard::default();
            assert_eq!(guard.judge(piece), Verdict::Piece, "{method}, {end} bytes");
        }
    }
}

#[test]
fn a_command_that_could_go_on_with_an_earlier_one_waits_only_if_it_is_long() {
    let long = [b'x'; 1024];
    for (earlier, message, expected) in [
        ("ls /tmp", &b"pwd"[..], Verdict::Clear),
        ("ls /tmp", &long[..1023], Verdict::Clear),
        ("ls /tmp", &long, Verdict::Piece),
        // A method goes on, or is followed by a space.
        ("date", &long, Verdict::Piece),
        ("date", &[b'('; 1024], Verdict::Clear),
    ] {
        let mut guard = Guard::default();
        guard.judge(earlier.as_bytes());
        guard.next();
        assert_eq!(
            guard.judge(message),
            expected,
            "{earlier}, {}",
            message.len()
        );
    }
}

#[test]
fn a_message_that_grows_is_judged_once() {
    let mut guard = Guard::default();
    assert_eq!(guard.judge(b"GET /x HTT"), Verdict::Piece);
    assert_eq!(guard.judge(b"GET /x HTTP/1.1"), Verdict::Piece);
    assert_eq!(
        guard.judge(b"GET /x HTTP/1.1\n"),
        Verdict::Foreign(Foreign::Http1)
    );
    let mut guard = Guard::default();
    assert_eq!(guard.judge(b"POST /x"), Verdict::Piece);
    assert_eq!(guard.judge(b"POST /x y"), Verdict::Clear);
    // Behind what is none, nothing begins anew.
    assert_eq!(guard.judge(b"POST /x yGET / HTTP/1.1\n"), Verdict::Clear);
}

#[test]
fn names_are_those_of_the_protocols() {
    for (foreign, name) in [
        (Foreign::Http1, "HTTP/1"),
        (Foreign::Http2, "HTTP/2"),
        (Foreign::Tls, "TLS"),
        (Foreign::Ssh, "SSH"),
    ] {
        assert_eq!(foreign.to_string(), name);
    }
}

#[test]
fn what_came_before_is_remembered() {
    let mut guard = Guard::default();
    for command in ["date", "ls /tmp", "echo a"] {
        assert_eq!(guard.judge(command.as_bytes()), Verdict::Clear);
        guard.next();
    }
    // It goes on with the command before, and with nothing else.
    assert_eq!(
        guard.judge(b" HTTP/1.1\r\n\r\ntouch x"),
        Verdict::Foreign(Foreign::Http1)
    );
    let mut guard = Guard::default();
    assert_eq!(guard.judge(b"echo a\n"), Verdict::Clear);
    guard.next();
    assert_eq!(guard.judge(b" HTTP/1.1\r\n"), Verdict::Clear);
}

#[test]
fn what_no_command_begins_with_is_refused_without_its_rest() {
    for (bytes, expected) in [
        (&b"GET /x"[..], Some(Foreign::Http1)),
        (b"PRI * ", Some(Foreign::Http2)),
        (b"\x16\x03", Some(Foreign::Tls)),
        (b"SSH-", Some(Foreign::Ssh)),
        (b"GET", None),
        (b"PRI", None),
        (b"PRI ", Some(Foreign::Http2)),
        (b"SSH", None),
        (b"\x16", None),
        (b"echo a HTTP/1.1", None),
    ] {
        let mut guard = Guard::default();
        assert_eq!(guard.judge(bytes), Verdict::Piece);
        assert_eq!(guard.without_rest(bytes), expected);
    }
}

#[test]
fn memory_of_earlier_pieces_is_bounded() {
    let mut guard = Guard::default();
    for piece in ["a", "S", "\x16", "P", "a b", "a b ", "PRI", "SSH-"]
        .iter()
        .cycle()
        .take(1000)
    {
        guard.judge(piece.as_bytes());
        guard.next();
    }
    assert!(guard.earlier.len() < 40, "{}", guard.earlier.len());
}

#[test]
fn pitfall_58_no_cut_lets_a_request_run() {
    let post = b"POST /x;touch HTTP/1.1\r\nHost: a\r\n\r\ntouch F";
    let preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    let hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";
    let banner = b"SSH-2.0-OpenSSH_9.6\r\n";
    for request in [&post[..], preface, hello, banner] {
        for cut in 1..request.len() {
            let (one, two) = request.split_at(cut);
            assert!(run(&[one, two], false).is_empty(), "cut at {cut}");
        }
        let bytes: Vec<_> = request.chunks(1).collect();
        assert!(run(&bytes, false).is_empty());
    }
}

/// What is no beginning of anything itself.
#[test]
fn a_long_piece_goes_on_with_a_request_line_and_with_nothing_else() {
    let rest = [b"/", &[b'a'; LONG_PIECE_BYTES][..]].concat();
    let mut guard = Guard::default();
    assert_eq!(guard.judge(b"GET /"), Verdict::Piece);
    guard.next();
    assert_eq!(guard.judge(&rest[..LONG_PIECE_BYTES - 1]), Verdict::Clear);
    assert_eq!(guard.judge(&rest), Verdict::Piece);

    let blank = b"\r\n".repeat(LONG_PIECE_BYTES);
    let mut guard = Guard::default();
    assert_eq!(guard.judge(b"\r\n"), Verdict::Clear);
    guard.next();
    assert_eq!(guard.judge(&blank), Verdict::Clear);
}

proptest! {
    #[test]
    fn pieces_of_any_size_do_not_run(
        method in "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,9}",
        long_method in prop_oneof![Just(0_usize), 0_usize..9000],
        target in "[!-~]{1,40}",
        filler in 0_usize..9000,
        cuts in proptest::collection::vec(1_usize..5000, 0..9),
    ) {
        let method = method + &"#".repeat(long_method);
        let line = format!("{method} /{target}{} HTTP/1.1\r\n", "A".repeat(filler));
        let request = format!("{line}Host: localhost\r\n\r\ntouch F");
        let (mut rest, mut pieces) = (request.as_bytes(), Vec::new());
        for cut in cuts {
            let (piece, after) = rest.split_at(cut.min(rest.len()));
            pieces.push(piece);
            rest = after;
        }
        pieces.push(rest);
        let pieces: Vec<_> = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
        for late in [false, true] {
            for ran in run(&pieces, late) {
                // At most what is a command by itself: a short piece, or one whose rest did not come.
                prop_assert!(line.contains(str::from_utf8(&ran).unwrap()));
                prop_assert!(late || ran.len() < LONG_PIECE_BYTES);
            }
        }
    }
    #[test]
    fn every_request_line_is_seen(
        method in "[!#$%&'*+.^_`|~0-9A-Za-z-]{1,20}",
        target in "[!-~]{1,60}",
        digit in "[0-9]",
        end in prop_oneof![Just("\r\n"), Just("\n"), Just("\r")],
        rest in any::<Vec<u8>>(),
    ) {
        let mut bytes = format!("{method} {target} HTTP/1.{digit}{end}").into_bytes();
        bytes.extend(rest);
        prop_assert_eq!(foreign(&bytes), Some(Foreign::Http1));
    }

    #[test]
    fn no_bytes_panic(bytes in any::<Vec<u8>>()) {
        foreign(&bytes);
    }
}
