//! Request ids: taken once, whatever fails or is lost.

use std::time::Duration;

use remex_supervisor::journal::{
    Claim, ClaimError, Claimed, Claims, Folder, RequestDigest, RequestKey, Swept,
};

use crate::{
    crash::{Numbers, power_cuts},
    disk::{Crash, Disk, Do, SimFolder},
    script::{at, claim},
};

fn claims(disk: &Disk) -> Claims<SimFolder> {
    let root = disk.root();
    let folder = root.open_folder("ids").or_else(|_| root.make_folder("ids"));
    Claims::open(folder.unwrap())
}

/// A disk on which the folder itself is safe.
fn disk() -> Disk {
    let disk = Disk::new();
    claims(&disk);
    disk.root().sync().unwrap();
    disk
}

fn other() -> Claim {
    Claim {
        execution_id: "another".to_owned(),
        digest: RequestDigest::new([8; 16], &[(1, b"false")]),
        ..claim()
    }
}

#[test]
fn an_id_is_taken_once_and_in_its_own_scope() {
    let disk = disk();
    let mut claims = claims(&disk);
    assert_eq!(claims.find(&claim().key), Ok(None));
    assert_eq!(claims.claim(&claim()), Ok(Claimed::New));
    assert_eq!(claims.claim(&other()), Ok(Claimed::Taken(claim())));
    assert_eq!(claims.find(&claim().key), Ok(Some(claim())));
    let elsewhere = Claim {
        key: RequestKey::new("unix:1001", "nightly"),
        caller: "unix:1001".to_owned(),
        ..other()
    };
    assert_eq!(claims.claim(&elsewhere), Ok(Claimed::New));
    // Nothing ran: it is free again.
    claims.release(&claim().key).unwrap();
    claims.release(&claim().key).unwrap();
    assert_eq!(claims.claim(&other()), Ok(Claimed::New));
}

#[test]
fn a_claim_that_was_cut_is_torn_and_never_free() {
    let whole = disk();
    let begin = whole.done().len();
    claims(&whole).claim(&claim()).unwrap();
    for written in 0..400 {
        let disk = disk();
        disk.crash(Crash {
            at: begin + 1,
            written,
        });
        let is_whole = claims(&disk).claim(&claim()).is_ok();
        assert!(!is_whole);
        disk.restart();
        let mut claims = claims(&disk);
        match claims.claim(&other()).unwrap() {
            Claimed::Torn => {
                assert_eq!(claims.find(&claim().key), Ok(None));
                assert_eq!(claims.sweep(at(0)).unwrap().torn, 1);
                // Its journal says whose it was, or that it was nobody's.
                let restored = claims.restore(&claim()).unwrap();
                assert_eq!(restored, None);
                assert_eq!(claims.claim(&other()), Ok(Claimed::Taken(claim())));
            }
            Claimed::Taken(taken) => assert_eq!(taken, claim()),
            Claimed::New => panic!("it was free"),
        }
    }
}

#[test]
fn a_claim_that_is_there_is_not_overwritten_by_a_restored_one() {
    let disk = disk();
    let mut claims = claims(&disk);
    claims.claim(&other()).unwrap();
    assert_eq!(claims.restore(&claim()), Ok(Some(other())));
    assert_eq!(claims.restore(&other()), Ok(None));
    assert_eq!(claims.find(&claim().key), Ok(Some(other())));
}

/// Retires a claim, crashing at an operation.
fn retire(disk: &Disk) -> Result<(), ClaimError> {
    claims(disk).retire(&claim().key, at(50))
}

fn retired_after_cuts(forgotten_sync: Option<usize>) -> Result<(), String> {
    let mut numbers = Numbers(3);
    let whole = disk();
    claims(&whole).claim(&claim()).unwrap();
    let begin = whole.done().len();
    retire(&whole).unwrap();
    for crash in begin..=whole.done().len() {
        let disk = disk();
        claims(&disk).claim(&claim()).unwrap();
        if let Some(sync) = forgotten_sync {
            disk.forget_sync(sync);
        }
        disk.crash(Crash {
            at: crash,
            written: 40,
        });
        let is_retired = retire(&disk).is_ok();
        disk.restart();
        let found = claims(&disk).find(&claim().key);
        let kept = found.clone().is_ok_and(|found| found.is_some());
        assert!(kept, "a crash of the process lost it: {found:?}");
        for cut in power_cuts(&disk, &mut numbers) {
            let found = claims(&cut).find(&claim().key).unwrap();
            let retired_at = found.and_then(|claim| claim.retired_at);
            if is_retired && retired_at != Some(at(50)) {
                return Err(format!("crash at {crash}"));
            }
        }
    }
    Ok(())
}

#[test]
fn what_is_retired_stays_so_when_the_power_goes() {
    retired_after_cuts(None).unwrap();
    // The tester is tested: the folder above was sync 0, the claim and its folder are 1 and 2.
    for sync in [1, 2] {
        assert!(
            retired_after_cuts(Some(sync)).is_err(),
            "nothing needs {sync}"
        );
    }
}

#[test]
fn every_failure_is_said_and_leaves_the_claim() {
    let mut numbers = Numbers(4);
    let whole = disk();
    claims(&whole).claim(&claim()).unwrap();
    let begin = whole.done().len();
    retire(&whole).unwrap();
    let operations = whole.done();
    for (index, &what) in operations.iter().enumerate().skip(begin + 1) {
        for errno in [libc::EIO, libc::ENOSPC] {
            let disk = disk();
            claims(&disk).claim(&claim()).unwrap();
            disk.fail(index, errno);
            let retired = retire(&disk);
            if errno == libc::ENOSPC && what != Do::SyncFolder {
                // It is written over, which takes no room.
                retired.unwrap();
                for cut in power_cuts(&disk, &mut numbers) {
                    let found = claims(&cut).find(&claim().key).unwrap().unwrap();
                    assert_eq!(found.retired_at, Some(at(50)), "{what:?}");
                }
                continue;
            }
            assert!(
                matches!(retired, Err(ClaimError::Storage(error)) if error.errno == Some(errno))
            );
            disk.restart();
            let found = claims(&disk).find(&claim().key).unwrap().unwrap();
            assert_eq!(found.execution_id, claim().execution_id);
            retire(&disk).unwrap();
        }
    }
    // One that cannot be written whole leaves nothing in the way.
    for index in [0, 1] {
        let disk = disk();
        disk.fail(disk.done().len() + index, libc::ENOSPC);
        assert!(claims(&disk).claim(&claim()).is_err());
        disk.restart();
        assert_eq!(claims(&disk).sweep(at(0)), Ok(Swept::default()));
    }
}

#[test]
fn what_is_reinstated_is_as_it_was() {
    let disk = disk();
    claims(&disk).claim(&claim()).unwrap();
    retire(&disk).unwrap();
    claims(&disk).reinstate(&claim().key).unwrap();
    assert_eq!(claims(&disk).find(&claim().key), Ok(Some(claim())));
    // One that nobody has is nobody's.
    let free = RequestKey::new("unix:1001", "nightly");
    claims(&disk).reinstate(&free).unwrap();
    assert_eq!(claims(&disk).find(&free), Ok(None));
}

#[test]
fn retired_ids_are_forgotten_in_time_and_no_others() {
    let disk = disk();
    let mut claims = claims(&disk);
    let with = |request_id: &str| Claim {
        key: RequestKey::new("unix:1000", request_id),
        request_id: request_id.to_owned(),
        ..claim()
    };
    for request_id in ["old", "new", "running"] {
        assert_eq!(claims.claim(&with(request_id)), Ok(Claimed::New));
    }
    claims.retire(&with("old").key, at(100)).unwrap();
    claims.retire(&with("new").key, at(200)).unwrap();
    let swept = claims.sweep(at(100) + Duration::from_nanos(1)).unwrap();
    let expected = Swept {
        kept: 2,
        forgotten: 1,
        torn: 0,
    };
    assert_eq!(swept, expected);
    assert_eq!(claims.find(&with("old").key), Ok(None));
    assert!(claims.find(&with("new").key).unwrap().is_some());
    assert!(claims.find(&with("running").key).unwrap().is_some());
}

#[test]
fn a_claim_has_a_size_at_most() {
    let disk = disk();
    let mut claims = claims(&disk);
    let long = Claim {
        request_id: "x".repeat(70_000),
        ..claim()
    };
    assert!(claims.claim(&long).is_err());
    let longest = Claim {
        request_id: "x".repeat(remex_supervisor::journal::MAX_NAME_BYTES),
        caller: "y".repeat(remex_supervisor::journal::MAX_NAME_BYTES),
        ..claim()
    };
    assert_eq!(claims.claim(&longest), Ok(Claimed::New));
    assert_eq!(claims.find(&longest.key), Ok(Some(longest)));
}
