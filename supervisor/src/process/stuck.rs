//! Children on their way to a program that are wanted no more. They are killed, and taken leave of when the kernel lets go
//! of them; until then what they may still use is kept.

use std::sync::Arc;

use super::{
    child::Job,
    clone::Birth,
    examine::Examination,
    isolation::Granting,
    leader::Leader,
    lookup::Search,
    low_fds::Taken,
    place::Place,
    running::{Care, Process},
    signal,
    spawn::Spawner,
    stdio::ChildStdio,
};

/// A child that was killed before it was seen to execute.
#[derive(Debug)]
pub(super) struct Stuck {
    leader: Leader,
    place: Option<Place>,
    uses: Uses,
}

/// What of this process it may still use.
#[derive(Debug)]
pub(super) enum Uses {
    Search(Birth<Search>),
    Grants(Birth<Granting>),
    Examination(Birth<Box<Examination>>),
    Command {
        birth: Birth<Job>,
        low_fds: Option<Taken>,
        stdio: ChildStdio,
    },
    /// A child of the zygote.
    Nothing,
}

impl Stuck {
    /// Kills `leader`, which was made for `place`.
    pub(super) fn kill(leader: Leader, place: Option<Place>, uses: Uses) -> Self {
        // One that has died meanwhile needs no signal.
        let _ = signal::pidfd_send(leader.pidfd(), libc::SIGKILL);
        Self {
            leader,
            place,
            uses,
        }
    }

    /// Whether the kernel has let go of it.
    pub(super) fn is_over(&self) -> bool {
        let is_out = match &self.uses {
            Uses::Search(birth) => birth.is_over(),
            Uses::Grants(birth) => birth.is_over(),
            Uses::Examination(birth) => birth.is_over(),
            Uses::Command { birth, .. } => birth.is_over(),
            Uses::Nothing => true,
        };
        is_out && !matches!(self.leader.status(), Ok(None))
    }

    /// Reaps it. If it had executed its program before it was killed, that program's children are killed too.
    pub(super) fn bury(self, spawner: &Spawner) {
        let executed = match self.uses {
            Uses::Search(birth) => {
                spawner.cloner.finish(birth);
                false
            }
            Uses::Grants(birth) => {
                spawner.cloner.finish(birth);
                false
            }
            Uses::Examination(birth) => {
                // Closes what it had opened.
                spawner.cloner.finish(birth);
                false
            }
            Uses::Command {
                birth,
                low_fds,
                stdio,
            } => {
                let job = spawner.cloner.finish(birth);
                drop((low_fds, stdio));
                job.is_some_and(|job| job.outcome() == Some(Ok(())))
            }
            Uses::Nothing => true,
        };
        match self.place {
            Some(place) if executed => {
                let tree = place.into_tree(&self.leader);
                let care = Care::Kept(Arc::clone(&spawner.containment));
                drop(Process::new(self.leader, tree, None, care));
            }
            place => {
                spawner.containment.bury(&Arc::new(self.leader));
                if let Some(place) = place {
                    spawner.containment.abandon(place);
                }
            }
        }
    }
}
