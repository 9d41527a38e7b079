use std::time::UNIX_EPOCH;

use super::{
    super::{
        encode::{
            put_claim, put_event, put_gap, put_lost, put_not_started, put_reservation, put_stdin,
        },
        fields::{NEEDED, put, put_bytes},
        format::{begin_frame, end_frame, guess_marker},
    },
    *,
};
use crate::lifecycle::event::{Event, EventKind};

/// A field that is not known.
const LATER: u8 = 98;

const MARKER: u32 = 0x1234_5678;

fn at(nanos: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_nanos(nanos)
}

fn event(sequence: u64, kind: EventKind) -> Event {
    Event {
        sequence,
        time: at(sequence),
        kind,
    }
}

/// The record of what `put` puts.
fn through(put: impl FnOnce(&mut Vec<u8>)) -> Result<Record, BadRecord> {
    let mut bytes = Vec::new();
    put(&mut bytes);
    assert_eq!(guess_marker(&bytes), Some(MARKER), "no frame of its own");
    Record::decode(&Bytes::from(bytes))
}

/// A frame of any kind, flags and fields.
fn frame(kind: u8, flags: u8, fields: &[u8]) -> Bytes {
    let mut bytes = Vec::new();
    let start = begin_frame(&mut bytes, (kind, flags), 3, at(3));
    bytes.extend_from_slice(fields);
    end_frame(&mut bytes, start, MARKER, &[]);
    Bytes::from(bytes)
}

fn exit(status: Option<ExitStatus>, reason: ExitReason) -> Exit {
    Exit {
        outcome: Outcome {
            status,
            reason,
            unkillable: false,
            output_cut: true,
        },
        wall_time: Duration::from_secs(3),
        usage: Usage {
            user: Duration::from_nanos(1),
            system: Duration::from_nanos(2),
            max_rss_bytes: Some(4096),
        },
        oom_killed: true,
        output_left_open: true,
    }
}

#[test]
fn every_way_to_end_comes_back() {
    let killed = |core_dumped| ExitStatus::Signal {
        number: 9,
        core_dumped,
    };
    let totals = Progress {
        positions: [1, u64::MAX, 3],
        stdin_accepted: 4,
        sequence: 0,
    };
    for (status, reason) in [
        (Some(ExitStatus::Code(0)), ExitReason::Own),
        (
            Some(ExitStatus::Code(255)),
            ExitReason::Ended(Cause::Timeout),
        ),
        (Some(killed(true)), ExitReason::Ended(Cause::Disconnect)),
        (Some(killed(false)), ExitReason::Ended(Cause::Shutdown)),
        (Some(killed(false)), ExitReason::Signal),
        (None, ExitReason::Lost),
    ] {
        let ended = event(9, EventKind::Exited(exit(status, reason)));
        let record = through(|to| put_event(to, MARKER, &ended, totals)).unwrap();
        assert_eq!((record.sequence, record.time), (9, at(9)));
        let Content::Exited {
            exit: back,
            totals: back_totals,
        } = record.content
        else {
            panic!("{record:?}");
        };
        assert_eq!(back, exit(status, reason));
        assert_eq!(back_totals, totals);
    }
    for lost in [Lost::Start, Lost::Exit, Lost::Reboot] {
        let record = through(|to| put_lost(to, MARKER, (2, at(5)), lost, totals)).unwrap();
        assert!(
            matches!(record.content, Content::Lost { lost: back, totals: back_totals }
            if back == lost && back_totals == totals)
        );
    }
}

#[test]
fn output_comes_back_uncopied() {
    let data = Bytes::from(vec![7; 300]);
    for stream in [
        OutputStream::Stdout,
        OutputStream::Stderr,
        OutputStream::Terminal,
    ] {
        let chunk = Chunk {
            stream,
            offset: u64::MAX - 300,
            data: data.clone(),
        };
        let mut bytes = Vec::new();
        let output = event(2, EventKind::Output(chunk.clone()));
        put_event(&mut bytes, MARKER, &output, Progress::default());
        bytes.extend_from_slice(&data);
        let frame = Bytes::from(bytes);
        let record = Record::decode(&frame).unwrap();
        let Content::Output(back) = record.content else {
            panic!("{record:?}");
        };
        assert_eq!(back, chunk);
        assert!(frame.as_ptr_range().contains(&back.data.as_ptr()));
    }
}

#[test]
fn everything_else_comes_back() {
    let started = event(1, EventKind::Started { pid: i32::MAX });
    let record = through(|to| put_event(to, MARKER, &started, Progress::default())).unwrap();
    assert!(matches!(record.content, Content::Started { pid: i32::MAX }));

    let record = through(|to| put_gap(to, MARKER, (2, 8), at(1), [1, 2, 3])).unwrap();
    assert_eq!(record.sequence, 8);
    assert!(matches!(
        record.content,
        Content::Gap {
            first_sequence: 2,
            bytes: [1, 2, 3]
        }
    ));

    let record = through(|to| put_stdin(to, MARKER, (4, at(1)), 77)).unwrap();
    assert!(matches!(record.content, Content::StdinAccepted(77)));

    let record = through(|to| put_not_started(to, MARKER, at(1))).unwrap();
    assert!(matches!(record.content, Content::NotStarted));
}

#[test]
fn a_reservation_comes_back_with_and_without_a_claim() {
    use super::super::reservation::{RequestDigest, RequestKey};
    let claim = Claim {
        execution_id: "e".to_owned(),
        key: RequestKey::new("c", "r"),
        digest: RequestDigest::new([1; 16], &[(1, b"x")]),
        caller: "c".to_owned(),
        request_id: "r".to_owned(),
        boot_id: [2; 16],
        retired_at: None,
    };
    for claim in [None, Some(claim)] {
        let reservation = Reservation {
            claim: claim.clone(),
            boot_id: [3; 16],
            time: at(11),
            details: Bytes::from_static(b"details"),
        };
        let record = through(|to| put_reservation(to, MARKER, &reservation)).unwrap();
        assert!(matches!(record.content, Content::Reserved(back) if *back == reservation));
        if let Some(claim) = claim {
            let record = through(|to| put_claim(to, MARKER, &claim, at(1))).unwrap();
            assert!(matches!(record.content, Content::Claim(back) if *back == claim));
        }
    }
}

const KINDS: [u8; 8] = [
    kind::RESERVED,
    kind::NOT_STARTED,
    kind::STARTED,
    kind::GAP,
    kind::EXITED,
    kind::LOST,
    kind::STDIN_ACCEPTED,
    kind::OUTPUT,
];

/// `kind` with what it cannot be without.
fn fields_of(kind: u8) -> Vec<u8> {
    let mut fields = Vec::new();
    if kind == kind::OUTPUT {
        put(&mut fields, 1, 0);
    }
    fields
}

#[test]
fn every_kind_takes_later_fields_but_those_it_must_understand() {
    for kind in KINDS {
        let mut later = fields_of(kind);
        put_bytes(&mut later, 99, b"later");
        assert!(Record::decode(&frame(kind, 0, &later)).is_ok(), "{kind}");
        put_bytes(&mut later, NEEDED | LATER, b"needed");
        let error = Record::decode(&frame(kind, 0, &later)).unwrap_err();
        let expected = Unsupported::Field { kind, field: LATER };
        assert_eq!(error, BadRecord::Unsupported(expected));
        // Whatever a record says of itself, a known kind is never skipped.
        let error = Record::decode(&frame(kind, SKIPPABLE, &later)).unwrap_err();
        assert_eq!(error, BadRecord::Unsupported(expected));
    }
}

#[test]
fn a_later_kind_is_skipped_if_it_may_be() {
    let record = Record::decode(&frame(200, SKIPPABLE, b"anything")).unwrap();
    assert!(matches!(record.content, Content::Skipped));
    let error = Record::decode(&frame(200, 0, &[])).unwrap_err();
    assert_eq!(error, BadRecord::Unsupported(Unsupported::Record(200)));
}

#[test]
fn a_later_reason_is_never_taken_for_one_of_ours() {
    for (kind, field) in [(kind::EXITED, 4), (kind::LOST, 1)] {
        let mut fields = Vec::new();
        put(&mut fields, field, 99);
        let error = Record::decode(&frame(kind, 0, &fields)).unwrap_err();
        assert_eq!(
            error,
            BadRecord::Unsupported(Unsupported::Value {
                kind,
                field,
                value: 99
            })
        );
    }
}

#[test]
fn fields_out_of_range_are_malformed() {
    for (kind, field, value) in [
        (kind::OUTPUT, 1, 3),
        (kind::STARTED, 1, u64::from(u32::MAX)),
        (kind::EXITED, 1, 256),
        (kind::EXITED, 2, u64::MAX),
    ] {
        let mut fields = Vec::new();
        put(&mut fields, field, value);
        let error = Record::decode(&frame(kind, 0, &fields)).unwrap_err();
        assert_eq!(error, BadRecord::Malformed, "{kind}.{field}");
    }
    for kind in KINDS {
        let error = Record::decode(&frame(kind, 0, &[1, 200])).unwrap_err();
        assert_eq!(error, BadRecord::Malformed, "{kind}");
    }
    assert_eq!(
        Record::decode(&Bytes::from_static(&[0; 20])).unwrap_err(),
        BadRecord::Malformed
    );
}

proptest::proptest! {
    #[test]
    fn no_fields_are_too_strange(kind in 0_u8..12, fields in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..64)) {
        let _ = Record::decode(&frame(kind, 0, &fields));
    }
}
