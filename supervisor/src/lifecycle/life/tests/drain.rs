//! The drain: what follows when the leader has ended by itself.

use super::*;

#[test]
fn a_command_that_ends_by_itself_ends_with_its_output() {
    play(
        &mut life(None),
        &[
            (ms(1), output(9), &[]),
            (ms(2), exited(ExitStatus::Code(7), 4), &[]),
            (ms(3), output(4), &[]),
            (
                ms(4),
                OUTPUT_ENDED,
                &[finish(ExitStatus::Code(7), ExitReason::Own)],
            ),
            (ms(5), Fact::Signal(TERM), &[]),
        ],
    );
    // The output may end first.
    play(
        &mut life(None),
        &[
            (ms(1), OUTPUT_ENDED, &[]),
            (
                ms(2),
                exited(SUCCESS, 0),
                &[finish(SUCCESS, ExitReason::Own)],
            ),
        ],
    );
}

/// A second end of the leader, as a host might tell it, is none.
#[test]
fn the_leader_ends_once() {
    let mut life = life(None);
    life.on_fact(ms(1), exited(ExitStatus::Code(1), 1));
    life.on_fact(ms(2), exited(ExitStatus::Code(2), 0));
    let end = [finish(ExitStatus::Code(1), ExitReason::Own)];
    play(&mut life, &[(ms(3), OUTPUT_ENDED, &end)]);
}

#[test]
fn silent_others_that_hold_the_output_are_waited_for_as_long_as_the_quiet_bound() {
    let mut life = life(None);
    play(&mut life, &[(ms(10), exited(SUCCESS, 0), &[])]);
    assert_eq!(life.deadline(), Some(ms(10) + DRAIN_QUIET));
    // Each read starts that time anew.
    play(&mut life, &[(ms(60), output(1), &[])]);
    let end = close_and_finish(SUCCESS, ExitReason::Own);
    assert_eq!(
        next_actions(&mut life),
        (ms(60) + DRAIN_QUIET, end.to_vec())
    );
    assert_eq!(life.deadline(), None);
}

#[test]
fn others_that_keep_writing_are_cut_off_at_the_bound() {
    let mut life = life(None);
    let end = ms(10) + DRAIN_BOUND;
    play(&mut life, &[(ms(10), exited(SUCCESS, 0), &[])]);
    let mut now = ms(10);
    while now + ms(50) < end {
        now += ms(50);
        play(&mut life, &[(now, output(1), &[])]);
    }
    let (at, actions) = next_actions(&mut life);
    assert_eq!(at, end);
    assert_eq!(actions[0], Action::CloseOutput);
}

#[test]
fn a_flood_on_one_stream_neither_delays_the_other_nor_lasts() {
    let mut life = Life::new(None, KILL_AFTER);
    let unread = [5, 4];
    let status = SUCCESS;
    play(&mut life, &[(ms(1), Fact::Exited { status, unread }, &[])]);
    let flood = DRAIN_BYTES + 5;
    assert_eq!(life.readable(0), flood);
    play(&mut life, &[(ms(2), output(flood), &[])]);
    assert_eq!(life.readable(0), 0);
    // stderr is still owed, however long it takes.
    assert_eq!(life.deadline(), None);
    let stderr = |bytes| Fact::Output { stream: 1, bytes };
    play(&mut life, &[(ms(9000), stderr(3), &[])]);
    assert_eq!(life.deadline(), None);
    play(
        &mut life,
        &[(
            ms(9001),
            stderr(1),
            &close_and_finish(SUCCESS, ExitReason::Own),
        )],
    );
}

#[test]
fn what_others_write_is_read_up_to_its_bound_and_no_longer() {
    let mut bounded = life(None);
    let end = close_and_finish(SUCCESS, ExitReason::Own);
    play(
        &mut bounded,
        &[
            (ms(1), exited(SUCCESS, 5), &[]),
            (ms(2), output(5 + DRAIN_BYTES - 1), &[]),
            (ms(3), output(1), &end),
        ],
    );
    let mut to_its_end = life(None).until_end(true);
    play(
        &mut to_its_end,
        &[
            (ms(1), exited(SUCCESS, 5), &[]),
            (ms(2), output(5 + DRAIN_BYTES), &[]),
            (ms(9000), Fact::Deadline, &[]),
            (ms(9001), OUTPUT_ENDED, &end[1..]),
        ],
    );
}

#[test]
fn a_reader_that_holds_the_output_up_stops_the_clock() {
    let mut life = life(None);
    play(
        &mut life,
        &[
            (ms(10), exited(SUCCESS, 0), &[]),
            (ms(50), Fact::Blocked, &[]),
        ],
    );
    assert_eq!(life.deadline(), None, "the clock runs while nobody reads");
    let hours = Duration::from_hours(5);
    play(
        &mut life,
        &[(hours, Fact::Unblocked, &[]), (hours, Fact::Blocked, &[])],
    );
    assert_eq!(life.deadline(), None);
    play(&mut life, &[(2 * hours, Fact::Unblocked, &[])]);
    assert_eq!(life.deadline(), Some(2 * hours + DRAIN_QUIET));
    // What has run of it before counts: 40 ms are gone.
    let mut now = 2 * hours;
    while now + ms(100) < 2 * hours + DRAIN_BOUND {
        now += ms(50);
        play(&mut life, &[(now, output(1), &[])]);
    }
    let left = DRAIN_BOUND.saturating_sub(ms(40));
    assert_eq!(life.deadline(), Some(2 * hours + left));
}

#[test]
fn a_leader_that_ends_while_the_reader_holds_up_starts_no_clock() {
    let mut life = life(None);
    play(
        &mut life,
        &[
            (ms(1), Fact::Blocked, &[]),
            (ms(2), exited(SUCCESS, 0), &[]),
        ],
    );
    assert_eq!(life.deadline(), None);
    play(&mut life, &[(ms(9000), Fact::Unblocked, &[])]);
    assert_eq!(life.deadline(), Some(ms(9000) + DRAIN_QUIET));
}

#[test]
fn what_was_written_before_the_end_is_owed_whatever_the_clock_says() {
    let mut life = life(None);
    play(
        &mut life,
        &[
            (ms(1), exited(SUCCESS, 10), &[]),
            (ms(5000), output(9), &[]),
            (ms(9000), Fact::Deadline, &[]),
        ],
    );
    assert_eq!(life.deadline(), None);
    let end = close_and_finish(SUCCESS, ExitReason::Own);
    play(
        &mut life,
        // The last byte comes long after the bound.
        &[(ms(9001), output(1), &end)],
    );
}

#[test]
fn a_timeout_after_the_leaders_end_changes_nothing() {
    let mut life = life(Some(ms(100)));
    play(
        &mut life,
        &[
            (ms(90), exited(SUCCESS, 5), &[]),
            (ms(100), Fact::Deadline, &[]),
            (ms(120), output(5), &[]),
        ],
    );
    let (_, actions) = next_actions(&mut life);
    assert_eq!(actions, close_and_finish(SUCCESS, ExitReason::Own));
}

#[test]
fn a_caller_who_leaves_during_the_drain_ends_it_and_kills_nothing() {
    let end = close_and_finish(SUCCESS, ExitReason::Own);
    play(
        &mut life(None),
        &[
            (ms(1), exited(SUCCESS, 100), &[]),
            (ms(2), Fact::End(Cause::Disconnect), &end),
        ],
    );
    // Also if the reader held it up.
    play(
        &mut life(None),
        &[
            (ms(1), Fact::Blocked, &[]),
            (ms(2), exited(SUCCESS, 100), &[]),
            (ms(3), Fact::Unblocked, &[]),
            (ms(3), Fact::End(Cause::Disconnect), &end),
        ],
    );
}

#[test]
fn a_shutdown_waits_for_what_is_owed_and_then_says_that_it_cut_it() {
    let drained = |life: &mut Life| {
        play(
            life,
            &[
                (ms(1), exited(SUCCESS, 9), &[]),
                (ms(2), Fact::Blocked, &[]),
                (ms(3), Fact::End(Cause::Shutdown), &[]),
                (ms(4), output(8), &[]),
            ],
        );
        assert_eq!(life.deadline(), Some(ms(3) + SHUTDOWN_PATIENCE));
    };
    let mut life_of_a_reader = life(None);
    drained(&mut life_of_a_reader);
    let end = close_and_finish(SUCCESS, ExitReason::Own);
    play(&mut life_of_a_reader, &[(ms(1000), output(1), &end)]);

    let mut life_without_one = life(None);
    drained(&mut life_without_one);
    let cut = Outcome {
        status: Some(SUCCESS),
        reason: ExitReason::Own,
        output_cut: true,
        ..Outcome::LOST
    };
    let end = vec![Action::CloseOutput, Action::Finish(cut)];
    assert_eq!(
        next_actions(&mut life_without_one),
        (ms(3) + SHUTDOWN_PATIENCE, end)
    );
}

/// Until its tree is gone, no time of the cut is waited for.
#[test]
fn a_kill_behind_a_shutdown_that_waits_for_its_reader_does_not_spin() {
    let mut life = life(None);
    play(
        &mut life,
        &[
            (ms(1), exited(SUCCESS, 9), &[]),
            (ms(2), Fact::End(Cause::Shutdown), &[]),
            (ms(3), Fact::Signal(KILL), &[Action::KillTree]),
        ],
    );
    let late = ms(3) + SHUTDOWN_PATIENCE;
    life.on_fact(late, Fact::Deadline);
    assert!(life.deadline().is_some_and(|deadline| deadline > late));
}
