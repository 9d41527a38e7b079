//! What becomes one event, and when.

use super::*;

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn read(chunker: &mut Chunker, stream: OutputStream, bytes: &[u8]) {
    let buffer = chunker.buffer_for(stream).unwrap();
    assert!(bytes.len() <= buffer.capacity() - buffer.len());
    buffer.extend_from_slice(bytes);
    chunker.filled(stream);
}

fn take(chunker: &mut Chunker, now: Duration) -> Option<(OutputStream, u64, Vec<u8>)> {
    chunker
        .take(now)
        .map(|chunk| (chunk.stream, chunk.offset, chunk.data.to_vec()))
}

#[test]
fn the_first_output_waits_for_nothing_and_the_next_for_the_interval() {
    let mut chunker = Chunker::default();
    assert_eq!(chunker.due(ms(1), false), Due::Never);
    read(&mut chunker, OutputStream::Stdout, b"one");
    assert_eq!(chunker.due(ms(1), false), Due::Now);
    assert_eq!(
        take(&mut chunker, ms(1)),
        Some((OutputStream::Stdout, 0, b"one".to_vec()))
    );
    read(&mut chunker, OutputStream::Stdout, b"two");
    let at = ms(1) + COALESCE_INTERVAL;
    assert_eq!(chunker.due(ms(2), false), Due::At(at));
    assert_eq!(chunker.due(ms(2), true), Due::Now);
    read(&mut chunker, OutputStream::Stdout, b"three");
    assert_eq!(chunker.due(at, false), Due::Now);
    assert_eq!(
        take(&mut chunker, at),
        Some((OutputStream::Stdout, 3, b"twothree".to_vec()))
    );
}

#[test]
fn a_large_output_waits_for_nothing() {
    let mut chunker = Chunker::default();
    chunker.grow();
    read(&mut chunker, OutputStream::Stdout, b"x");
    take(&mut chunker, ms(1));
    read(
        &mut chunker,
        OutputStream::Stdout,
        &vec![b'y'; COALESCE_BYTES - 1],
    );
    assert!(matches!(chunker.due(ms(1), false), Due::At(_)));
    read(&mut chunker, OutputStream::Stdout, b"y");
    assert_eq!(chunker.due(ms(1), false), Due::Now);
}

#[test]
fn a_chunk_is_never_larger_than_the_limit() {
    let mut chunker = Chunker::default();
    chunker.grow();
    read(
        &mut chunker,
        OutputStream::Stdout,
        &vec![b'y'; MAX_OUTPUT_BYTES],
    );
    assert!(!chunker.has_room(OutputStream::Stdout));
    assert!(chunker.buffer_for(OutputStream::Stdout).is_none());
    let (_, _, data) = take(&mut chunker, ms(1)).unwrap();
    assert_eq!(data.len(), MAX_OUTPUT_BYTES);
    // What is held back counts.
    read(
        &mut chunker,
        OutputStream::Stdout,
        "é".as_bytes().split_at(1).0,
    );
    assert_eq!(take(&mut chunker, ms(2)), None);
    let buffer = chunker.buffer_for(OutputStream::Stdout).unwrap();
    assert_eq!(buffer.capacity() - buffer.len(), MAX_OUTPUT_BYTES - 1);
}

#[test]
fn chunks_are_small_until_their_reader_keeps_up() {
    let mut chunker = Chunker::default();
    let full = vec![b'y'; FIRST_OUTPUT_BYTES];
    read(&mut chunker, OutputStream::Stdout, &full);
    assert!(!chunker.has_room(OutputStream::Stdout));
    take(&mut chunker, ms(1)).unwrap();
    // A full one waits for nothing.
    read(&mut chunker, OutputStream::Stdout, &full);
    assert_eq!(chunker.due(ms(2), false), Due::Now);
    take(&mut chunker, ms(2)).unwrap();
    // What is held back of it counts.
    for (less, grows) in [
        (0, true),
        (MAX_HELD_BYTES, true),
        (MAX_HELD_BYTES + 1, false),
    ] {
        assert_eq!(chunker.may_grow(full.len() - less), grows, "{less}");
    }
    chunker.grow();
    assert!(!chunker.may_grow(MAX_OUTPUT_BYTES));
    let buffer = chunker.buffer_for(OutputStream::Stdout).unwrap();
    assert_eq!(buffer.capacity(), MAX_OUTPUT_BYTES);
}

#[test]
fn streams_keep_the_order_in_which_they_were_read() {
    let mut chunker = Chunker::default();
    read(&mut chunker, OutputStream::Stdout, b"out");
    assert!(!chunker.has_room(OutputStream::Stderr));
    assert!(chunker.buffer_for(OutputStream::Stderr).is_none());
    assert_eq!(take(&mut chunker, ms(1)).unwrap().0, OutputStream::Stdout);
    read(&mut chunker, OutputStream::Stderr, b"err");
    assert_eq!(
        take(&mut chunker, ms(9)),
        Some((OutputStream::Stderr, 0, b"err".to_vec()))
    );
}

#[test]
fn a_begun_character_waits_for_its_rest() {
    let mut chunker = Chunker::default();
    let euro = "€".as_bytes();
    read(
        &mut chunker,
        OutputStream::Stdout,
        &[b"a", &euro[..1]].concat(),
    );
    assert_eq!(
        take(&mut chunker, ms(1)),
        Some((OutputStream::Stdout, 0, b"a".to_vec()))
    );
    assert_eq!(chunker.due(ms(1), false), Due::At(ms(1) + HOLD));
    read(&mut chunker, OutputStream::Stdout, &euro[1..]);
    assert_eq!(
        take(&mut chunker, ms(9)),
        Some((OutputStream::Stdout, 1, euro.to_vec()))
    );
    assert_eq!(chunker.due(ms(99), false), Due::Never);
}

#[test]
fn a_begun_character_waits_no_longer_than_the_hold_or_the_stream() {
    let mut chunker = Chunker::default();
    let clef = "𝄞".as_bytes();
    read(&mut chunker, OutputStream::Stdout, &clef[..1]);
    assert_eq!(take(&mut chunker, ms(1)), None);
    // Another byte of it does not start the time anew.
    read(&mut chunker, OutputStream::Stdout, &clef[1..2]);
    assert_eq!(take(&mut chunker, ms(40)), None);
    let at = ms(1) + HOLD;
    assert_eq!(chunker.due(ms(40), false), Due::At(at));
    assert_eq!(
        take(&mut chunker, at),
        Some((OutputStream::Stdout, 0, clef[..2].to_vec()))
    );

    read(&mut chunker, OutputStream::Stderr, &clef[..3]);
    assert_eq!(take(&mut chunker, ms(90)), None);
    chunker.end(OutputStream::Stderr);
    assert_eq!(chunker.due(ms(90), false), Due::Now);
    assert_eq!(
        take(&mut chunker, ms(90)),
        Some((OutputStream::Stderr, 0, clef[..3].to_vec()))
    );
}

#[test]
fn only_what_may_become_a_character_is_held_back() {
    for (bytes, held) in [
        (&b""[..], 0),
        (b"a", 0),
        (b"\xe2", 1),
        (b"\xe2\x82", 2),
        (b"\xe2\x82\xac", 0),
        (b"\xf0\x9d\x84", 3),
        (b"\x80\x80", 0),
        (b"\xff", 0),
        (b"\xc0", 0),
        (b"\xe0\x80", 0),
        (b"a\xc3", 1),
    ] {
        assert_eq!(begun_character(bytes), held, "{bytes:?}");
    }
}

#[test]
fn the_limits_are_those_that_callers_know() {
    assert_eq!(MAX_OUTPUT_BYTES, 65_536);
    assert_eq!(FIRST_OUTPUT_BYTES, 8192);
    assert_eq!(COALESCE_BYTES, 32_768);
    assert_eq!(COALESCE_INTERVAL, ms(5));
    assert_eq!(HOLD, ms(50));
}

#[test]
fn a_small_output_leaves_its_buffer_behind_and_a_large_one_takes_it_along() {
    let mut chunker = Chunker::default();
    chunker.grow();
    for (bytes, stays) in [(1, true), (16_384, true), (16_385, false)] {
        read(&mut chunker, OutputStream::Stdout, &vec![b'x'; bytes]);
        let buffer = chunker.buffer.as_ptr();
        let chunk = chunker.take(ms(1)).unwrap();
        assert_eq!(chunk.data.len(), bytes);
        assert_eq!(chunk.data.as_ptr() == buffer, !stays, "{bytes}");
        let next = chunker.buffer_for(OutputStream::Stdout).unwrap();
        assert_eq!(next.as_ptr() == buffer, stays, "{bytes}");
        assert_eq!(next.capacity(), MAX_OUTPUT_BYTES);
    }
}

/// The time of each begun character is its own.
#[test]
fn a_begun_character_waits_from_its_own_beginning() {
    let mut chunker = Chunker::default();
    read(&mut chunker, OutputStream::Stdout, b"whole");
    take(&mut chunker, ms(1));
    read(&mut chunker, OutputStream::Stdout, b"\xe2");
    assert_eq!(take(&mut chunker, ms(40)), None);
    assert_eq!(chunker.due(ms(40), false), Due::At(ms(40) + HOLD));
    // It is completed, and the next one begins.
    read(&mut chunker, OutputStream::Stdout, b"\x82\xac\xe2");
    let (_, offset, data) = take(&mut chunker, ms(60)).unwrap();
    assert_eq!((offset, &data[..]), (5, "€".as_bytes()));
    assert_eq!(chunker.due(ms(60), false), Due::At(ms(60) + HOLD));
}
