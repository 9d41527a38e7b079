//! What tests of executions start from.

use std::{
    collections::BTreeMap,
    ffi::{CString, OsStr},
    os::unix::ffi::OsStrExt,
    path::Path,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use remex_daemon::net::{Caller, Transport};
use remex_supervisor::{
    journal::SyncMode,
    lifecycle::{event::Exit, outcome::Outcome},
    process::{Choice, CommandSpec, Settings, Spawner, Usage},
};

use super::{Executions, NewExecution, Through};
use crate::{
    audit::{AuditLog, CallRecord},
    durable::DurableSettings,
    traces::CallTrace,
};

/// Executions that keep what they keep in `folder`, at most `max` at once.
pub(crate) fn executions(folder: &Path, max: usize) -> Executions {
    let settings = Settings {
        directory: folder.to_owned(),
        pass_environment: Vec::new(),
        state_dir: folder.to_owned(),
        instance: format!("executions-{}", crate::id::new_id()),
        containment: Choice::Auto,
        prepared: None,
    };
    let (spawner, _) = Spawner::new(settings).unwrap();
    let durable = DurableSettings {
        sync: SyncMode::None,
    };
    let audit = AuditLog::default();
    Executions::new(Arc::new(spawner), max, folder, durable, audit).unwrap()
}

/// `/bin/sh -c TEXT`, without stdin.
pub(super) fn shell(text: &str) -> NewExecution {
    let argv =
        ["/bin/sh", "-c", text].map(|string| CString::new(OsStr::new(string).as_bytes()).unwrap());
    NewExecution {
        spec: CommandSpec {
            shell: true,
            ..CommandSpec::new(argv.into())
        },
        stdin: Bytes::new(),
        stdin_open: false,
        until_end: false,
        labels: BTreeMap::new(),
        permit: None,
        caller: Caller::unix(0),
        through: Through {
            transport: Transport::Unix,
            gateway: false,
            client: None,
        },
        record: CallRecord::default(),
        trace: CallTrace::default(),
        durability: None,
    }
}

/// An end that tells nothing.
pub(super) fn lost() -> Exit {
    Exit {
        outcome: Outcome::LOST,
        wall_time: Duration::ZERO,
        usage: Usage::default(),
        oom_killed: false,
        output_left_open: false,
    }
}
