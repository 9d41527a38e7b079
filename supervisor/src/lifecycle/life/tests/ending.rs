//! A tree that is ended: by the server or by a KILL, until it is gone.

use super::*;

#[test]
fn a_timeout_is_term_and_then_kill_until_the_tree_is_gone() {
    let mut life = life(Some(ms(100)));
    let reason = ExitReason::Ended(Cause::Timeout);
    let begin = vec![Action::SignalTree(TERM), Action::SignalTree(CONT)];
    assert_eq!(next_actions(&mut life), (ms(100), begin));
    let kill_at = ms(100) + KILL_AFTER;
    assert_eq!(next_actions(&mut life), (kill_at, vec![Action::KillTree]));
    let again = vec![Action::KillTree, Action::LookAtTree];
    assert_eq!(next_actions(&mut life), (kill_at + TREE_POLL, again));
    let at = kill_at + ms(10);
    play(
        &mut life,
        &[
            // A tree is not gone as long as its leader is not.
            (at, TREE_GONE, &[]),
            (at, exited(died_of(KILL), 0), &[Action::LookAtTree]),
            (at, OUTPUT_ENDED, &[]),
            (at, TREE_GONE, &[finish(died_of(KILL), reason)]),
        ],
    );
}

#[test]
fn a_leader_that_ends_on_term_leaves_the_rest_its_time() {
    let mut life = life(Some(ms(100)));
    next_actions(&mut life);
    play(
        &mut life,
        &[
            (
                ms(110),
                exited(ExitStatus::Code(3), 0),
                &[Action::LookAtTree],
            ),
            (ms(110), OUTPUT_ENDED, &[]),
        ],
    );
    // The tree is looked at, and killed when its time is up.
    assert_eq!(
        next_actions(&mut life),
        (ms(110) + TREE_POLL, vec![Action::LookAtTree])
    );
    let (at, actions) = std::iter::repeat_with(|| next_actions(&mut life))
        .take(1000)
        .find(|(_, actions)| actions.contains(&Action::KillTree))
        .unwrap();
    assert!(at >= ms(100) + KILL_AFTER, "{at:?}: {actions:?}");
    let end = [finish(
        ExitStatus::Code(3),
        ExitReason::Ended(Cause::Timeout),
    )];
    play(&mut life, &[(at, TREE_GONE, &end)]);
}

#[test]
fn a_callers_kill_is_at_once_and_on_the_whole_tree() {
    let mut life = life(Some(ms(100)));
    play(
        &mut life,
        &[
            (ms(5), Fact::Signal(KILL), &[Action::KillTree]),
            // Only once: the tree is killed until it is gone anyway.
            (ms(6), Fact::Signal(KILL), &[]),
            (ms(7), Fact::End(Cause::Disconnect), &[]),
            (ms(8), exited(died_of(KILL), 0), &[Action::LookAtTree]),
            (ms(8), TREE_GONE, &[]),
            (
                ms(9),
                OUTPUT_ENDED,
                &[finish(died_of(KILL), ExitReason::Signal)],
            ),
        ],
    );
}

#[test]
fn a_callers_kill_ends_the_patience_of_a_timeout() {
    let mut life = life(Some(ms(100)));
    next_actions(&mut life);
    play(
        &mut life,
        &[(ms(150), Fact::Signal(KILL), &[Action::KillTree])],
    );
    assert_eq!(life.deadline(), Some(ms(150) + TREE_POLL));
    play(
        &mut life,
        &[
            (ms(151), exited(died_of(KILL), 0), &[Action::LookAtTree]),
            (ms(151), OUTPUT_ENDED, &[]),
            // remexd had begun to end it, so that is why.
            (
                ms(151),
                TREE_GONE,
                &[finish(died_of(KILL), ExitReason::Ended(Cause::Timeout))],
            ),
        ],
    );
}

#[test]
fn a_tree_is_looked_at_again_a_poll_after_its_leaders_end() {
    let mut life = life(None);
    life.on_fact(ms(1), Fact::End(Cause::Shutdown));
    // Before that, nothing but the KILL is waited for.
    life.on_fact(ms(2), Fact::TreeLives { held: false });
    assert_eq!(life.deadline(), Some(ms(1) + KILL_AFTER));
    let early = exited(SUCCESS, 0);
    play(&mut life, &[(ms(10), early, &[Action::LookAtTree])]);
    assert_eq!(life.deadline(), Some(ms(10) + TREE_POLL));
    play(&mut life, &[(ms(14), Fact::Deadline, &[])]);
    let look = [Action::LookAtTree];
    play(&mut life, &[(ms(15), Fact::Deadline, &look)]);
    assert_eq!(life.deadline(), Some(ms(15) + TREE_POLL));
}

/// A deadline that comes early, as a timer's may, brings nothing.
#[test]
fn a_tree_is_killed_again_a_poll_after_the_last_time() {
    let mut life = life(None);
    let again = [Action::KillTree, Action::LookAtTree];
    play(
        &mut life,
        &[
            (ms(1), Fact::Signal(KILL), &[Action::KillTree]),
            (ms(5), Fact::Deadline, &[]),
            (ms(6), Fact::Deadline, &again),
            (ms(10), Fact::Deadline, &[]),
            (ms(11), Fact::Deadline, &again),
        ],
    );
}

#[test]
fn a_look_that_takes_long_does_not_bring_the_next_one_nearer() {
    let mut life = life(None);
    life.on_fact(ms(1), Fact::Signal(KILL));
    let (now, actions) = next_actions(&mut life);
    assert!(actions.contains(&Action::LookAtTree));
    life.on_fact(now + ms(300), Fact::TreeLives { held: false });
    assert_eq!(life.deadline(), Some(now + ms(300) + TREE_POLL));
}

#[test]
fn what_goes_first_decides_why() {
    for (first, second, reason) in [
        (Cause::Disconnect, Cause::Shutdown, Cause::Disconnect),
        (Cause::Shutdown, Cause::Disconnect, Cause::Shutdown),
    ] {
        let mut life = life(Some(ms(100)));
        let begin = [Action::SignalTree(TERM), Action::SignalTree(CONT)];
        play(
            &mut life,
            &[
                (ms(1), Fact::End(first), &begin),
                (ms(2), Fact::End(second), &[]),
                (ms(3), OUTPUT_ENDED, &[]),
                // Whatever code it exits with.
                (ms(4), exited(SUCCESS, 0), &[Action::LookAtTree]),
                (
                    ms(4),
                    TREE_GONE,
                    &[finish(SUCCESS, ExitReason::Ended(reason))],
                ),
            ],
        );
    }
}

/// Output is then sent as it comes. It is being ended by all of that but its leader's own end.
#[test]
fn it_is_ending_from_the_leaders_end_or_the_servers_on() {
    let (runs_on, ended_itself, being_ended) = ((false, false), (true, false), (true, true));
    for (fact, expected) in [
        (output(1), runs_on),
        (OUTPUT_ENDED, runs_on),
        (Fact::Blocked, runs_on),
        (Fact::Signal(TERM), runs_on),
        (Fact::Signal(0), runs_on),
        (TREE_GONE, runs_on),
        (Fact::TreeLives { held: true }, runs_on),
        (Fact::Deadline, runs_on),
        (Fact::Signal(KILL), being_ended),
        (Fact::End(Cause::Disconnect), being_ended),
        (exited(SUCCESS, 1), ended_itself),
        (Fact::Lost, being_ended),
    ] {
        let mut life = life(None);
        let is = |life: &Life| (life.is_ending(), life.is_being_ended());
        assert_eq!(is(&life), runs_on);
        life.on_fact(ms(1), fact);
        assert_eq!(is(&life), expected, "{fact:?}");
    }
}
