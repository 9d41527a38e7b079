//! What it costs to have a supervisor.

use std::{
    os::fd::AsFd,
    time::{Duration, Instant},
};

use remex_supervisor::{
    durable::message::{LinkRequest, Report, Stage, VERSION},
    process::{CommandSpec, StdinSpec},
};
use rustix::event::{PollFd, PollFlags, poll};

use crate::{
    commands::command,
    server::{Spare, order, spawner},
};

/// So many are made, one after the other.
const ROUNDS: usize = 200;

/// Ten times what a fork of the zygote takes where the machine has nothing else to do; a program that is executed anew takes six
/// times as much.
const MOST: Duration = Duration::from_millis(3);

/// A command's supervisor makes it cost no more than so many times as much without, here where nothing else is asked for and
/// nothing is optimised.
const MOST_OVER_ATTACHED: f64 = 5.0;

/// From the request to the supervisor's first word.
fn fork_one() -> Duration {
    let begin = Instant::now();
    let mut link = spawner().fork_supervisor().unwrap();
    link.send(&LinkRequest::Hello { newest: VERSION }).unwrap();
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

/// From the request to the end of a command that ends with the server.
fn run_attached(spec: &CommandSpec) -> Duration {
    let begin = Instant::now();
    let started = spawner().start("attached", spec, StdinSpec::Null).wait();
    let (process, _stdio) = started.unwrap();
    let pidfd = process.pidfd();
    let mut fds = [PollFd::from_borrowed_fd(pidfd.as_fd(), PollFlags::IN)];
    poll(&mut fds, None).unwrap();
    let took = begin.elapsed();
    process.leave();
    took
}

/// The same, of one that has a prepared supervisor, up to the report of its end.
fn run_durably(spec: &CommandSpec) -> Duration {
    let Spare { mut server, place } = Spare::new();
    let begin = Instant::now();
    server.link.start(&order(spec), &place).unwrap();
    while !matches!(server.report(), Some(Report::Ended { .. })) {}
    begin.elapsed()
}

#[test]
fn a_durable_start_costs_little_more() {
    let spec = command([b"/bin/true".to_vec()]).spec();
    let (mut attached, mut durable) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        attached.push(run_attached(&spec));
        durable.push(run_durably(&spec));
    }
    attached.sort_unstable();
    durable.sort_unstable();
    let ratio = durable[ROUNDS / 2].as_secs_f64() / attached[ROUNDS / 2].as_secs_f64();
    println!(
        "p50 of /bin/true: attached {:?}, durable {:?}: {ratio:.2}",
        attached[ROUNDS / 2],
        durable[ROUNDS / 2]
    );
    assert!(ratio < MOST_OVER_ATTACHED, "{ratio}");
}
