//! What is kept of the output, what makes room for more, and who is waited for.

use std::time::Duration;

use remex_supervisor::{
    durable::{
        OUTPUT_WINDOW,
        message::{Attached, BlockedBy, LinkRequest, Report, Stage, Status},
    },
    journal::{EVERYTHING, Keep, OnFull, Settings, Step},
    lifecycle::{
        event::{EventKind, Exit},
        outcome::{Cause, ExitReason},
        presence::OnDisconnect,
    },
};

use crate::{
    commands::{Command, Running, shell},
    scenarios::told::{code, signal},
    server::Server,
};

/// More than is kept here.
const MUCH: u64 = 8 * 1024 * 1024;

fn keeping(keep: Keep, text: &str) -> Command {
    let mut command = shell(text);
    command.settings = Settings {
        keep,
        ..Settings::default()
    };
    command
}

fn flood(on_full: OnFull) -> Command {
    let keep = Keep {
        max_bytes: 1024 * 1024,
        on_full,
        no_output: false,
    };
    keeping(keep, &format!("head -c {MUCH} /dev/zero; exit 6"))
}

fn until_blocked(running: &mut Running) {
    let by = running.until_report(|report| match report {
        Report::Blocked(by) => Some(*by),
        _ => None,
    });
    assert_eq!(by, BlockedBy::Keep);
}

fn status(running: &mut Running) -> Status {
    running.server.send(&LinkRequest::GetStatus { request: 77 });
    running.until_report(|report| match report {
        Report::Status {
            request: 77,
            status,
        } => Some(status.clone()),
        _ => None,
    })
}

/// Goes on to its end. Returns how it ended, how much of it was kept and how much was not.
fn end(mut running: Running) -> (Exit, u64, u64) {
    let exit = loop {
        if let Some(exit) = running.step() {
            break exit;
        }
    };
    assert_eq!(running.server.report(), None);
    let (events, gaps) = running.server.events_and_gaps(u64::MAX);
    let kept = events.iter().map(|event| match &event.kind {
        EventKind::Output(chunk) => chunk.data.len() as u64,
        _ => 0,
    });
    let lost = gaps.iter().map(|gap| gap.bytes.iter().sum::<u64>());
    (exit, kept.sum(), lost.sum())
}

#[test]
fn the_oldest_makes_room_at_once_where_that_was_asked_for() {
    let (exit, kept, lost) = end(flood(OnFull::DropOldest).start());
    assert_eq!(exit.outcome.status, Some(code(6)));
    assert_eq!(kept + lost, MUCH);
    assert!(lost > 0 && kept <= 1024 * 1024, "{kept} are kept");
}

#[test]
fn without_a_caller_the_command_waits() {
    let mut running = flood(OnFull::Block).start();
    running.attach(0, 0);
    until_blocked(&mut running);
    let seen = status(&mut running);
    assert_eq!(seen.blocked, Some(BlockedBy::Keep));
    assert!(seen.stdout_bytes < MUCH);
    assert_eq!(seen.attached, Attached::default());
    // Nothing moves.
    running.step_within(Duration::from_millis(50));
    assert_eq!(status(&mut running).through, seen.through);
    // A caller comes, and has been sent all there is, over and over.
    running.attach(1, seen.through);
    let told = loop {
        let through = running.server.through;
        running.attach(1, through);
        if let Some(exit) = running.step() {
            break exit;
        }
    };
    assert_eq!(told.outcome.status, Some(code(6)));
}

/// A caller that was sent nothing is waited for, and nothing is lost to it.
#[test]
fn the_slowest_caller_is_waited_for_and_loses_nothing() {
    let mut running = flood(OnFull::Block).start();
    until_blocked(&mut running);
    let (mut position, mut bytes) = (0, 0);
    let mut read = |server: &Server, through| {
        for step in server.steps(position, through) {
            let Step::Event(event) = step else {
                panic!("{step:?} behind {position}");
            };
            assert_eq!(event.sequence, position + 1);
            position = event.sequence;
            if let EventKind::Output(chunk) = event.kind {
                bytes += chunk.data.len() as u64;
            }
        }
        position
    };
    let exit = loop {
        let position = read(&running.server, running.server.through);
        running.attach(1, position);
        if let Some(exit) = running.step() {
            break exit;
        }
    };
    read(&running.server, EVERYTHING);
    assert_eq!(exit.outcome.status, Some(code(6)));
    assert_eq!(bytes, MUCH);
}

#[test]
fn a_command_that_waits_for_a_reader_can_be_killed() {
    let mut running = flood(OnFull::Block).start();
    running.attach(0, 0);
    until_blocked(&mut running);
    assert!(running.signal(9));
    let (exit, kept, lost) = end(running);
    assert_eq!(exit.outcome.status, Some(signal(9)));
    assert_eq!(exit.outcome.reason, ExitReason::Signal);
    assert!(kept > 0 && lost > 0);
}

#[test]
fn a_command_that_waits_for_a_reader_ends_with_its_callers_and_its_time() {
    let mut command = flood(OnFull::Block);
    command.on_disconnect = OnDisconnect::Grace(Duration::from_millis(100));
    let mut running = command.start();
    until_blocked(&mut running);
    running.attach(0, 0);
    let (exit, ..) = end(running);
    assert_eq!(exit.outcome.reason, ExitReason::Ended(Cause::Disconnect));
    let mut command = flood(OnFull::Block);
    command.timeout = Some(Duration::from_millis(700));
    let mut running = command.start();
    running.attach(0, 0);
    until_blocked(&mut running);
    let (exit, ..) = end(running);
    assert_eq!(exit.outcome.reason, ExitReason::Ended(Cause::Timeout));
}

/// It has ended by itself, and part of what it wrote is still in its pipe: it is kept, at the cost of what is older.
#[test]
fn what_has_ended_while_it_was_waiting_ends_when_its_time_without_callers_is_up() {
    let keep = Keep {
        max_bytes: 64 * 1024,
        on_full: OnFull::Block,
        no_output: false,
    };
    let mut command = keeping(keep, "head -c 300000 /dev/zero; echo the end; exit 6");
    command.on_disconnect = OnDisconnect::Grace(Duration::from_secs(1));
    let mut running = command.start();
    running.attach(0, 0);
    until_blocked(&mut running);
    let (exit, kept, lost) = end(running);
    assert!(kept > 0);
    assert!(matches!(
        exit.outcome.reason,
        ExitReason::Own | ExitReason::Ended(Cause::Disconnect)
    ));
    if exit.outcome.reason == ExitReason::Own {
        assert_eq!(kept + lost, 300_008);
    }
}

fn unkept(text: &str) -> Running {
    let keep = Keep {
        no_output: true,
        ..Keep::default()
    };
    let mut command = keeping(keep, text);
    command.stdin_open = true;
    command.start()
}

#[test]
fn output_that_is_not_kept_is_sent_to_who_is_attached_and_waits_for_it() {
    let mut running = unkept(&format!("head -c {MUCH} /dev/zero; exit 6"));
    let mut sequences = Vec::new();
    let mut bytes = 0;
    // More than the window is not sent before a caller has got something.
    while sequences.len() < OUTPUT_WINDOW {
        running.step();
        for report in running.reports.drain(..) {
            if let Report::Output {
                sequence, chunk, ..
            } = report
            {
                assert_eq!(chunk.offset, bytes);
                bytes += chunk.data.len() as u64;
                sequences.push(sequence);
            }
        }
    }
    running.step_within(Duration::from_millis(50));
    let more = |report: &Report| matches!(report, Report::Output { .. });
    assert!(!running.reports.iter().any(more));
    let mut exit = None;
    while exit.is_none() {
        running.attach(1, *sequences.last().unwrap());
        exit = running.step();
        for report in running.reports.drain(..) {
            if let Report::Output {
                sequence, chunk, ..
            } = report
            {
                assert_eq!(chunk.offset, bytes);
                assert_eq!(sequence, sequences.last().unwrap() + 1);
                bytes += chunk.data.len() as u64;
                sequences.push(sequence);
            }
        }
    }
    assert_eq!(bytes, MUCH);
    let (events, gaps) = running.server.events_and_gaps(u64::MAX);
    assert_eq!(events.len(), 2);
    assert_eq!(gaps.iter().map(|gap| gap.bytes[0]).sum::<u64>(), MUCH);
    assert_eq!(exit.unwrap().outcome.status, Some(code(6)));
}

#[test]
fn output_that_is_not_kept_waits_for_nobody_where_nobody_is() {
    for observers in [0, 1] {
        let mut running = unkept(&format!("read line; head -c {MUCH} /dev/zero; exit 6"));
        running.server.send(&LinkRequest::Attached(Attached {
            callers: 0,
            observers,
            sent: 0,
        }));
        running.write(b"\n", true);
        let (exit, kept, lost) = end(running);
        assert_eq!(exit.outcome.status, Some(code(6)));
        assert_eq!((kept, lost), (0, MUCH));
    }
}

/// Has all that a process writes beyond so many bytes of a file fail.
#[expect(
    unsafe_code,
    reason = "another process's limits are out of rustix's reach"
)]
fn limit_files(pid: i32, bytes: u64) {
    let limit = libc::rlimit64 {
        rlim_cur: bytes,
        rlim_max: bytes,
    };
    // SAFETY: a whole limit to read, and nowhere to write the old one.
    let set = unsafe {
        libc::prlimit64(
            pid,
            libc::RLIMIT_FSIZE,
            &raw const limit,
            std::ptr::null_mut(),
        )
    };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// A write that fails is final for the journal, and the command goes on by its caller's rule; the supervisor keeps what became of
/// it for a server that asks.
#[test]
fn where_storage_fails_the_outcome_waits_for_a_server() {
    let keep = Keep {
        on_full: OnFull::DropOldest,
        ..Keep::default()
    };
    let mut command = keeping(
        keep,
        "echo ready; read line; head -c 1000000 /dev/zero; exit 6",
    );
    command.stdin_open = true;
    let mut running = command.start();
    running.until_ready();
    limit_files(running.server.supervisor().unwrap(), 1000);
    running.write(b"\n", true);
    let ended = |report: &Report| match report {
        Report::Ended { exit, kept, .. } => Some((exit.outcome.status, *kept)),
        _ => None,
    };
    let until_ended = |server: &mut Server| loop {
        if let Some(ended) = ended(&server.report().expect("it waits")) {
            return ended;
        }
    };
    assert_eq!(until_ended(&mut running.server), (Some(code(6)), false));
    // Another server is told, too.
    let mut server = Server::find(&running.server.path);
    server.greet(Stage::Ended);
    assert_eq!(until_ended(&mut server), (Some(code(6)), false));
    server.send(&LinkRequest::Release);
    assert_eq!(server.report(), None);
    // What was written before is there.
    let (events, _) = server.events_and_gaps(2);
    assert_eq!(events.len(), 2);
    let summary = remex_supervisor::journal::inspect(&server.folder).unwrap();
    assert!(summary.storage_error.is_some());
}

#[test]
fn a_command_that_waits_for_storage_that_has_failed_can_be_killed() {
    // More than any pipe has room for.
    let text = format!("echo ready; read line; head -c {MUCH} /dev/zero; exit 6");
    let mut command = keeping(Keep::default(), &text);
    command.stdin_open = true;
    let mut running = command.start();
    running.until_ready();
    limit_files(running.server.supervisor().unwrap(), 1000);
    running.write(b"\n", true);
    while status(&mut running).storage_error.is_empty() {}
    assert!(running.signal(9));
    let outcome = loop {
        if let Report::Ended { exit, kept, .. } = running.server.report().expect("it waits") {
            assert!(!kept);
            break exit.outcome;
        }
    };
    assert_eq!(outcome.reason, ExitReason::Signal);
    running.server.send(&LinkRequest::Release);
    assert_eq!(running.server.report(), None);
}
