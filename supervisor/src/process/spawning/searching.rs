//! The search for the program: where the kernel knows of it, at once, else by a child, which a folder of PATH may hold.

use std::{ffi::CString, io, sync::Arc, time::Instant};

use super::{
    super::{
        clone::Birth,
        error::StartError,
        leader::Leader,
        lookup::{self, How, Search, Seen},
        plan::Plan,
        spawn::Draft,
        stuck::{Stuck, Uses},
    },
    Advance, Spawning, Stage,
    launch::no_child,
};

/// A child looks for the program.
#[derive(Debug)]
pub(super) struct Searching {
    leader: Leader,
    birth: Birth<Search>,
    plan: Plan,
    path: Option<Vec<u8>>,
}

impl Searching {
    pub(super) fn kill(self) -> Stuck {
        Stuck::kill(self.leader, None, Uses::Search(self.birth))
    }
}

impl Spawning<'_> {
    /// Looks for the program where the kernel knows of it, else has a child do so.
    pub(super) fn search(&self, Draft { mut plan, path }: Draft) -> Result<Stage, StartError> {
        let name = &plan.argv[0];
        // A name with a slash is a path, whatever is there: that is for the kernel to say.
        if name.as_bytes().contains(&b'/') {
            plan.program = name.clone();
            if self.spawner.is_crowded() && !is_known(&plan) {
                return Err(crowded());
            }
            return self.launch(plan);
        }
        let as_self = plan.identity.is_none();
        let mut search = Search::new(name, path.as_deref(), &plan.directory, as_self);
        if search.look(How::Cached) {
            plan.program = search.outcome(name, path.as_deref())?;
            return self.launch(plan);
        }
        if self.spawner.is_crowded() {
            return Err(crowded());
        }
        let mut birth = None;
        let spawner = self.spawner;
        let leader = spawner.containment.guard(|| {
            let (leader, started) = spawner.cloner.start(search, None)?;
            birth = Some(started);
            Ok(leader)
        });
        let leader = leader.map_err(StartError::resources("make a process"))?;
        let birth = birth.ok_or_else(no_child)?;
        Ok(Stage::Searching(Searching {
            leader,
            birth,
            plan,
            path,
        }))
    }

    pub(super) fn found(&self, searching: Searching, until: Instant) -> Advance {
        if !searching.birth.wait(until) {
            return Ok((Stage::Searching(searching), false));
        }
        let Searching {
            leader,
            birth,
            mut plan,
            path,
        } = searching;
        let search = self.spawner.cloner.finish(birth);
        self.spawner.containment.bury(&Arc::new(leader));
        let search = search.ok_or_else(no_child)?;
        plan.program = search.outcome(&plan.argv[0], path.as_deref())?;
        Ok((self.launch(plan)?, true))
    }
}

/// Whether the kernel knows the program and the working directory without asking anybody.
fn is_known(plan: &Plan) -> bool {
    let mut file = plan.program.as_bytes().to_vec();
    if !file.starts_with(b"/") {
        file = [plan.directory.as_bytes(), b"/", &file].concat();
    }
    let file = CString::new(file).unwrap_or_default();
    [&file, &plan.directory]
        .into_iter()
        .all(|path| lookup::look(path, How::Cached, false) != Seen::Unknown)
}

fn crowded() -> StartError {
    let error = io::Error::other("the kernel holds too many that were killed");
    StartError::resources("find the program")(error)
}
