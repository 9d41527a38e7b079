use proptest::prelude::*;

use super::{super::fields::NEEDED, *};

/// A field that is not known.
const LATER: u8 = 99;

fn header() -> Header {
    Header {
        length: HEADER_BYTES,
        marker: 0xdead_beef,
        id: "0".repeat(MAX_ID_BYTES),
        ordinal: u64::MAX,
        sync: SyncMode::All,
        base: Progress {
            sequence: u64::MAX,
            positions: [u64::MAX, 1, u64::MAX],
            stdin_accepted: u64::MAX,
        },
    }
}

fn frame(marker: u32, kind: u8, tail: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let start = begin_frame(&mut bytes, (kind, 0), 7, UNIX_EPOCH);
    end_frame(&mut bytes, start, marker, tail);
    bytes.extend_from_slice(tail);
    bytes
}

#[test]
fn the_largest_header_fits_and_comes_back() {
    let bytes = header().encode();
    assert_eq!(bytes.len(), HEADER_BYTES);
    assert_eq!(Header::decode(&bytes), Ok(header()));
}

#[test]
fn a_header_with_any_bit_flipped_is_damaged() {
    let bytes = header().encode();
    for bit in 0..8 * bytes.len() {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(Header::decode(&bytes), Err(BadHeader::Damaged), "{bit}");
    }
}

#[test]
fn a_header_cut_anywhere_is_damaged_or_blank() {
    let bytes = header().encode();
    assert_eq!(Header::decode(&[]), Err(BadHeader::Blank));
    assert_eq!(Header::decode(&[0; 300]), Err(BadHeader::Blank));
    for length in 1..bytes.len() {
        assert_eq!(Header::decode(&bytes[..length]), Err(BadHeader::Damaged));
    }
}

/// As later versions would write them: with more fields, longer, or not for us.
#[test]
fn headers_of_later_versions() {
    let later = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = header().encode();
        change(&mut bytes);
        bytes[16..20].fill(0);
        let sum = crc32c::crc32c(&bytes);
        bytes[16..20].copy_from_slice(&sum.to_le_bytes());
        Header::decode(&bytes)
    };
    let with_field = |bytes: &mut Vec<u8>, tag: u8| {
        let fields = usize::from(u16_at(bytes, 14));
        bytes.resize(512, 0);
        bytes[FIXED_HEADER_BYTES + fields..][..3].copy_from_slice(&[tag, 1, 9]);
        set_u16(bytes, 12, 512);
        set_u16(bytes, 14, fields + 3);
        set_u16(bytes, 8, 2);
    };
    let longer = Header {
        length: 512,
        ..header()
    };
    assert_eq!(later(&|bytes| with_field(bytes, LATER)), Ok(longer));
    assert_eq!(
        later(&|bytes| with_field(bytes, NEEDED | LATER)),
        Err(BadHeader::Unsupported(Unsupported::Field {
            kind: 0,
            field: LATER
        }))
    );
    let not_for_us = later(&|bytes| {
        set_u16(bytes, 8, 3);
        set_u16(bytes, 10, 2);
    });
    let unsupported = Unsupported::Format(3);
    assert_eq!(not_for_us, Err(BadHeader::Unsupported(unsupported)));
}

#[test]
fn a_frame_is_known_by_its_marker_and_its_sum() {
    let bytes = frame(5, 1, b"tail");
    let whole = bytes.len();
    assert_eq!(look(&bytes, 5), Look::Frame(whole));
    assert_eq!(look(&bytes, 6), Look::Bad);
    for length in 0..whole {
        assert!(matches!(look(&bytes[..length], 5), Look::Short(needed) if needed > length));
    }
    for bit in 0..8 * whole {
        let mut bytes = bytes.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        assert!(
            !matches!(look(&bytes, 5), Look::Frame(_)),
            "bit {bit} does not count"
        );
    }
    assert_eq!(look(&[0; 4], 5), Look::End);
    assert_eq!(look(&[0; 400], 5), Look::End);
    assert_eq!(guess_marker(&bytes), Some(5));
    assert_eq!(guess_marker(&bytes[1..]), None);
}

#[test]
fn a_body_is_between_its_limits() {
    for (length, is_bad) in [
        (0, true),
        (BODY_HEAD_BYTES - 1, true),
        (BODY_HEAD_BYTES, false),
        (MAX_BODY_BYTES, false),
        (MAX_BODY_BYTES + 1, true),
        (usize::try_from(u32::MAX).unwrap(), true),
    ] {
        let mut bytes = frame(5, 1, b"");
        bytes[4..8].copy_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
        bytes.truncate(FRAME_HEAD_BYTES);
        assert_eq!(look(&bytes, 5) == Look::Bad, is_bad, "{length}");
    }
}

#[test]
fn times_come_back_within_their_range() {
    let ns = Duration::from_nanos(1);
    for when in [
        UNIX_EPOCH,
        UNIX_EPOCH - ns,
        UNIX_EPOCH + Duration::from_secs(1_700_000_000) + ns,
    ] {
        assert_eq!(time(nanos(when)), when);
    }
    let century = Duration::from_hours(100 * 365 * 24);
    assert_eq!(nanos(UNIX_EPOCH + 3 * century), i64::MAX);
    assert_eq!(nanos(UNIX_EPOCH - 3 * century), i64::MIN);
    assert!(time(i64::MIN) < UNIX_EPOCH);
}

#[test]
fn segments_are_known_by_their_names() {
    for ordinal in [1, 99_999_999, 100_000_000, u64::MAX] {
        assert_eq!(segment_ordinal(&segment_name(ordinal)), Some(ordinal));
    }
    for name in [
        "segment-1",
        "segment-00000000",
        "segment-+0000001",
        "storage-error",
        "",
    ] {
        assert_eq!(segment_ordinal(name), None, "{name}");
    }
}

#[test]
fn an_id_is_a_name_and_no_path() {
    assert!(is_valid_id("0195f0a0-0000-7000-8000-00000000000a"));
    for id in [
        "",
        ".",
        "..",
        "a/b",
        "A",
        "a\0",
        &"a".repeat(MAX_ID_BYTES + 1),
    ] {
        assert!(!is_valid_id(id), "{id:?}");
    }
}

proptest! {
    #[test]
    fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let _ = (Header::decode(&bytes), look(&bytes, 5), guess_marker(&bytes));
    }
}
