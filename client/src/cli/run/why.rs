//! Why a command was ended, for people. Pure.

use std::time::Duration;

use remex_client::ExitReason;

use super::session::Ended;
use crate::cli::command::spoken;

/// Why a command was ended, if it was not by itself, nor by a signal from here.
pub(super) fn why_ended(ended: &Ended, timeout: Option<Duration>) -> Option<String> {
    let exit = &ended.exit;
    match (exit.reason, exit.signal) {
        (ExitReason::Timeout, _) => Some(match timeout {
            Some(timeout) => format!("ended by its timeout of {}", spoken(timeout)),
            None => "ended by its timeout".to_owned(),
        }),
        (ExitReason::Signal, Some(signal)) if !ended.forwarded.contains(&signal) => {
            Some(format!("ended by {signal}, which another caller sent"))
        }
        _ if exit.oom_killed => Some("ended by the kernel, for want of memory".to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use remex::v1;
    use remex_client::{Exit, Signal};

    use super::*;

    #[test]
    fn who_ended_a_command_is_said_unless_it_was_itself() {
        use v1::exit::Reason as R;
        for (signal, reason, oom_killed, forwarded, said) in [
            (0, R::Self_, false, None, None),
            (11, R::Self_, false, None, None),
            (
                15,
                R::Timeout,
                false,
                None,
                Some("ended by its timeout of 1 h 30 m"),
            ),
            (15, R::Signal, false, Some(Signal::TERM), None),
            (
                9,
                R::Signal,
                false,
                Some(Signal::TERM),
                Some("ended by SIGKILL, which another caller sent"),
            ),
            (
                9,
                R::Self_,
                true,
                None,
                Some("ended by the kernel, for want of memory"),
            ),
        ] {
            let exit = v1::Exit {
                code: Some(0),
                signal,
                reason: reason.into(),
                oom_killed,
                ..v1::Exit::default()
            };
            let ended = Ended {
                exit: Exit::from(exit),
                forwarded: forwarded.into_iter().collect(),
            };
            let why = why_ended(&ended, Some(Duration::from_mins(90)));
            assert_eq!(why.as_deref(), said);
        }
    }
}
