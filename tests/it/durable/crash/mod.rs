//! Many durable executions, while servers, connections, clients and supervisors are killed: not a byte is lost, nothing runs
//! twice, no outcome is made up. `model` says what each caller may be told.
//!
//! The long form: `REMEX_LONG=1 cargo test -p remex --test it -- durable::crash`. Each test says its seed, which `REMEX_SEED`
//! repeats: the same commands, callers and deaths in the same order.

mod caller;
mod field;
mod job;
mod leaver;
mod model;
mod model_tests;

use std::time::Duration;

use tokio::{task::JoinSet, time::sleep};

use self::{
    caller::Watched,
    field::{Calls, Fall, Field, POINTS},
    job::{Job, Kind},
};
use crate::{
    harness::{Daemon, Home, Marker, relay::Relay},
    supervision::support::{Random, count},
};

/// Commands of all of `kinds`, in any order.
fn jobs(home: &Home, kinds: &[Kind], marker: &str, count: usize, random: &mut Random) -> Vec<Job> {
    let kinds = (0..count).map(|number| kinds[number % kinds.len()]);
    let mut jobs: Vec<_> = kinds
        .enumerate()
        .map(|(number, kind)| Job::new(home, kind, number, marker, random))
        .collect();
    shuffle(&mut jobs, random);
    jobs
}

fn shuffle<T>(items: &mut [T], random: &mut Random) {
    for index in (1..items.len()).rev() {
        items.swap(index, random.below(index + 1));
    }
}

/// Each point once, and as many moments.
fn falls(moments: usize, random: &mut Random) -> Vec<Fall> {
    let mut falls: Vec<_> = POINTS.map(Fall::At).into();
    for moment in 0..moments {
        let millis = random.below(250);
        falls.push(if moment % 3 == 0 {
            Fall::Twice(millis, random.below(200))
        } else {
            Fall::After(millis)
        });
    }
    shuffle(&mut falls, random);
    falls
}

#[tokio::test]
async fn nothing_is_lost_or_runs_twice_when_remexd_is_killed_anywhere() {
    let mut random = Random::new();
    for _ in 0..count(1, 50) {
        let mut field = Field::new().await;
        let falls = falls(count(4, 12), &mut random);
        let jobs = jobs(field.home(), &Kind::ENDING, "", count(48, 200), &mut random);
        let each = jobs.len() / falls.len();
        let calls = Calls::prepare(jobs, field.address(), &mut random);
        for fall in falls {
            calls.release(each);
            field.fall(fall).await;
        }
        field.close(calls.end().await).await;
    }
}

#[tokio::test]
async fn nothing_is_lost_or_runs_twice_when_the_network_is_cut() {
    let mut random = Random::new();
    for _ in 0..count(1, 50) {
        let daemon = Daemon::start(&[]).await;
        let relay = Relay::to(daemon.socket("grpc")).await;
        let address = format!("http://{}", relay.address());
        let jobs = jobs(
            daemon.home(),
            &Kind::ENDING,
            "",
            count(40, 200),
            &mut random,
        );
        let cuts = count(10, 40);
        let each = jobs.len() / cuts;
        let calls = Calls::prepare(jobs, &address, &mut random);
        for _ in 0..cuts {
            calls.release(each);
            sleep(Duration::from_millis(random.below(200) as u64)).await;
            relay.cut();
        }
        let all = calls.end().await;
        Field::of(daemon).close(all).await;
    }
}

#[tokio::test]
async fn nothing_is_lost_or_runs_twice_when_clients_are_killed() {
    const KINDS: [Kind; 4] = [Kind::Text, Kind::Binary, Kind::Long, Kind::Fed];
    let mut random = Random::new();
    for _ in 0..count(1, 50) {
        let field = Field::new().await;
        let jobs = jobs(field.home(), &KINDS, "", count(16, 200), &mut random);
        let mut leaving = JoinSet::new();
        // As many connections at once as there are commands are not what is tried here.
        let ways = field::ways(field.address());
        for (number, job) in jobs.into_iter().enumerate() {
            let way = ways[number % ways.len()].clone();
            let mut random = random.fork();
            let mut watched = Watched::new(job);
            leaving.spawn(async move {
                if number % 2 == 0 {
                    watched.type_and_kill(&way, &mut random).await;
                } else {
                    watched.come_and_go(&way, &mut random).await;
                }
                watched
            });
        }
        field.close(leaving.join_all().await).await;
    }
}

/// With remexd killed now and then, too.
#[tokio::test]
async fn an_end_is_unknown_and_nothing_lives_on_when_supervisors_are_killed_anywhere() {
    let mut random = Random::new();
    for _ in 0..count(1, 50) {
        let mut field = Field::new().await;
        let marker = Marker::new();
        let text = marker.to_string();
        let jobs = jobs(
            field.home(),
            &[Kind::Endless],
            &text,
            count(24, 200),
            &mut random,
        );
        let mut calls = Calls::prepare(jobs, field.address(), &mut random);
        let mut ended = Vec::new();
        while !calls.are_over() {
            // Of a start's points, those that a supervisor comes to by itself.
            let point = POINTS[5 + random.below(5)];
            for folder in field.folders() {
                match random.below(4) {
                    0 => field.kill_supervisor(&folder),
                    1 => field.arm_supervisor(&folder, point),
                    _ => {}
                }
            }
            calls.release(3);
            if random.below(6) == 0 {
                field.fall(Fall::After(random.below(50))).await;
            } else {
                sleep(Duration::from_millis(random.below(50) as u64)).await;
            }
            ended.extend(calls.ended());
        }
        marker.is_gone().await;
        field.close(ended).await;
    }
}
