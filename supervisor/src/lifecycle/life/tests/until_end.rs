//! Commands whose output is drained to its end, however long that takes.

use super::*;

#[test]
fn what_is_drained_to_its_end_is_ended_as_what_runs() {
    let mut life = without_stderr(Life::new(Some(ms(500)), KILL_AFTER).until_end(true));
    play(
        &mut life,
        &[
            (ms(1), exited(ExitStatus::Code(3), 0), &[]),
            (ms(2), output(1), &[]),
        ],
    );
    assert_eq!(life.readable(0), usize::MAX);
    let term = vec![Action::SignalTree(TERM), Action::SignalTree(CONT)];
    assert_eq!(next_actions(&mut life), (ms(500), term));
    let (_, look) = next_actions(&mut life);
    assert_eq!(look, [Action::LookAtTree]);
    let reason = ExitReason::Ended(Cause::Timeout);
    let unread = [7, 0];
    play(
        &mut life,
        &[
            (ms(510), Fact::TreeGone { unread }, &[]),
            (ms(511), output(7), &[]),
            (
                ms(512),
                OUTPUT_ENDED,
                &[finish(ExitStatus::Code(3), reason)],
            ),
        ],
    );
}

/// Whatever ends one that is drained to its end ends its tree, and the leader's code stays.
#[test]
fn an_end_during_a_drain_to_the_end_ends_the_tree() {
    for cause in [Cause::Timeout, Cause::Disconnect, Cause::Shutdown] {
        let mut life = life((cause == Cause::Timeout).then(|| ms(5000))).until_end(true);
        let (at, end) = match cause {
            Cause::Timeout => (ms(5000), Fact::Deadline),
            _ => (ms(5000), Fact::End(cause)),
        };
        play(
            &mut life,
            &[
                (ms(10), exited(SUCCESS, 0), &[]),
                // No silence is long enough.
                (ms(4000), Fact::Deadline, &[]),
                (
                    at,
                    end,
                    &[Action::SignalTree(TERM), Action::SignalTree(CONT)],
                ),
                (at, Fact::Deadline, &[Action::LookAtTree]),
                (at, Fact::TreeLives { held: false }, &[]),
                (at + KILL_AFTER, Fact::Deadline, &[Action::KillTree]),
                // What it wrote last is still read.
                (at + KILL_AFTER + ms(1), TREE_GONE, &[]),
                (
                    at + KILL_AFTER + ms(2),
                    OUTPUT_ENDED,
                    &[finish(SUCCESS, ExitReason::Ended(cause))],
                ),
            ],
        );
    }
}

/// One that left the tree holds the output up no longer than any other drain.
#[test]
fn what_escaped_the_end_of_a_drain_to_the_end_is_not_waited_for() {
    let mut life = life(None).until_end(true);
    let cause = Cause::Disconnect;
    play(
        &mut life,
        &[
            (ms(10), exited(SUCCESS, 0), &[]),
            (
                ms(3000),
                Fact::End(cause),
                &[Action::SignalTree(TERM), Action::SignalTree(CONT)],
            ),
            (ms(3001), TREE_GONE, &[]),
            (
                ms(3001) + DRAIN_QUIET,
                Fact::Deadline,
                &[
                    Action::CloseOutput,
                    finish(SUCCESS, ExitReason::Ended(cause)),
                ],
            ),
        ],
    );
}
