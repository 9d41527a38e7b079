//! What a server has of the API. One that does not know a field drops it unseen, so what restricts a command, or says how
//! it is to be run, is sent only to a server that names it.

use remex::v1::GetServerInfoRequest;
use tonic::Code;

use crate::{Client, Command, Error};

impl Client {
    /// Asks the server, if `command` has what a server may not know, whether it heeds that.
    pub(crate) async fn check_features(&self, command: &Command) -> Result<(), Error> {
        let needed = command.features();
        if needed.is_empty() {
            return Ok(());
        }
        let asked = self.exec().get_server_info(GetServerInfoRequest {}).await;
        let features = match asked {
            Ok(response) => response.into_inner().features,
            // It is older than the question.
            Err(status) if status.code() == Code::Unimplemented => Vec::new(),
            Err(status) => return Err(status.into()),
        };
        match missing(&needed, &features) {
            Some(feature) => Err(Error::Unheeded(feature)),
            None => Ok(()),
        }
    }
}

/// The first of `needed` that is not among `features`.
fn missing(needed: &[&'static str], features: &[String]) -> Option<&'static str> {
    let is_there = |needed: &str| features.iter().any(|feature| feature == needed);
    needed.iter().copied().find(|needed| !is_there(needed))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_named_is_missing() {
        let features = ["drain", "user"].map(str::to_owned);
        assert_eq!(missing(&["user", "drain"], &features), None);
        assert_eq!(missing(&["drain", "limits"], &features), Some("limits"));
        assert_eq!(missing(&["user"], &[]), Some("user"));
    }

    #[test]
    fn a_command_needs_what_it_has() {
        assert!(Command::new("x").features().is_empty());
        let command = Command::new("x").user("1").drain_to_eof();
        assert_eq!(command.features(), ["user", "drain"]);
        let command = Command::new("x").request_id("1");
        assert_eq!(command.features(), ["durable"]);
    }
}
