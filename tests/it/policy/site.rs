//! A server with a policy, and callers of it.

use std::fs;

use remex::{
    error::Reason,
    v1::{self, RunResponse},
};
use rustix::process::Signal;
use tonic::Status;
use tonic_types::StatusExt;

use crate::harness::{Daemon, Home, calls::run, eventually};

/// Without an isolation, so that rules are about what they name alone.
pub(super) const OFF: &str = "force.isolation = 'off'\n";

pub(super) struct Site {
    pub(super) home: Home,
    pub(super) daemon: Daemon,
}

/// An allow for root, with `more` in it.
pub(super) fn allow(more: &str) -> String {
    format!("[[rule]]\nname = 'allow'\ndecision = 'allow'\nusers = ['root']\n{OFF}{more}\n")
}

impl Site {
    /// With this policy, and more flags.
    pub(super) async fn start(policy: &str, flags: &[&str]) -> Self {
        let home = Home::new();
        let file = home.path("policy.toml");
        fs::write(&file, policy).expect("a policy");
        let file = file.to_str().expect("UTF-8").to_owned();
        let flags = [&["--policy", &file], flags].concat();
        let daemon = Daemon::spawn(&home, home.service(&flags)).await;
        Self { home, daemon }
    }

    /// Replaces the policy, and waits until the server says `said` of it.
    pub(super) async fn reload(&self, policy: &str, said: &str) {
        let times = |log: String| log.matches(said).count();
        let before = times(self.home.log());
        fs::write(self.home.path("policy.toml"), policy).expect("a policy");
        self.daemon.signal(Signal::HUP);
        let log = || (times(self.home.log()) > before).then_some(());
        eventually("the policy to be read again", log).await;
    }

    pub(super) async fn run(&self, command: v1::Command) -> Result<RunResponse, Status> {
        run(&self.daemon.client().await, command).await
    }

    /// That root may run it. Returns what it says.
    #[track_caller]
    pub(super) fn allowed(&self, command: v1::Command) -> impl Future<Output = String> {
        let shown = format!("{command:?}");
        let place = std::panic::Location::caller();
        async move {
            match self.run(command).await {
                Ok(response) => String::from_utf8_lossy(&response.stdout_data).into_owned(),
                Err(status) => panic!("{place}: {shown} is refused: {status}"),
            }
        }
    }

    /// That it is denied, for want of what is `needed`.
    pub(super) async fn denied(&self, command: v1::Command, needed: &str) {
        let shown = format!("{command:?}");
        let status = match self.run(command).await {
            Ok(response) => panic!("{shown} ran: {response:?}"),
            Err(status) => status,
        };
        assert_eq!(
            Reason::of(&status),
            Some(Reason::PolicyDenied),
            "{shown}: {status}"
        );
        assert_eq!(status.code(), tonic::Code::PermissionDenied);
        let info = status.get_details_error_info().expect("details");
        assert_eq!(
            info.metadata.get("needed").map(String::as_str),
            Some(needed),
            "{shown}: {status}"
        );
    }
}
