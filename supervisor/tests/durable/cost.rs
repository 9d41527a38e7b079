//! What it costs to have a supervisor.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use remex_supervisor::durable::message::{Report, Request, Stage, VERSION};
use rustix::event::{PollFd, PollFlags, poll};

use crate::server::spawner;

/// So many are made, one after the other.
const ROUNDS: usize = 200;

/// Ten times what a fork of the zygote takes where the machine has nothing else to do; a program that is executed anew takes six
/// times as much.
const MOST: Duration = Duration::from_millis(3);

/// From the request to the supervisor's first word.
fn fork_one() -> Duration {
    let begin = Instant::now();
    let mut link = spawner().fork_supervisor().unwrap();
    link.send(&Request::Hello { newest: VERSION }).unwrap();
    let mut fds = [PollFd::from_borrowed_fd(link.as_fd(), PollFlags::IN)];
    poll(&mut fds, None).unwrap();
    let took = begin.elapsed();
    match link.receive().unwrap() {
        Some(Report::Welcome { stage, .. }) => assert_eq!(stage, Stage::Spare),
        report => panic!("{report:?}"),
    }
    took
}

#[test]
fn a_supervisor_is_there_soon() {
    // The zygote is started by the first.
    fork_one();
    let mut took: Vec<_> = (0..ROUNDS).map(|_| fork_one()).collect();
    took.sort_unstable();
    let (median, ninth) = (took[ROUNDS / 2], took[ROUNDS * 9 / 10]);
    println!("a supervisor: p50 {median:?}, p90 {ninth:?}");
    // What others do on this machine meanwhile makes some late, and not the best of them.
    assert!(took[ROUNDS / 10] < MOST, "p10 {:?}", took[ROUNDS / 10]);
}
