//! A server for tests.

use tempfile::TempDir;

use super::{Choice, Settings, Spawner};

/// A folder, and a server that runs commands in it.
pub(super) struct Place {
    pub(super) folder: TempDir,
    pub(super) spawner: Spawner,
}

impl Place {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = Settings {
            directory: folder.path().to_owned(),
            pass_environment: Vec::new(),
            state_dir: folder.path().to_owned(),
            instance: format!("test-{}", folder.path().file_name().unwrap().display()),
            containment: Choice::Auto,
            prepared: None,
        };
        let (spawner, _) = Spawner::new(settings).unwrap();
        Self { folder, spawner }
    }
}
