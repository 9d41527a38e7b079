use std::{
    ffi::CString,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use tempfile::TempDir;

use super::{
    super::{Choice, DEFAULT_KILL_AFTER, ResourceLimits, Settings},
    *,
};

const PATIENCE: Duration = Duration::from_mins(1);

/// A server, and a command that makes a file.
struct Place {
    folder: TempDir,
    spawner: Spawner,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            directory: folder.path().to_owned(),
            pass_environment: Vec::new(),
            state_dir: folder.path().to_owned(),
            instance: format!("held-{}", folder.path().file_name().unwrap().display()),
            containment: Choice::Auto,
            prepared: None,
        };
        let (spawner, _) = Spawner::new(settings).unwrap();
        Self { folder, spawner }
    }

    fn made(&self) -> PathBuf {
        self.folder.path().join("made")
    }

    fn spec(&self) -> CommandSpec {
        let argv = [Path::new("/bin/touch"), &self.made()];
        let string = |path: &Path| CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
        CommandSpec {
            argv: argv.into_iter().map(string).collect(),
            shell: false,
            working_directory: None,
            environment: Vec::new(),
            clear_environment: false,
            passed: Vec::new(),
            user: None,
            timeout: None,
            kill_after: DEFAULT_KILL_AFTER,
            terminal: None,
            limits: ResourceLimits::default(),
            isolation: None,
        }
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
