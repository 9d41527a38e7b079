//! What a scenario's command is to whoever spawns it.

use std::{ffi::CString, time::Duration};

use remex_supervisor::process::{CommandSpec, TerminalSpec, WindowSize};

/// Between TERM and KILL, where nothing is to need the KILL.
pub(crate) const LONG: Duration = Duration::from_mins(1);

/// A command in the server's own folder, environment and name.
pub(crate) fn spec(argv: &[CString], on_terminal: bool) -> CommandSpec {
    CommandSpec {
        shell: true,
        kill_after: LONG,
        terminal: on_terminal.then(|| TerminalSpec {
            size: WindowSize::default(),
            term: c"TERM=xterm".into(),
        }),
        ..CommandSpec::new(argv.to_vec())
    }
}
