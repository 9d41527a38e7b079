//! What every command needs, whoever makes its child, and what becomes of it when the child has executed its program or not.

use std::{ffi::CString, io, sync::Arc};

use super::{
    super::{
        child::{Failure, Step},
        error::StartError,
        leader::Leader,
        limits,
        lookup::{directory_error, exec_error},
        place::Place,
        plan::Plan,
        pty::Master,
        running::Process,
        stdio::{self, Stdio},
        table,
    },
    Advance, Spawning, Stage,
    switching::no_zygote,
};

/// The server's side of a command that is to be.
#[derive(Debug)]
pub(super) struct Ours {
    pub(super) place: Place,
    pub(super) stdio: Stdio,
    /// For signals to the foreground.
    pub(super) terminal: Option<Master>,
}

impl Spawning<'_> {
    /// Makes everything that the command needs, then the child. What is needed to supervise it is there before it is.
    pub(super) fn launch(&self, mut plan: Plan) -> Result<Stage, StartError> {
        let spawner = self.spawner;
        let switches = plan.identity.as_ref().map(|identity| identity.uid);
        if let (Some(text), Some(_), None) = (&self.spec.user, switches, &spawner.zygote) {
            return Err(no_zygote(text, "this program has no helper for that"));
        }
        let streams = match &self.spec.terminal {
            Some(terminal) => stdio::terminal(terminal, switches)
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
        if switches.is_some() {
            return self.ask(plan, ours, childs, 0);
        }
        self.execute(plan, ours, childs)
    }

    pub(super) fn started(&self, leader: Leader, ours: Ours) -> Stage {
        let tree = ours.place.into_tree(&leader);
        let containment = Arc::clone(&self.spawner.containment);
        let process = Process::new(leader, tree, ours.terminal, containment);
        Stage::Done(Box::new(Ok((process, ours.stdio))))
    }

    /// Takes leave of a child that has ended without executing anything.
    pub(super) fn buried(&self, leader: Leader, ours: Ours, error: StartError) -> Advance {
        self.spawner.containment.bury(&Arc::new(leader));
        self.spawner.containment.abandon(ours.place);
        Err(error)
    }

    /// What the failure of a step in the child means to the caller.
    pub(super) fn failure(&self, failure: Failure, plan: &Plan) -> StartError {
        let Failure { step, errno, seen } = failure;
        let source = || io::Error::from_raw_os_error(errno);
        let why = source().to_string();
        let resources = |step| StartError::resources(step)(source());
        match step {
            Step::Session => resources("make a session"),
            Step::Terminal => resources("take the terminal"),
            Step::Stdio => resources("place the streams"),
            Step::Limit(index) => StartError::LimitUnavailable {
                limit: plan.limits.get(index).map_or("limit", limits::name),
                why,
            },
            Step::Niceness => StartError::LimitUnavailable {
                limit: "niceness",
                why,
            },
            Step::Identity => no_zygote(self.spec.user.as_deref().unwrap_or_default(), &why),
            Step::WorkingDirectory => directory_error(&plan.directory, source()),
            Step::Exec => exec_error(&plan.program, seen, errno),
        }
    }
}

pub(super) fn no_child() -> StartError {
    let error = io::Error::other("it was killed before it could execute its program");
    StartError::resources("make a process")(error)
}
