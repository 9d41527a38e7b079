//! What a scenario's command is to whoever spawns it.

use std::{ffi::CString, time::Duration};

use remex_supervisor::process::{CommandSpec, ResourceLimits, TerminalSpec, WindowSize};

/// Between TERM and KILL, where nothing is to need the KILL.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// A command in the server's own folder, environment and name.
pub(crate) fn spec(argv: &[CString], on_terminal: bool) -> CommandSpec {
    CommandSpec {
        argv: argv.to_vec(),
        shell: true,
        working_directory: None,
        environment: Vec::new(),
        clear_environment: false,
        passed: Vec::new(),
        user: None,
        timeout: None,
        kill_after: LONG,
        terminal: on_terminal.then(|| TerminalSpec {
            size: WindowSize::default(),
            term: c"TERM=xterm".into(),
        }),
        limits: ResourceLimits::default(),
        isolation: None,
    }
}
