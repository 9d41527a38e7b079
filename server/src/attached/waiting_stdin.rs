//! The memory that stdin takes which its command has not taken: bounded in all, with a small share for each execution that
//! no other can use up.

use std::sync::Arc;

use remex_supervisor::lifecycle::stdin::StdinChunk;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// What waits for all commands, in bytes, beyond each execution's own share.
pub const STDIN_BYTES: usize = 256 * 1024 * 1024;

/// What may always wait for one, so that its caller is heard whatever others have waiting.
pub const OWN_STDIN_BYTES: usize = 64 * 1024;

/// What all executions share. Clones are the same.
#[derive(Debug, Clone)]
pub struct StdinMemory(Arc<Semaphore>);

/// What one execution may take.
#[derive(Debug, Clone)]
pub struct StdinRoom {
    own: Arc<Semaphore>,
    all: StdinMemory,
}

/// What was taken.
#[derive(Debug, Default)]
pub struct StdinShare {
    own: Option<OwnedSemaphorePermit>,
    all: Option<OwnedSemaphorePermit>,
}

impl Default for StdinMemory {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(STDIN_BYTES)))
    }
}

impl StdinMemory {
    /// That of a new execution.
    pub fn room(&self) -> StdinRoom {
        StdinRoom {
            own: Arc::new(Semaphore::new(OWN_STDIN_BYTES)),
            all: self.clone(),
        }
    }
}

/// What `chunk` takes while it waits.
pub fn cost(chunk: &StdinChunk) -> u32 {
    // No request is as large as 4 GiB.
    u32::try_from(size_of::<StdinChunk>() + chunk.data.len()).unwrap_or(u32::MAX)
}

impl StdinRoom {
    /// Takes `bytes`, if they are there.
    pub fn try_take(&self, bytes: u32) -> Option<StdinShare> {
        let take = |level: &Arc<Semaphore>| Arc::clone(level).try_acquire_many_owned(bytes).ok();
        if let Some(own) = take(&self.own) {
            return Some(StdinShare {
                own: Some(own),
                all: None,
            });
        }
        take(&self.all.0).map(|all| StdinShare {
            own: None,
            all: Some(all),
        })
    }

    /// Takes `bytes` when they are there.
    pub async fn take(&self, bytes: u32) -> StdinShare {
        let take = |level: &Arc<Semaphore>| Arc::clone(level).acquire_many_owned(bytes);
        // Neither is ever closed.
        tokio::select! {
            Ok(own) = take(&self.own), if bytes as usize <= OWN_STDIN_BYTES => StdinShare {
                own: Some(own),
                all: None,
            },
            all = take(&self.all.0) => StdinShare {
                own: None,
                all: all.ok(),
            },
        }
    }
}

impl StdinShare {
    /// Adds `other`, of the same execution.
    pub fn absorb(&mut self, other: Self) {
        let merge = |held: &mut Option<OwnedSemaphorePermit>, more| match (held.as_mut(), more) {
            (Some(held), Some(more)) => held.merge(more),
            (None, more) => *held = more,
            (Some(_), None) => {}
        };
        merge(&mut self.own, other.own);
        merge(&mut self.all, other.all);
    }

    /// Gives back what is more than `bytes`, first what others may use, too.
    pub fn shrink_to(&mut self, bytes: usize) {
        let taken = [&self.all, &self.own].into_iter().flatten();
        let taken: usize = taken.map(OwnedSemaphorePermit::num_permits).sum();
        let mut excess = taken.saturating_sub(bytes);
        for held in [&mut self.all, &mut self.own].into_iter().flatten() {
            let given = excess.min(held.num_permits());
            drop(held.split(given));
            excess -= given;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const MIB: u32 = 1024 * 1024;
    const ALL: u32 = 256 * MIB;
    const OWN: u32 = 64 * 1024;

    fn free(memory: &StdinMemory) -> usize {
        memory.0.available_permits()
    }

    #[test]
    fn bounds_are_as_they_are_said_to_be() {
        assert_eq!((ALL as usize, OWN as usize), (STDIN_BYTES, OWN_STDIN_BYTES));
    }

    #[test]
    fn all_together_have_their_bound_and_each_its_own() {
        let memory = StdinMemory::default();
        let (one, two) = (memory.room(), memory.room());
        let mut held: Vec<_> = (0..ALL / MIB).map(|_| one.try_take(MIB).unwrap()).collect();
        assert!(two.try_take(MIB).is_none());
        let own = two.try_take(OWN).unwrap();
        assert!(two.try_take(1).is_none());
        assert!(two.take(1).now_or_never().is_none());
        drop(own);
        assert!(two.take(1).now_or_never().is_some());
        held.pop();
        assert!(two.take(MIB).now_or_never().is_some());
        drop(held);
        assert_eq!(free(&memory), STDIN_BYTES);
    }

    #[test]
    fn what_the_command_has_taken_is_given_back() {
        let memory = StdinMemory::default();
        let room = memory.room();
        let mut held = StdinShare::default();
        for _ in 0..3 {
            held.absorb(room.try_take(MIB).unwrap());
            held.absorb(room.try_take(OWN / 4).unwrap());
        }
        held.shrink_to(usize::MAX);
        assert_eq!(free(&memory), STDIN_BYTES - 3 * MIB as usize);
        held.shrink_to(MIB as usize);
        assert_eq!(free(&memory), STDIN_BYTES - (MIB - 3 * OWN / 4) as usize);
        held.shrink_to(0);
        assert_eq!(free(&memory), STDIN_BYTES);
        assert!(room.try_take(OWN).is_some());
    }
}
