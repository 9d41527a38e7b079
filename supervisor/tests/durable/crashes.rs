//! A supervisor dies at each step of an execution: what becomes of it is known, or that it is not known, and nothing of it lives on.

use std::{fs, os::fd::AsFd, time::SystemTime};

use remex_supervisor::{
    durable::{FolderLock, message::Report},
    journal::{self, Fate, Lost, Stage},
    process::TreeRecord,
};

use crate::{
    commands::shell,
    scenarios::{marker::Marker, told::code},
    server::{Spare, spawner},
    survival::until,
};

/// Whether the command has run.
#[derive(Debug, PartialEq)]
enum Ran {
    No,
    Maybe,
    Yes,
}

/// Has a supervisor die at `step` of a command that ends at once, or does not. Checks that what was told was true, and that what
/// is found is `fate`.
#[track_caller]
fn die_at(step: &str, ends: bool, fate: Fate, ran: &Ran) {
    let marker = Marker::new();
    let spare = Spare::new();
    let once = spare.server.path.with_extension("once");
    fs::write(spare.server.path.join("crash-at"), step).unwrap();
    let last = if ends {
        "exit 3".to_owned()
    } else {
        format!("setsid sleep {marker} & exec sleep {marker}")
    };
    let order = shell(format!("echo ran >>{}; echo out; {last}", once.display())).order();
    let Spare { mut server, place } = spare;
    server.link.start(&order, &place).unwrap();
    let mut reports = Vec::new();
    while let Some(report) = server.report() {
        reports.push(report);
    }
    let folder = server.folder.clone();
    until("free", || {
        FolderLock::take(folder.as_fd()).unwrap().is_some()
    });
    let _lock = FolderLock::take(folder.as_fd()).unwrap().unwrap();
    let tree = TreeRecord::read(folder.as_fd()).unwrap().unwrap();
    until("gone", || spawner().kill_durable(&tree));
    marker.assert_gone();
    // From here on it has run or not.
    let lines = fs::read_to_string(&once).unwrap_or_default();
    match ran {
        Ran::No => assert_eq!(lines, "", "{step}"),
        Ran::Maybe => assert!(["", "ran\n"].contains(&&*lines), "{step}: {lines}"),
        Ran::Yes => assert_eq!(lines, "ran\n", "{step}"),
    }
    let recovered = journal::recover(folder.clone()).unwrap();
    assert_eq!(recovered.summary.fate(true), fate, "{step}");
    assert!(!recovered.summary.is_damaged, "{step}");
    // Whoever was told of something finds it.
    let started = reports
        .iter()
        .any(|report| matches!(report, Report::Started { .. }));
    assert!(!started || recovered.summary.started.is_some(), "{step}");
    assert!(recovered.summary.last_sequence >= server.through, "{step}");
    if let Fate::Lost(lost) = fate {
        let mut writer = recovered.writer.unwrap();
        writer.lose(lost, SystemTime::now()).unwrap();
        let summary = journal::inspect(&folder).unwrap();
        assert!(
            matches!(summary.stage, Stage::Lost { lost: found, .. } if found == lost),
            "{step}: {summary:?}"
        );
    }
}

#[test]
fn before_anything_is_written_nothing_ran() {
    die_at("ordered", false, Fate::NeverRan, &Ran::No);
}

#[test]
fn between_the_reservation_and_the_start_nobody_knows() {
    die_at("reserved", false, Fate::Lost(Lost::Start), &Ran::No);
    die_at("launched", false, Fate::Lost(Lost::Start), &Ran::Maybe);
    die_at("executed", false, Fate::Lost(Lost::Start), &Ran::Maybe);
}

#[test]
fn once_it_is_started_only_its_end_is_lost() {
    die_at("started", false, Fate::Lost(Lost::Exit), &Ran::Maybe);
    die_at("exited", true, Fate::Lost(Lost::Exit), &Ran::Yes);
}

#[test]
fn an_end_that_is_recorded_is_known_though_nobody_was_told() {
    die_at("recorded", true, Fate::Known, &Ran::Yes);
}

#[test]
fn the_recorded_end_is_the_commands_own() {
    let spare = Spare::new();
    fs::write(spare.server.path.join("crash-at"), "recorded").unwrap();
    let mut server = spare.start(&shell("echo out; exit 3").order()).unwrap();
    while let Some(report) = server.report() {
        assert!(!matches!(report, Report::Ended { .. }));
    }
    let summary = journal::inspect(&server.folder).unwrap();
    let Stage::Ended { exit, .. } = summary.stage else {
        panic!("{summary:?}");
    };
    assert_eq!(exit.outcome.status, Some(code(3)));
    let told = crate::scenarios::told::Told::of(&server.whole());
    assert_eq!(told.text(), "out\n");
}
