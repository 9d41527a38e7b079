//! Others that hold a command's output open when it has ended: it is over all the same, and they live on.

use std::time::{Duration, Instant};

use remex_supervisor::lifecycle::outcome::ExitReason;

use super::{marker::Marker, told::code};
use crate::commands::shell;

/// By far more than the drain is bounded to, on a busy machine, and by far less than they would hold it up.
const BOUND: Duration = Duration::from_secs(30);

#[test]
fn the_background_holds_nothing_up_and_lives_on() {
    for holder in ["", "setsid ", "nohup ", "setsid nohup "] {
        for stderr in ["", " 2>/dev/null"] {
            let marker = Marker::new();
            let text = format!("{holder}sleep {marker}{stderr} & echo out; echo err >&2; exit 5");
            let begin = Instant::now();
            let told = shell(text).run();
            assert_eq!(told.ending(), (code(5), ExitReason::Own), "{holder}");
            assert_eq!(told.text(), "out\n");
            assert!(told.stderr.ends_with(b"err\n"), "{told:?}");
            assert!(begin.elapsed() < BOUND);
            assert_eq!(marker.processes().len(), 1, "{holder}");
        }
    }
}

/// What it writes while it is waited for is the command's, and it does not prolong that for ever.
#[test]
fn a_background_that_keeps_writing_is_waited_for_no_longer_than_the_bound() {
    let marker = Marker::new();
    let text = format!("(while :; do echo more; sleep .01; : {marker}; done) & echo out");
    let begin = Instant::now();
    let told = shell(text).run();
    assert_eq!(told.ending(), (code(0), ExitReason::Own));
    let lines: Vec<_> = told.text().lines().map(str::to_owned).collect();
    assert!(lines.iter().any(|line| line == "out"), "{lines:?}");
    assert!(
        lines.iter().all(|line| line == "out" || line == "more"),
        "{lines:?}"
    );
    assert!(begin.elapsed() < BOUND);
}
