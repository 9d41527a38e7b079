use std::{
    ffi::CString,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use super::{super::testing::Place, *};

const PATIENCE: Duration = Duration::from_mins(1);

impl Place {
    fn made(&self) -> PathBuf {
        self.folder.path().join("made")
    }

    fn spec(&self) -> CommandSpec {
        let argv = [Path::new("/bin/touch"), &self.made()];
        let string = |path: &Path| CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
        CommandSpec::new(argv.into_iter().map(string).collect())
    }
}

fn eventually<T>(mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "it takes too long");
        thread::yield_now();
    }
}

fn held(spawning: &Spawning<'_>) -> i32 {
    eventually(|| match &spawning.stage {
        Stage::Executing(executing) => executing.held(),
        stage => panic!("there is no child that is held: {stage:?}"),
    })
}

#[test]
fn a_program_is_executed_once_it_is_released() {
    let place = Place::new();
    let spec = place.spec();
    let mut spawning = place.spawner.start("held", &spec, StdinSpec::Null);
    held(&spawning);
    assert!(matches!(
        spawning.poll(Instant::now()),
        SpawnProgress::WaitUntil(_)
    ));
    assert!(!place.made().exists());
    spawning.release();
    let (process, _stdio) = spawning.wait().unwrap();
    eventually(|| place.made().exists().then_some(()));
    drop(process);
}

#[test]
fn what_was_never_released_leaves_nothing() {
    let place = Place::new();
    let spec = place.spec();
    let spawning = place.spawner.start("held", &spec, StdinSpec::Null);
    let pid = held(&spawning);
    drop(spawning);
    eventually(|| {
        place.spawner.sweep();
        let is_there = Path::new(&format!("/proc/{pid}")).exists();
        (!is_there).then_some(())
    });
    assert!(!place.made().exists());
}
