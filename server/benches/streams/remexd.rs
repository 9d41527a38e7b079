//! remexd as this benchmark has it: how it is reached, and what it keeps in memory.

use std::{fs, path::Path, process::Command};

use remex_client::{Client, Endpoint};

use crate::support::{Outcome, Server};

/// A server that runs.
pub(crate) struct Remexd(Server);

impl Remexd {
    /// Starts `remexd`, this build or another, in `folder`, which is made.
    pub(crate) fn start(folder: &Path, remexd: Command) -> Outcome<Self> {
        let flags = ["--no-legacy", "--listen", "127.0.0.1:0"];
        Ok(Self(Server::start(folder, remexd, &flags)?))
    }

    /// Bytes that it keeps in memory at most, from [`Self::forget_peak`] on.
    pub(crate) fn peak_bytes(&self) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.0.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.ok_or("no peak")?.parse::<u64>()? * 1024)
    }

    pub(crate) fn forget_peak(&self) -> Outcome<()> {
        Ok(fs::write(
            format!("/proc/{}/clear_refs", self.0.child.id()),
            "5",
        )?)
    }

    pub(crate) fn endpoint(&self) -> Outcome<Endpoint> {
        let addresses = self.0.addresses()?;
        Ok(addresses.first().ok_or("no address")?.parse()?)
    }

    pub(crate) async fn client(&self) -> Outcome<Client> {
        Ok(Client::connect(&self.endpoint()?).await?)
    }
}
