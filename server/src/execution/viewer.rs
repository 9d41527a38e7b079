//! Who may see an execution, and do something to it.

use remex_daemon::net::Caller;

use crate::{
    audit::CallRecord,
    policy::{gate::Standing, question::OnOthers},
};

/// A caller that asks for executions.
#[derive(Debug, Clone)]
pub struct Viewer {
    /// Who it is.
    pub caller: Caller,
    /// Where it stands before the policy, if there is one.
    pub standing: Option<Standing>,
    /// What is told of the call.
    pub record: CallRecord,
}

impl Viewer {
    /// Whether it may do `what` to an execution of `owner`: a caller may do everything to its own.
    pub fn may(&self, what: OnOthers, owner: &Caller) -> bool {
        self.is_owner(owner) || self.may_on_others(what)
    }

    /// Whether it may do `what` to everybody's. Without a policy the server's own user and root may.
    pub fn may_on_others(&self, what: OnOthers) -> bool {
        if let Some(standing) = &self.standing {
            return standing.may_on_others(what);
        }
        let own = rustix::process::geteuid().as_raw();
        self.caller.uid.is_some_and(|uid| uid == 0 || uid == own)
    }

    /// Whether `owner` is the same caller. Who has proven an identity is that, whatever its user and its address are.
    pub fn is_owner(&self, owner: &Caller) -> bool {
        let caller = &self.caller;
        if caller.identity.is_some() || owner.identity.is_some() {
            return caller.identity == owner.identity;
        }
        match (caller.uid, owner.uid) {
            (Some(uid), Some(owner)) => uid == owner,
            (None, None) => {
                let ip =
                    |caller: &Caller| caller.address.map(|address| address.ip().to_canonical());
                ip(caller).is_some() && ip(caller) == ip(owner)
            }
            _ => false,
        }
    }
}
