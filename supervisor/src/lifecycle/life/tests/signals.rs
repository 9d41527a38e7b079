//! The signals of callers.

use super::*;

#[test]
fn signals_go_where_they_belong() {
    for number in 1..=MAX_SIGNAL {
        let expected = match number {
            KILL => Action::KillTree,
            libc::SIGSTOP | libc::SIGCONT => Action::SignalTree(number),
            _ => Action::SignalGroup(number),
        };
        play(
            &mut life(None),
            &[(ms(1), Fact::Signal(number), &[expected])],
        );
    }
    for number in [i32::MIN, -1, 0, MAX_SIGNAL + 1, i32::MAX] {
        play(&mut life(None), &[(ms(1), Fact::Signal(number), &[])]);
    }
}

#[test]
fn a_signal_is_the_reason_only_if_it_was_sent_before_the_end() {
    for (sent, status, reason) in [
        (15, died_of(15), ExitReason::Signal),
        (MAX_SIGNAL, died_of(MAX_SIGNAL), ExitReason::Signal),
        (2, died_of(15), ExitReason::Own),
        (15, ExitStatus::Code(143), ExitReason::Own),
    ] {
        let mut life = life(None);
        life.on_fact(ms(1), Fact::Signal(sent));
        life.on_fact(ms(2), exited(status, 0));
        let actions = life.on_fact(ms(3), OUTPUT_ENDED);
        assert_eq!(actions, [finish(status, reason)], "{sent}");
    }
    // One that comes in the drain still goes to what lives of the group, but ended nothing.
    play(
        &mut life(None),
        &[
            (ms(1), exited(died_of(15), 0), &[]),
            (ms(2), Fact::Signal(15), &[Action::SignalGroup(15)]),
            (ms(3), OUTPUT_ENDED, &[finish(died_of(15), ExitReason::Own)]),
        ],
    );
}
