//! What is accepted of stdin, and in which order the command gets it.

use super::*;

fn chunk(offset: Option<u64>, data: &'static str, eof: bool) -> StdinChunk {
    StdinChunk {
        offset,
        data: Bytes::from_static(data.as_bytes()),
        eof,
    }
}

fn drain(stdin: &mut Stdin) -> Vec<u8> {
    let mut all = Vec::new();
    while let Some(next) = stdin.front() {
        let len = next.len();
        assert!(len > 0 && all.len() < STDIN_BUFFER_BYTES, "it has no end");
        all.extend_from_slice(next);
        stdin.advance(len);
    }
    all
}

fn whole(stdin: &mut Stdin, chunk: StdinChunk) {
    assert!(matches!(stdin.offer(chunk), Ok(Taken::Whole)));
}

#[test]
fn a_repeated_chunk_does_no_harm() {
    let mut stdin = Stdin::new(Bytes::from_static(b"ab"), true, false);
    whole(&mut stdin, chunk(Some(2), "cd", false));
    whole(&mut stdin, chunk(Some(2), "cd", false));
    whole(&mut stdin, chunk(Some(3), "def", false));
    whole(&mut stdin, chunk(None, "g", true));
    whole(&mut stdin, chunk(Some(6), "g", true));
    assert_eq!((stdin.accepted(), stdin.queued()), (7, 7));
    assert_eq!(drain(&mut stdin), b"abcdefg");
    assert_eq!((stdin.accepted(), stdin.queued()), (7, 0));
    assert!(stdin.is_finished());
}

#[test]
fn a_hole_and_bytes_after_the_end_are_errors() {
    let mut stdin = Stdin::new(Bytes::new(), true, false);
    let hole = stdin.offer(chunk(Some(1), "b", false));
    assert_eq!(
        hole.unwrap_err(),
        StdinError::Hole {
            accepted: 0,
            offset: 1
        }
    );
    whole(&mut stdin, chunk(None, "a", true));
    // Nothing new is fine, also after the end.
    whole(&mut stdin, chunk(None, "", true));
    whole(&mut stdin, chunk(Some(0), "a", true));
    for late in [chunk(None, "b", false), chunk(Some(0), "ab", true)] {
        assert_eq!(stdin.offer(late).unwrap_err(), StdinError::Closed { at: 1 });
    }
}

#[test]
fn an_end_that_brings_no_bytes_ends() {
    let mut stdin = Stdin::new(Bytes::new(), true, false);
    whole(&mut stdin, chunk(Some(0), "", true));
    assert!(stdin.is_finished());
    let mut stdin = Stdin::new(Bytes::from_static(b"ab"), true, false);
    whole(&mut stdin, chunk(Some(0), "ab", true));
    drain(&mut stdin);
    assert!(stdin.is_finished());
}

#[test]
fn pitfall_59_at_a_terminal_the_end_is_typed_behind_a_line_and_takes_one_position() {
    for (typed, seen) in [
        ("", "\x04"),
        ("a\n", "a\n\x04"),
        ("a\r", "a\r\x04"),
        // The first press only sends the line.
        ("a", "a\x04\x04"),
        ("a\nb", "a\nb\x04\x04"),
        ("\x01", "\x01\x04\x04"),
        // It was sent already.
        ("a\x04", "a\x04\x04"),
    ] {
        let mut by_chunk = Stdin::new(Bytes::new(), true, true);
        whole(&mut by_chunk, chunk(Some(0), typed, true));
        let mut apart = Stdin::new(Bytes::new(), true, true);
        whole(&mut apart, chunk(None, typed, false));
        whole(&mut apart, chunk(None, "", true));
        let mut by_close = Stdin::new(Bytes::new(), true, true);
        whole(&mut by_close, chunk(None, typed, false));
        by_close.close();
        for mut stdin in [by_chunk, apart, by_close] {
            assert_eq!(stdin.accepted(), typed.len() as u64 + 1, "{typed:?}");
            assert_eq!(drain(&mut stdin), seen.as_bytes(), "{typed:?}");
            assert!(stdin.is_finished());
        }
    }
    // The first bytes of stdin are typed like any others.
    let mut stdin = Stdin::new(Bytes::from_static(b"x"), false, true);
    assert_eq!(stdin.accepted(), 2);
    assert_eq!(drain(&mut stdin), b"x\x04\x04");
}

#[test]
fn a_line_that_the_command_took_has_begun_all_the_same() {
    let mut stdin = Stdin::new(Bytes::new(), true, true);
    whole(&mut stdin, chunk(None, "a", false));
    assert_eq!(drain(&mut stdin), b"a");
    stdin.close();
    assert_eq!(drain(&mut stdin), b"\x04\x04");
}

#[test]
fn the_end_comes_once_at_a_terminal_too() {
    let mut stdin = Stdin::new(Bytes::new(), true, true);
    whole(&mut stdin, chunk(Some(0), "a\n", true));
    // Whatever repeats it, or brings nothing.
    for known in [
        chunk(Some(0), "a\n", true),
        chunk(Some(0), "a\n", false),
        chunk(Some(2), "", true),
        chunk(Some(3), "", true),
        chunk(None, "", true),
        chunk(None, "", false),
    ] {
        whole(&mut stdin, known);
    }
    stdin.close();
    assert_eq!(drain(&mut stdin), b"a\n\x04");
    assert_eq!(stdin.accepted(), 3);
    for late in [
        chunk(None, "b", false),
        chunk(Some(3), "b", true),
        chunk(Some(1), "\nxb", false),
    ] {
        assert_eq!(stdin.offer(late).unwrap_err(), StdinError::Closed { at: 3 });
    }
    let hole = stdin.offer(chunk(Some(4), "b", false)).unwrap_err();
    let expected = StdinError::Hole {
        accepted: 3,
        offset: 4,
    };
    assert_eq!(hole, expected);
}

#[test]
fn without_stdin_nothing_is_typed() {
    let mut stdin = Stdin::new(Bytes::new(), false, true);
    assert_eq!(stdin.front(), None);
    assert_eq!(stdin.accepted(), 0);
    assert!(stdin.is_finished());
}

#[test]
fn no_more_waits_than_the_buffer_holds() {
    let mut stdin = Stdin::new(Bytes::new(), true, false);
    let data = Bytes::from(vec![b'x'; STDIN_BUFFER_BYTES + 10]);
    let big = StdinChunk {
        offset: None,
        data,
        eof: true,
    };
    let Ok(Taken::Part(rest)) = stdin.offer(big) else {
        panic!("all of it was taken");
    };
    assert_eq!(rest.data.len(), 10);
    assert_eq!(stdin.accepted(), STDIN_BUFFER_BYTES as u64);
    let Ok(Taken::Part(rest)) = stdin.offer(rest) else {
        panic!("there was no room");
    };
    drain(&mut stdin);
    whole(&mut stdin, rest);
    assert_eq!(drain(&mut stdin).len(), 10);
    assert!(stdin.is_finished());
}

#[test]
fn what_is_left_of_a_chunk_has_a_position_of_its_own() {
    let mut stdin = Stdin::new(Bytes::from_static(b"ab"), true, false);
    let mut data = vec![b'x'; STDIN_BUFFER_BYTES];
    data[0] = b'b';
    data.extend_from_slice(b"yz");
    let overlapping = StdinChunk {
        offset: Some(1),
        data: data.into(),
        eof: false,
    };
    let Ok(Taken::Part(rest)) = stdin.offer(overlapping) else {
        panic!("all of it was taken");
    };
    assert_eq!(rest.offset, Some(STDIN_BUFFER_BYTES as u64));
    assert_eq!(&rest.data[..], b"xyz");
    let first = drain(&mut stdin);
    assert!(first.starts_with(b"abx") && first.ends_with(b"x"));
    whole(&mut stdin, rest);
    assert_eq!(drain(&mut stdin), b"xyz");
    assert_eq!(stdin.accepted(), STDIN_BUFFER_BYTES as u64 + 3);
}

#[test]
fn small_pieces_keep_their_order() {
    let mut stdin = Stdin::new(Bytes::new(), true, false);
    let mut expected = Vec::new();
    for round in 0..100_u32 {
        let len = if round % 10 == 0 {
            SMALL_BYTES + 1
        } else {
            700
        };
        let data = vec![b'a' + (round % 26) as u8; len];
        expected.extend_from_slice(&data);
        let data = data.into();
        whole(
            &mut stdin,
            StdinChunk {
                data,
                ..StdinChunk::default()
            },
        );
    }
    assert_eq!(drain(&mut stdin), expected);
}

#[test]
fn a_command_that_reads_no_more_takes_everything() {
    let mut stdin = Stdin::new(Bytes::from_static(b"ab"), true, false);
    stdin.discard();
    whole(&mut stdin, chunk(None, "cd", false));
    assert_eq!(stdin.accepted(), 4);
    assert!(!stdin.has_next());
}

#[test]
fn the_limit_is_that_which_callers_know() {
    assert_eq!(STDIN_BUFFER_BYTES, 1_048_576);
    assert_eq!((SMALL_BYTES, TAIL_BYTES), (4096, 65_536));
}

#[test]
fn it_is_finished_when_it_has_ended_and_the_command_has_got_everything() {
    let mut stdin = Stdin::new(Bytes::from_static(b"ab"), true, false);
    assert!(stdin.has_next() && !stdin.is_finished());
    assert_eq!(stdin.front(), Some(&b"ab"[..]));
    stdin.advance(1);
    assert!(stdin.has_next());
    assert_eq!(stdin.front(), Some(&b"b"[..]));
    stdin.advance(1);
    assert!(!stdin.has_next() && !stdin.is_finished());
    stdin.close();
    assert!(stdin.is_finished());

    let mut stdin = Stdin::new(Bytes::from_static(b"ab"), false, false);
    assert!(!stdin.is_finished(), "it has not been read");
    drain(&mut stdin);
    assert!(stdin.is_finished());
}

#[test]
fn nothing_new_after_a_close() {
    let mut stdin = Stdin::new(Bytes::from_static(b"ab"), true, false);
    stdin.close();
    let late = stdin.offer(chunk(None, "c", false));
    assert_eq!(late.unwrap_err(), StdinError::Closed { at: 2 });
    assert_eq!(drain(&mut stdin), b"ab");
}

#[test]
fn a_repetition_ends_nothing_that_it_does_not_say() {
    let mut stdin = Stdin::new(Bytes::from_static(b"ab"), true, false);
    whole(&mut stdin, chunk(Some(0), "a", false));
    whole(&mut stdin, chunk(Some(1), "", false));
    whole(&mut stdin, chunk(None, "", false));
    whole(&mut stdin, chunk(None, "c", false));
    // The last of it, once more, and now it is said that it was the last.
    whole(&mut stdin, chunk(Some(2), "c", true));
    whole(&mut stdin, chunk(Some(2), "c", true));
    assert_eq!(stdin.accepted(), 3);
    let late = stdin.offer(chunk(None, "d", false));
    assert_eq!(late.unwrap_err(), StdinError::Closed { at: 3 });
}

#[test]
fn a_terminal_that_is_closed_behind_a_typed_end_gets_no_other() {
    let mut stdin = Stdin::new(Bytes::new(), true, true);
    whole(&mut stdin, chunk(None, "a", true));
    stdin.close();
    assert_eq!(stdin.accepted(), 2);
    assert_eq!(drain(&mut stdin), b"a\x04\x04");
    let mut stdin = Stdin::new(Bytes::from_static(b"x"), false, true);
    stdin.close();
    assert_eq!(drain(&mut stdin), b"x\x04\x04");
}

#[test]
fn what_is_dropped_is_gone_and_what_comes_then_is_not() {
    let mut stdin = Stdin::new(Bytes::from_static(b"small"), true, false);
    let large = Bytes::from(vec![b'x'; SMALL_BYTES + 1]);
    whole(
        &mut stdin,
        StdinChunk {
            data: large,
            ..StdinChunk::default()
        },
    );
    whole(&mut stdin, chunk(None, "tail", false));
    stdin.drop_queued();
    assert!(!stdin.has_next());
    whole(&mut stdin, chunk(None, "new", false));
    assert_eq!(drain(&mut stdin), b"new");
}

/// Typing costs bytes and not allocations; what is large is not copied.
#[test]
fn small_pieces_are_put_together_and_large_ones_are_not() {
    let piece = |len| StdinChunk {
        data: vec![b'x'; len].into(),
        ..StdinChunk::default()
    };
    let mut stdin = Stdin::new(Bytes::new(), true, false);
    for _ in 0..3 {
        whole(&mut stdin, piece(4096));
    }
    assert_eq!(stdin.front().map(<[u8]>::len), Some(3 * 4096));
    drain(&mut stdin);
    // Up to 64 KiB, and what had room is put to it whole.
    for _ in 0..17 {
        whole(&mut stdin, piece(4096));
    }
    assert_eq!(stdin.front().map(<[u8]>::len), Some(65_536));
    drain(&mut stdin);
    for _ in 0..2 {
        whole(&mut stdin, piece(4097));
    }
    assert_eq!(stdin.front().map(<[u8]>::len), Some(4097));
}
