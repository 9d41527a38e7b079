//! How a supervisor gets its execution, and what becomes of it if it cannot run it.

use std::{
    fs,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use remex_supervisor::{
    durable::{
        FolderLock,
        message::{LinkRequest, Report, Stage},
    },
    journal::{self, EVERYTHING, Stage as Recorded},
    lifecycle::{
        event::{Event, EventKind},
        outcome::ExitReason,
    },
    process::{ResourceLimits, SPAWN_BOUND, StartError, TreeLimits},
};

use crate::{
    commands::{Running, command, shell},
    escape::{cgroup, has_cgroups},
    scenarios::{marker::Marker, told::code},
    server::{PATIENCE, Server, Spare, names, order, spawner},
    survival::until,
};

#[test]
fn pitfall_7_what_cannot_be_executed_says_why_and_leaves_its_id_free() {
    let refused = |argv: [Vec<u8>; 1], folder: Option<&str>| {
        let mut spare = Spare::new();
        let its_folder = spare.server.folder.clone();
        let _remains = spare.server.remains.take();
        let mut spec = command(argv).spec();
        spec.working_directory = folder.map(Into::into);
        let error = spare.start(&order(&spec)).err().expect("it runs");
        let summary = journal::inspect(&its_folder).unwrap();
        assert!(matches!(summary.stage, Recorded::NotStarted), "{summary:?}");
        assert!(FolderLock::take(its_folder.as_fd()).unwrap().is_some());
        error
    };
    let error = refused([b"/no/such/program".to_vec()], None);
    assert!(
        matches!(error, StartError::ProgramNotFound { .. }),
        "{error}"
    );
    let error = refused([b"/etc/passwd".to_vec()], None);
    assert!(
        matches!(error, StartError::ProgramNotExecutable { .. }),
        "{error}"
    );
    let error = refused([b"/bin/true".to_vec()], Some("/no/such/folder"));
    assert!(
        matches!(error, StartError::WorkingDirectory { .. }),
        "{error}"
    );
}

/// Its group is frozen, so that it never comes to its program.
#[test]
fn pitfall_40_a_start_that_the_kernel_holds_is_given_up() {
    if !has_cgroups() {
        return;
    }
    let marker = Marker::new();
    let mut spare = Spare::new();
    let supervisor = spare.server.supervisor().unwrap().to_string();
    let group = cgroup(&supervisor).with_file_name(&spare.server.id);
    fs::write(group.join("cgroup.freeze"), "1").unwrap();
    let (folder, remains) = (spare.server.folder.clone(), spare.server.remains.take());
    let order = shell(format!("exec sleep {marker}")).order();
    let begin = Instant::now();
    let error = spare.start(&order).err().expect("it runs");
    assert!(matches!(error, StartError::Held { .. }), "{error}");
    assert!(begin.elapsed() >= SPAWN_BOUND);
    let summary = journal::inspect(&folder).unwrap();
    assert!(matches!(summary.stage, Recorded::NotStarted), "{summary:?}");
    until("gone", || {
        spawner().kill_durable(&remains.as_ref().unwrap().tree)
    });
    marker.assert_gone();
    assert!(!group.exists());
}

/// A server tells its callers so without having read the journal.
#[test]
fn what_is_told_of_start_and_end_is_what_the_journal_says() {
    for (text, no_output) in [
        ("exit 3", false),
        ("echo out; echo more >&2", false),
        ("echo out; echo more >&2", true),
    ] {
        let mut spare = Spare::new();
        let mut order = shell(text).order();
        order.settings.keep.no_output = no_output;
        spare.server.link.start(&order, &spare.place).unwrap();
        let server = &mut spare.server;
        let Some(Report::Started { pid, time }) = server.next() else {
            panic!("it does not start");
        };
        let (end, told) = loop {
            match server.next() {
                Some(Report::Ended {
                    sequence,
                    time,
                    exit,
                    kept,
                    summary,
                }) => {
                    assert!(kept);
                    let kind = EventKind::Exited(exit);
                    let end = Event {
                        sequence,
                        time,
                        kind,
                    };
                    break (end, summary.unwrap());
                }
                Some(_) => {}
                None => panic!("it ends without a word"),
            }
        };
        // Gone, it has given back the room that it did not use.
        assert_eq!(server.next(), None);
        let (events, _) = server.events_and_gaps(EVERYTHING);
        let start = Event {
            sequence: 1,
            time,
            kind: EventKind::Started { pid },
        };
        let ends = [events.first(), events.last()];
        assert_eq!(
            format!("{ends:?}"),
            format!("{:?}", [Some(&start), Some(&end)])
        );
        let (status, costs) = *told;
        let summary = journal::inspect(&server.folder).unwrap();
        assert!(costs.written_bytes > 0);
        let [stdout, stderr, _] = summary.positions;
        assert_eq!(
            (status.stage, status.through, status.first_kept),
            (Stage::Ended, summary.last_sequence, summary.first_sequence)
        );
        assert_eq!((status.stdout_bytes, status.stderr_bytes), (stdout, stderr));
        assert_eq!(status.stored_bytes, summary.stored_bytes);
        assert_eq!((status.blocked, &*status.storage_error), (None, ""));
    }
}

/// It comes in a file, which is as good as a packet.
#[test]
fn an_order_may_be_longer_than_a_packet() {
    let argument = vec![b'x'; 100_000];
    let [shell, flag, text] = ["/bin/sh", "-c", "echo ${#0}"].map(Vec::from);
    let told = command([shell, flag, text, argument]).run();
    assert_eq!(told.text(), "100000\n");
}

#[test]
fn its_limits_are_its_own() {
    let mut limited = shell("ulimit -n; ulimit -c");
    limited.limits = ResourceLimits {
        open_files: Some(99),
        core_bytes: Some(0),
        ..ResourceLimits::default()
    };
    assert_eq!(limited.run().text(), "99\n0\n");
}

#[test]
fn limits_of_its_tree_are_applied_or_refused() {
    let limits = TreeLimits {
        processes: Some(50),
        ..TreeLimits::default()
    };
    let mut spare = Spare::new();
    match spare.place.limit(limits) {
        Ok(()) => {
            let server = spare.start(&shell("exit 3").order()).unwrap();
            let told = Running::of(server).end();
            assert_eq!(told.ending(), (code(3), ExitReason::Own));
        }
        Err(error) => {
            let is_named = |limit| limit == "tree_processes";
            assert!(
                matches!(error, StartError::LimitUnavailable { limit, .. } if is_named(limit)),
                "{error}"
            );
        }
    }
}

/// It has nothing to do any more, and leaves nothing that a recovery would take for an execution.
#[test]
fn a_spare_ends_with_the_server_that_has_made_it() {
    let mut spare = Spare::new();
    let folder = spare.server.folder.clone();
    let _remains = spare.server.remains.take();
    assert!(FolderLock::take(folder.as_fd()).unwrap().is_none());
    drop(spare);
    let begin = Instant::now();
    while FolderLock::take(folder.as_fd()).unwrap().is_none() {
        assert!(begin.elapsed() < PATIENCE, "it never ended");
        std::thread::sleep(Duration::from_millis(5));
    }
    let summary = journal::inspect(&folder).unwrap();
    assert!(matches!(summary.stage, Recorded::Prepared), "{summary:?}");
    assert!(!names(&folder).iter().any(|name| name.ends_with(".socket")));
}

#[test]
fn nobody_else_gives_it_an_order() {
    let mut command = shell("echo ready; read line; exit 2");
    command.stdin_open = true;
    let mut running = command.start();
    running.until_ready();
    let (path, remains) = (running.server.path.clone(), running.server.remains.take());
    let place = spawner()
        .place_durable(&format!("other-{}", running.server.id))
        .unwrap();
    let mut other = Server::find(&path);
    other.greet(Stage::Running);
    let another = shell("exit 9").order();
    other.link.start(&another, &place).unwrap();
    while other.report().is_some() {}
    let mut other = Server::find(&path);
    other.greet(Stage::Running);
    let folder = other.folder.clone();
    other.link.prepare(folder.as_fd(), "else").unwrap();
    while other.report().is_some() {}
    let mut last = Server::find(&path);
    last.remains = remains;
    last.greet(Stage::Running);
    let mut running = Running::of(last);
    running.write(b"\n", true);
    assert_eq!(running.end().ending(), (code(2), ExitReason::Own));
}

#[test]
fn two_supervisors_never_have_one_execution() {
    let spare = Spare::new();
    let mut other = Server {
        link: spawner().fork_supervisor().unwrap(),
        id: spare.server.id.clone(),
        path: spare.server.path.clone(),
        folder: spare.server.folder.clone(),
        remains: None,
        through: 0,
    };
    other.greet(Stage::Spare);
    other.link.prepare(other.folder.as_fd(), &other.id).unwrap();
    match other.next() {
        Some(Report::Unfit { why }) => assert!(why.contains("lock"), "{why}"),
        report => panic!("{report:?}"),
    }
    assert_eq!(other.next(), None);
    let server = spare.start(&shell("exit 1").order()).unwrap();
    let told = Running::of(server).end();
    assert_eq!(told.ending(), (code(1), ExitReason::Own));
}

#[test]
fn before_it_runs_there_is_nothing_to_signal() {
    let mut server = Spare::new().server;
    server.send(&LinkRequest::Signal {
        request: 1,
        number: 9,
    });
    // A server that asks for what cannot be is not understood.
    assert_eq!(server.next(), None);
}
