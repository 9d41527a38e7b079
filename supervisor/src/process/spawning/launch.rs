//! What every command needs, whoever makes its child, and what becomes of it when the child has executed its program or not.

use std::{ffi::CString, sync::Arc};

use super::{
    super::{
        error::{self, StartError},
        leader::Leader,
        place::Place,
        plan::Planned,
        pty::Master,
        running::{Care, Process},
        stdio::{self, ChildStdio, Stdio},
        table,
    },
    Advance, Spawning, Stage,
};

/// The server's side of a command that is to be.
#[derive(Debug)]
pub(super) struct Ours {
    pub(super) place: Place,
    pub(super) stdio: Stdio,
    /// For signals to the foreground.
    pub(super) terminal: Option<Master>,
}

/// Everything that a command needs but the child.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) planned: Planned,
    pub(super) ours: Ours,
    pub(super) childs: ChildStdio,
}

impl Ready {
    /// Whether another process makes the child, which nothing holds back then.
    pub(super) fn switches(&self) -> bool {
        self.planned.plan.identity.is_some()
    }
}

impl<'a> Spawning<'a> {
    /// Makes everything that the command needs. What is needed to supervise it is there before the child is.
    pub(super) fn make_ready(&self, mut planned: Planned) -> Result<Stage<'a>, StartError> {
        let spawner = self.spawner;
        let plan = &mut planned.plan;
        let switches = plan.identity.as_ref().map(|identity| identity.uid);
        if let (Some(text), Some(_), None) = (&self.spec.user, switches, &spawner.zygote) {
            return Err(error::no_switch(
                text,
                "this program has no helper for that",
            ));
        }
        let streams = match &self.spec.terminal {
            Some(terminal) => stdio::terminal(terminal.size, switches)
                .map(|(ours, childs, master)| (ours, childs, Some(master))),
            None => stdio::pipes(self.stdin).map(|(ours, childs)| (ours, childs, None)),
        };
        let make = StartError::resources("make the command's streams");
        let (stdio, childs, terminal) = streams.map_err(make)?;
        let place = spawner.containment.place(self.id, self.spec.limits.tree)?;
        if let Place::Sweep(tag) = &place {
            let tag = [table::TAG.as_bytes(), b"=", tag.as_bytes()].concat();
            plan.environment.extend(CString::new(tag));
        }
        let ours = Ours {
            place,
            stdio,
            terminal,
        };
        Ok(Stage::Ready(Box::new(Ready {
            planned,
            ours,
            childs,
        })))
    }

    /// Makes the child.
    pub(super) fn launch(&self, ready: Ready) -> Advance<'a> {
        let switches = ready.switches();
        let Ready {
            planned,
            ours,
            childs,
        } = ready;
        let launched = if switches {
            self.ask(planned, ours, childs, 0)
        } else {
            self.execute(planned, ours, childs)
        };
        Ok((launched?, true))
    }

    pub(super) fn started(&self, leader: Leader, ours: Ours) -> Stage<'a> {
        let tree = ours.place.into_tree(&leader);
        let care = Care::Kept(Arc::clone(&self.spawner.containment));
        let process = Process::new(leader, tree, ours.terminal, care);
        Stage::Done(Box::new(Ok((process, ours.stdio))))
    }

    /// Takes leave of a child that has ended without executing anything.
    pub(super) fn buried(&self, leader: Leader, ours: Ours, error: StartError) -> Advance<'a> {
        self.spawner.containment.bury(&Arc::new(leader));
        self.spawner.containment.abandon(ours.place);
        Err(error)
    }
}
