//! What a command is resolved to, once the policy has given its leave.

use std::{io, time::Instant};

use remex_supervisor::process::{
    CommandSpec, Examined, ResolveProgress, Resolved, Spawner, StartError,
};
use tokio::time::sleep_until;
use tokio_util::sync::CancellationToken;

use super::StartRefused;
use crate::policy::gate::Permit;

/// A command that may start.
#[derive(Debug)]
pub(crate) struct Permitted {
    /// What it is resolved to.
    pub(crate) resolved: Resolved,
    /// The rule that allows it.
    pub(crate) rule: String,
}

/// What `spec` is resolved to, if `permit` gives leave for it before `ending`; `spec` then has what that forces. Nobody is told
/// of users, programs and folders to whom no rule would allow them.
pub(crate) async fn permitted(
    spawner: &Spawner,
    ending: &CancellationToken,
    permit: &Permit,
    spec: &mut CommandSpec,
) -> Result<Permitted, StartRefused> {
    permit.before(spec)?;
    let mut resolved = resolve(spawner, ending, permit, spec).await?;
    let ruled = permit.ruled(spec, examined(&resolved)?)?;
    if ruled.spec != *spec {
        spec.clone_from(&ruled.spec);
        resolved = resolve(spawner, ending, permit, spec).await?;
    }
    permit.last(&ruled, examined(&resolved)?).await?;
    Ok(Permitted {
        resolved,
        rule: ruled.rule,
    })
}

async fn resolve(
    spawner: &Spawner,
    ending: &CancellationToken,
    permit: &Permit,
    spec: &CommandSpec,
) -> Result<Resolved, StartRefused> {
    let mut resolving = spawner.examine(spec);
    loop {
        match resolving.poll(Instant::now()) {
            ResolveProgress::Resolved(resolved) => return Ok(*resolved),
            ResolveProgress::Failed(error) => return Err(permit.failed(spec, error)?.into()),
            ResolveProgress::WaitUntil(time) => tokio::select! {
                () = sleep_until(time.into()) => {}
                () = ending.cancelled() => return Err(StartRefused::Draining),
            },
        }
    }
}

/// What was looked at, which was so that somebody can judge it.
fn examined(resolved: &Resolved) -> Result<&Examined, StartError> {
    resolved.examined().ok_or_else(|| StartError::Resources {
        step: "look at the program",
        source: io::ErrorKind::Other.into(),
    })
}
