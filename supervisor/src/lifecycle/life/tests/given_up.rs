//! A tree that does not end of its KILL, and a leader that cannot be followed.

use super::*;

#[test]
fn a_tree_that_survives_its_kill_is_reported_and_not_awaited() {
    given_up_after(KILL_BOUND, true);
}

#[test]
fn a_tree_that_can_be_killed_is_killed_again_for_long() {
    given_up_after(KILL_LIMIT, false);
}

fn given_up_after(bound: Duration, held: bool) {
    let mut life = life(None);
    play(
        &mut life,
        &[(ms(10), Fact::Signal(KILL), &[Action::KillTree])],
    );
    let give_up_at = ms(10) + bound;
    let (at, actions) = std::iter::repeat_with(|| {
        let (at, actions) = next_actions(&mut life);
        if actions.contains(&Action::LookAtTree) {
            life.on_fact(at, Fact::TreeLives { held });
        }
        (at, actions)
    })
    .take(10_000)
    .find(|(_, actions)| !actions.contains(&Action::KillTree))
    .unwrap();
    assert!(at >= give_up_at && at <= give_up_at + TREE_POLL, "{at:?}");
    let outcome = Outcome {
        unkillable: true,
        ..Outcome::LOST
    };
    assert_eq!(actions, [Action::CloseOutput, Action::Finish(outcome)]);
}

#[test]
fn a_leader_that_is_gone_with_an_unkillable_rest_has_its_status() {
    let mut life = life(Some(ms(10)));
    next_actions(&mut life);
    play(
        &mut life,
        &[
            (ms(11), exited(died_of(TERM), 0), &[Action::LookAtTree]),
            (ms(11), OUTPUT_ENDED, &[]),
        ],
    );
    let last = std::iter::repeat_with(|| next_actions(&mut life).1)
        .take(10_000)
        .find_map(|actions| actions.last().copied().filter(is_finish));
    let outcome = Outcome {
        status: Some(died_of(TERM)),
        reason: ExitReason::Ended(Cause::Timeout),
        unkillable: true,
        ..Outcome::LOST
    };
    assert_eq!(last, Some(Action::Finish(outcome)));
}

#[test]
fn a_tree_is_given_up_as_held_only_if_every_look_found_it_held() {
    let mut life = life(None);
    let killed = ms(1);
    play(
        &mut life,
        &[(killed, Fact::Signal(KILL), &[Action::KillTree])],
    );
    let held = Fact::TreeLives { held: true };
    play(&mut life, &[(ms(10), held, &[])]);
    // One look that finds it alive, and the time begins anew.
    play(
        &mut life,
        &[(ms(800), Fact::TreeLives { held: false }, &[])],
    );
    play(&mut life, &[(ms(810), held, &[])]);
    play(&mut life, &[(ms(1000), held, &[])]);
    let finish = |actions: &[Action]| actions.iter().any(is_finish);
    let actions = life.on_fact(killed + KILL_BOUND, Fact::Deadline);
    assert!(!finish(&actions), "{actions:?}");
    let actions = life.on_fact(ms(810) + KILL_BOUND, Fact::Deadline);
    assert!(finish(&actions), "{actions:?}");
}

#[test]
fn what_cannot_be_followed_is_killed_and_lost() {
    let mut life = Life::new(None, KILL_AFTER);
    let lost = Outcome {
        unkillable: true,
        ..Outcome::LOST
    };
    let end = [Action::KillTree, Action::CloseOutput, Action::Finish(lost)];
    play(&mut life, &[(ms(5), Fact::Lost, &end)]);
    assert_eq!(life.deadline(), None);
}
