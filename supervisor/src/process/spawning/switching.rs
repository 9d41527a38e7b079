//! A command of another user: the zygote makes a child, which changes its user and executes it.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    time::Instant,
};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{
    super::{
        error::{self, StartError},
        leader::Leader,
        plan::Planned,
        spawn::Spawner,
        stdio::ChildStdio,
        stuck::{Stuck, Uses},
    },
    Advance, Spawning, Stage,
    launch::Ours,
};
use crate::zygote::{self, Answer};

/// How often a zygote that has died is started anew for one spawn.
const MAX_ZYGOTES: usize = 2;

/// The zygote makes a child.
#[derive(Debug)]
pub(super) struct Switching {
    channel: OwnedFd,
    leader: Option<Leader>,
    childs: ChildStdio,
    ours: Ours,
    planned: Planned,
    /// How many zygotes were asked.
    asked: usize,
}

impl Switching {
    /// `None`: there is no child to wait for. The zygote is killed with it, if it is what holds the spawn.
    pub(super) fn kill(self, spawner: &Spawner, is_held: bool) -> Option<Stuck> {
        let place = self.ours.place;
        if let Some(leader) = self.leader {
            return Some(Stuck::kill(leader, Some(place), Uses::Nothing));
        }
        // A child that it still makes is not told to go on.
        if let (Some(zygote), true) = (&spawner.zygote, is_held) {
            zygote.kill();
        }
        spawner.containment.abandon(place);
        None
    }
}

impl<'a> Spawning<'a> {
    /// Has the zygote make the child.
    pub(super) fn ask(
        &self,
        planned: Planned,
        ours: Ours,
        childs: ChildStdio,
        asked: usize,
    ) -> Result<Stage<'a>, StartError> {
        let ends = childs.ends(self.spawner.low_fds.null());
        let zygote = self.spawner.zygote.as_ref();
        let channel = zygote
            .ok_or_else(|| io::ErrorKind::NotFound.into())
            .and_then(|zygote| zygote.ask(&planned, ends, ours.place.cgroup()));
        match channel {
            Ok(channel) => Ok(Stage::Switching(Box::new(Switching {
                channel,
                leader: None,
                childs,
                ours,
                planned,
                asked: asked + 1,
            }))),
            Err(error) => {
                self.spawner.containment.abandon(ours.place);
                let text = self.spec.user.as_deref().unwrap_or_default();
                Err(error::no_switch(text, &error.to_string()))
            }
        }
    }

    pub(super) fn switched(&self, mut switching: Switching, until: Instant) -> Advance<'a> {
        loop {
            let Some(answer) = wait_answer(&switching.channel, until) else {
                return Ok((Stage::Switching(Box::new(switching)), false));
            };
            let containment = &self.spawner.containment;
            match (answer, switching.leader.take()) {
                (Answer::Born(cloned), None) => {
                    // It does nothing until it is known to be no orphan.
                    let leader = containment.guard(|| Ok(Leader::new(cloned, Instant::now())));
                    switching.leader = leader.ok();
                    if zygote::go_on(&switching.channel).is_err() {
                        // It has died, which the channel's end says.
                    }
                }
                (Answer::End, Some(leader)) => {
                    return Ok((self.started(leader, switching.ours), false));
                }
                (Answer::Failed(failure), Some(leader)) => {
                    let user = self.spec.user.as_deref();
                    let error = failure.meaning(&switching.planned.plan, user);
                    return self.buried(leader, switching.ours, error);
                }
                // The zygote has died. No child goes on that we have not told to.
                (Answer::End, None) if switching.asked < MAX_ZYGOTES => {
                    let Switching {
                        planned,
                        ours,
                        childs,
                        asked,
                        ..
                    } = switching;
                    return Ok((self.ask(planned, ours, childs, asked)?, true));
                }
                (Answer::NotBorn(error), None) => {
                    containment.abandon(switching.ours.place);
                    return Err(StartError::resources("make a process")(error));
                }
                (answer, leader) => {
                    tracing::warn!(?answer, "cannot make a child that changes its user");
                    let text = self.spec.user.as_deref().unwrap_or_default();
                    let error = error::no_switch(text, "the helper for that has died");
                    let Some(leader) = leader else {
                        containment.abandon(switching.ours.place);
                        return Err(error);
                    };
                    let stuck = Stuck::kill(leader, Some(switching.ours.place), Uses::Nothing);
                    self.spawner.put_to_rest(stuck);
                    return Err(error);
                }
            }
        }
    }
}

/// What the zygote or its child says by `until`.
fn wait_answer(channel: &OwnedFd, until: Instant) -> Option<Answer> {
    loop {
        if let Some(answer) = zygote::next_answer(channel) {
            return Some(answer);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return None;
        }
        let left = Timespec::try_from(left).ok();
        let mut fds = [PollFd::from_borrowed_fd(channel.as_fd(), PollFlags::IN)];
        // Interrupted or not, what there is to be read says.
        let _ = poll(&mut fds, left.as_ref());
    }
}
