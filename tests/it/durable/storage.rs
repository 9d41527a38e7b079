//! What a power cut and a bad disk leave in a state folder: nothing runs twice for it, and what cannot be read is said and costs no
//! more than itself.

use std::{
    fs::{self, File},
    path::PathBuf,
};

use remex::v1::{Event, StartRequest, event::Kind, exit::Reason};
use rustix::{
    fs::{FlockOperation, fcntl_lock},
    process::Signal,
};
use tokio::process::Command;

use super::support::{detached, exit, from, output, started_id};
use crate::{
    harness::{Daemon, Home, Marker, eventually, tools::root},
    supervision::support::{RequestExt, Server, ending, shell},
};

/// So many executions are recovered at once.
const RECOVERED_AT_ONCE: usize = 16;

/// remexd is killed, and nothing follows it yet.
async fn kill(server: Server) -> Home {
    let Server { mut daemon, .. } = server;
    daemon.signal(Signal::KILL);
    daemon.wait().await;
    daemon.home().clone()
}

/// remexd as it is when the machine has been booted again.
fn booted_again(home: &Home, flags: &[&str]) -> Command {
    let id = home.path("boot-id");
    fs::write(&id, "00000000-1111-2222-3333-444444444444\n").expect("a file");
    let text = "mount --bind \"$1\" /proc/sys/kernel/random/boot_id && shift && exec \"$@\"";
    let id = id.display().to_string();
    let wrapper = [
        "unshare",
        "--mount",
        "--propagation",
        "private",
        "sh",
        "-c",
        text,
        "sh",
        &id,
    ];
    home.remexd_under(&wrapper, flags)
}

/// Has recovery wait, until this is dropped, for supervisors that seem to live and do not answer, of newer executions than all
/// others.
fn hold_recovery_up(home: &Home) -> Vec<File> {
    let hold = |index: usize| {
        let id = format!("ffffffff-ffff-7fff-bfff-{index:012}");
        let folder = home.path("state/durable").join(id);
        fs::create_dir(&folder).expect("a folder");
        let lock = File::create_new(folder.join("supervisor.lock")).expect("a file");
        fcntl_lock(&lock, FlockOperation::NonBlockingLockExclusive).expect("its lock");
        lock
    };
    (0..RECOVERED_AT_ONCE).map(hold).collect()
}

/// Every journal has been looked at.
fn is_recovered(home: &Home) -> bool {
    home.log().contains("looked at the durable executions")
}

fn once(home: &Home, request_id: &str) -> StartRequest {
    let ran = home.path("ran");
    let text = format!("echo ran >> {}; echo out; exit 3", ran.display());
    StartRequest {
        request_id: request_id.to_owned(),
        ..shell(text)
    }
}

fn runs(home: &Home) -> usize {
    let text = fs::read_to_string(home.path("ran")).unwrap_or_default();
    text.lines().count()
}

/// A claim is not synced: it is in the journal, too, which is looked at before its id is believed to be free.
#[tokio::test]
async fn a_request_whose_claim_a_power_cut_took_is_not_run_again() {
    skip_unless!(root());
    for leaves in [None, Some("torn")] {
        let flags = ["--sync", "start"];
        let server = Server::start(&flags).await;
        let home = server.daemon.home().clone();
        let first = server.start_events(once(&home, "nightly")).await;
        let first = first.end().await;
        let home = kill(server).await;
        fs::write(home.path("log"), "").expect("its log");
        for claim in fs::read_dir(home.path("state/request-ids")).expect("claims") {
            let claim = claim.expect("a claim").path();
            match leaves {
                None => fs::remove_file(claim).expect("a claim"),
                Some(text) => fs::write(claim, text).expect("a claim"),
            }
        }
        let held = hold_recovery_up(&home);
        let daemon = Daemon::spawn(&home, booted_again(&home, &flags)).await;
        let client = daemon.client().await;
        let server = Server { daemon, client };
        let joins = async {
            server
                .start_events(once(&home, "nightly"))
                .await
                .end()
                .await
        };
        let meanwhile = async {
            // Others wait for nothing.
            let other = server.start_events(detached(shell("echo other"))).await;
            assert_eq!(output(&other.end().await), b"other\n");
            drop(held);
        };
        let (again, ()) = tokio::join!(joins, meanwhile);
        assert_eq!(again, first, "{leaves:?}");
        assert_eq!(runs(&home), 1, "{leaves:?}");
        server.daemon.stop().await;
    }
}

/// Of this boot no claim can be missing.
#[tokio::test]
async fn while_the_machine_is_up_a_new_request_waits_for_no_journal() {
    let server = Server::start(&[]).await;
    let home = server.daemon.home().clone();
    server.start_events(once(&home, "first")).await.end().await;
    eventually("the boot is noted", || {
        home.path("state/request-ids-boot").exists().then_some(())
    })
    .await;
    let home = kill(server).await;
    fs::write(home.path("log"), "").expect("its log");
    let held = hold_recovery_up(&home);
    let server = Server::start_in(&home, &[]).await;
    server.start_events(once(&home, "second")).await.end().await;
    assert!(!is_recovered(&home), "it has waited");
    drop(held);
    assert_eq!(runs(&home), 2);
    server.daemon.stop().await;
}

/// What is written of an execution of three outputs, `one` to `three`, once remexd is gone; its id and its events.
async fn three_outputs(server: Server) -> (Home, String, Vec<Event>) {
    let text = "echo one; read a; echo two; read b; echo three; exit 5";
    let request = detached(shell(text).stdin_open());
    let mut events = server.start_events(request).await;
    events.until("one").await;
    let id = started_id(&events.all[0]);
    server.write_to(&id, b"\n").await;
    events.until("two").await;
    server.write_to(&id, b"\n").await;
    let all = events.end().await;
    (kill(server).await, id, all)
}

/// Flips a bit of `part` in the journal of the execution `id`.
fn damage(home: &Home, id: &str, part: &[u8]) {
    let segment: PathBuf = [id, "segment-00000001"].iter().collect();
    let path = home.path("state/durable").join(segment);
    let mut bytes = fs::read(&path).expect("a segment");
    let mut windows = bytes.windows(part.len());
    let found = windows.position(|window| window == part);
    bytes[found.expect("it is there")] ^= 1;
    fs::write(&path, bytes).expect("a segment");
}

#[tokio::test]
async fn damage_is_said_and_what_is_behind_it_is_there() {
    let (home, id, whole) = three_outputs(Server::start(&[]).await).await;
    damage(&home, &id, b"two\n");
    let server = Server::start_in(&home, &[]).await;
    let ended = server.wait(&id).await;
    assert_eq!(ending(ended.exit.as_ref().unwrap()), (5, 0, Reason::Self_));
    let all = server.attach(from(&id, 0)).await.end().await;
    assert_eq!(all.len(), whole.len());
    let mut gone = 0;
    for (event, written) in all.iter().zip(&whole) {
        match &event.kind {
            Some(Kind::Gap(gap)) => {
                gone = event.sequence;
                assert_eq!(gap.first_sequence, gone);
                assert_eq!(output(std::slice::from_ref(written)), b"two\n");
            }
            _ => assert_eq!(event, written),
        }
    }
    assert!(gone > 0, "nothing is said to be missing");
    let record = server.get(&id).await;
    assert!(
        record.storage_error.contains("cannot be read"),
        "{record:?}"
    );
    // It can be begun behind it.
    let rest = server.attach(from(&id, gone)).await.end().await;
    assert_eq!(rest, whole[usize::try_from(gone).unwrap()..]);
    server.daemon.stop().await;
}

/// Who asked for it, and for what, is gone: it is the operator's then, with all of its output.
#[tokio::test]
async fn an_execution_of_which_nobody_knows_who_asked_for_it_can_be_read() {
    let (home, id, whole) = three_outputs(Server::start(&[]).await).await;
    damage(&home, &id, b"echo three");
    let server = Server::start_in(&home, &[]).await;
    let record = server.wait(&id).await;
    assert_eq!(ending(record.exit.as_ref().unwrap()), (5, 0, Reason::Self_));
    assert!(
        record.storage_error.contains("cannot be read"),
        "{record:?}"
    );
    let all = server.attach(from(&id, 0)).await.end().await;
    assert_eq!(all, whole);
    assert_eq!(exit(&all).code, Some(5));
    server.delete(&id).await.unwrap();
    server.daemon.stop().await;
}

/// Its supervisor is killed, and its journal is gone, too.
#[tokio::test]
async fn an_end_that_no_journal_tells_is_told_all_the_same() {
    let server = Server::start(&[]).await;
    let home = server.daemon.home().clone();
    let marker = Marker::new();
    let text = format!("echo runs; exec sleep {marker}");
    let mut events = server.start_events(detached(shell(text))).await;
    events.until("runs").await;
    let id = started_id(&events.all[0]);
    let supervisor = home.supervisor_of(&id).expect("it has a supervisor");
    fs::remove_dir_all(home.path("state/durable").join(&id)).expect("its journal");
    rustix::process::kill_process(supervisor, Signal::KILL).expect("it lives");
    let all = events.end().await;
    assert_eq!(ending(exit(&all)), (-1, 0, Reason::LostExit));
    let record = server.wait(&id).await;
    assert_eq!(record.last_sequence, all.last().unwrap().sequence);
    marker.kill();
    server.daemon.stop().await;
}
