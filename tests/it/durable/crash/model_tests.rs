//! That the model sees what must not be: each kind of it, wherever it is.

use bytes::Bytes;

use super::model::{Answer, End, Expected, Fate, History, Told, Violation};

const STDOUT: usize = 0;
const STDERR: usize = 1;

fn expected(end: Fate) -> Expected {
    Expected {
        streams: ["abcdef".into(), "xyz".into(), Bytes::new()],
        end,
    }
}

fn output(stream: usize, offset: u64, data: &'static str) -> Told {
    let data = data.into();
    Told::Output {
        stream,
        offset,
        data,
    }
}

fn whole() -> Vec<Told> {
    vec![
        Told::Started,
        output(STDOUT, 0, "ab"),
        output(STDERR, 0, "x"),
        output(STDOUT, 2, "cdef"),
        output(STDERR, 1, "yz"),
        Told::Exited(End::Own(3)),
    ]
}

/// Tells `events` in one call, as what comes behind `after`.
fn tell(history: &mut History, after: u64, events: &[Told]) -> Result<(), Violation> {
    history.joins(after);
    (after + 1..)
        .zip(events)
        .try_for_each(|(sequence, event)| history.told(sequence, event.clone()))
}

/// What is found in one call that tells `events`, of a command that ran once.
fn judge(events: &[Told]) -> Result<(), Violation> {
    let mut history = History::new(expected(Fate::Code(3)));
    history.is("one")?;
    tell(&mut history, 0, events)?;
    history.is_over(1)
}

#[test]
fn what_is_as_it_should_be_passes_in_any_pieces() {
    let all = whole();
    assert_eq!(judge(&all), Ok(()));
    for first in 0..all.len() {
        for again in 0..=first {
            let mut history = History::new(expected(Fate::Code(3)));
            assert_eq!(tell(&mut history, 0, &all[..first]), Ok(()));
            assert_eq!(history.is_over(1), Err(Violation::NoEnd));
            // Whoever comes back may have been told more than it remembers.
            assert_eq!(tell(&mut history, again as u64, &all[again..]), Ok(()));
            assert_eq!(history.is_over(1), Ok(()));
        }
    }
}

#[test]
fn every_event_that_is_lost_or_comes_twice_or_early_is_seen() {
    let all = whole();
    for index in 0..all.len() {
        let mut lost = all.clone();
        lost.remove(index);
        assert!(judge(&lost).is_err(), "{index} is lost");
        let mut twice = all.clone();
        twice.insert(index, all[index].clone());
        assert!(judge(&twice).is_err(), "{index} comes twice");
        for other in index + 1..all.len() {
            // Which stream comes first is the command's affair.
            let mut swapped = all.clone();
            swapped.swap(index, other);
            let is_other_order = [(1, 2), (2, 3), (3, 4)].contains(&(index, other));
            assert_eq!(judge(&swapped).is_ok(), is_other_order, "{index}, {other}");
        }
    }
}

#[test]
fn a_sequence_that_is_passed_over_is_seen_also_where_nothing_is_missing() {
    let mut history = History::new(expected(Fate::Code(3)));
    history.joins(0);
    assert_eq!(history.told(1, Told::Started), Ok(()));
    let passed_over = history.told(3, output(STDOUT, 0, "ab"));
    let (expected, told) = (2, 3);
    assert_eq!(passed_over, Err(Violation::Sequence { expected, told }));
}

#[test]
fn every_byte_that_is_lost_added_or_another_is_seen() {
    let all = whole();
    for (index, event) in all.iter().enumerate() {
        let Told::Output {
            stream,
            offset,
            data,
        } = event
        else {
            continue;
        };
        for at in 0..data.len() {
            let change = |change: fn(&mut Vec<u8>, usize)| {
                let mut bytes = data.to_vec();
                change(&mut bytes, at);
                let mut changed = all.clone();
                changed[index] = Told::Output {
                    stream: *stream,
                    offset: *offset,
                    data: bytes.into(),
                };
                judge(&changed)
            };
            let flipped = change(|bytes, at| bytes[at] ^= 1);
            let (stream, at_byte) = (*stream, offset + at as u64);
            let another = Violation::Byte {
                stream,
                at: at_byte,
            };
            assert_eq!(flipped, Err(another));
            let removed = change(|bytes, at| _ = bytes.remove(at));
            assert!(removed.is_err());
            assert!(change(|bytes, at| bytes.insert(at, b'!')).is_err());
        }
    }
}

#[test]
fn what_is_told_again_is_the_same_in_the_same_pieces() {
    let mut history = History::new(expected(Fate::Code(3)));
    assert_eq!(tell(&mut history, 0, &whole()), Ok(()));
    let other_pieces = [
        Told::Started,
        output(STDOUT, 0, "a"),
        output(STDOUT, 1, "b"),
    ];
    let again = tell(&mut history, 0, &other_pieces);
    assert_eq!(again, Err(Violation::Changed { sequence: 2 }));
    let behind = tell(&mut history, 6, &[output(STDOUT, 6, "g")]);
    assert_eq!(behind, Err(Violation::BehindTheEnd { sequence: 7 }));
}

#[test]
fn a_gap_is_no_way_to_lose_something() {
    let mut all = whole();
    all[1] = Told::Gap;
    assert_eq!(judge(&all), Err(Violation::Gap { sequence: 2 }));
}

#[test]
fn an_end_that_is_another_or_unknown_or_early_is_seen() {
    for end in [End::Own(0), End::LostStart, End::LostExit, End::Other] {
        let mut all = whole();
        all[5] = Told::Exited(end);
        let expected = Fate::Code(3);
        let violation = Violation::End {
            expected,
            told: end,
        };
        assert_eq!(judge(&all), Err(violation));
    }
    let mut early = whole();
    early.remove(4);
    let violation = Violation::Missing {
        stream: STDERR,
        told: 1,
    };
    assert_eq!(judge(&early), Err(violation));
}

#[test]
fn another_execution_and_a_second_run_are_seen() {
    let mut history = History::new(expected(Fate::Code(3)));
    assert_eq!(history.is("one"), Ok(()));
    assert_eq!(history.is("one"), Ok(()));
    let (first, second) = ("one".into(), "other".into());
    let another = Violation::AnotherExecution { first, second };
    assert_eq!(history.is("other"), Err(another));
    assert_eq!(tell(&mut history, 0, &whole()), Ok(()));
    for runs in [0, 2] {
        assert_eq!(history.is_over(runs), Err(Violation::Runs(runs)));
    }
}

#[test]
fn what_is_lost_with_its_supervisor_is_a_beginning_and_an_unknown_end() {
    let all = whole();
    let lost = |events: &[Told], runs| {
        let mut history = History::new(expected(Fate::Lost));
        tell(&mut history, 0, events)?;
        history.is_over(runs)
    };
    for told in 1..all.len() {
        let end = Told::Exited(End::LostExit);
        let events = [&all[..told], &[end]].concat();
        assert_eq!(lost(&events, 1), Ok(()));
        assert_eq!(lost(&events, 2), Err(Violation::Runs(2)));
        // It is started, so it has run.
        let events = [&all[..told], &[Told::Exited(End::LostStart)]].concat();
        assert!(lost(&events, 1).is_err());
    }
    for runs in [0, 1] {
        assert_eq!(lost(&[Told::Exited(End::LostStart)], runs), Ok(()));
    }
    assert!(lost(&[Told::Exited(End::LostStart)], 2).is_err());
    assert!(lost(&[Told::Exited(End::LostExit)], 1).is_err());
    assert!(lost(&all, 1).is_err(), "an end is made up");
}

#[test]
fn an_answer_is_the_whole() {
    let answer = |stdout: &'static str, code| Answer {
        streams: [stdout.into(), "xyz".into(), Bytes::new()],
        code,
    };
    let judge = |answer: Answer| {
        let mut history = History::new(expected(Fate::Code(3)));
        history.answered(&answer)?;
        history.is_over(1)
    };
    assert_eq!(judge(answer("abcdef", 3)), Ok(()));
    for wrong in ["abcde", "abcdefg", "bacdef", ""] {
        assert!(judge(answer(wrong, 3)).is_err(), "{wrong}");
    }
    let expected = Fate::Code(3);
    let code = Violation::Code { expected, told: 0 };
    assert_eq!(judge(answer("abcdef", 0)), Err(code));
    let history = History::new(self::expected(Fate::Code(3)));
    assert_eq!(history.has_begun(STDOUT, b"abc"), Ok(()));
    let other = Violation::Byte {
        stream: STDOUT,
        at: 1,
    };
    assert_eq!(history.has_begun(STDOUT, b"a!"), Err(other));
}
