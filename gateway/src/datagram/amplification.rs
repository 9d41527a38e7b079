//! Who is answered over UDP, and with how much. A datagram's source can be forged, so what goes to another machine must be no
//! weapon against it: nobody gets more than it asks for, and nobody whom the listener does not name gets anything but an echo. Pure.

use bytes::Bytes;
use remex_daemon::{
    admission::{Access, Denied},
    net::{Caller, PeerUnknown},
};

use crate::config::DatagramService;

/// Why a datagram is not served.
#[derive(Debug, thiserror::Error)]
pub enum NotServed {
    /// The listener does not let its sender in.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// It comes from another machine, and the listener names none.
    #[error("it is in no network of allow=, which commands and time over UDP need")]
    NotNamed,
}

impl NotServed {
    /// What the sender is told. Another machine is told nothing.
    pub fn told(&self) -> Option<String> {
        match self {
            Self::Denied(denied @ Denied::User { .. }) => Some(format!("remex: {denied}\n")),
            Self::Denied(Denied::Address { .. } | Denied::Unknown(_)) | Self::NotNamed => None,
        }
    }
}

/// Lets `sender` have `service`, or says why not. Beside `access`, which takes every machine where no network is named, only
/// an echo is for all.
pub fn admit(
    service: &DatagramService,
    access: &Access,
    sender: Result<Caller, PeerUnknown>,
) -> Result<Caller, NotServed> {
    let caller = access.admit(sender)?;
    let is_for_all = match service {
        DatagramService::Echo => true,
        DatagramService::Exec { .. } | DatagramService::Time { .. } => false,
    };
    if is_for_all || caller.is_local() || !access.allow.is_empty() {
        Ok(caller)
    } else {
        Err(NotServed::NotNamed)
    }
}

/// What `caller` gets back for a datagram of `request_bytes`: its echo, unless that is longer than the datagram was; or,
/// on this machine, why there is none.
pub fn echo(request_bytes: usize, answer: Result<Bytes, &str>, caller: &Caller) -> Option<Bytes> {
    match answer {
        Ok(echo) => (echo.len() <= request_bytes).then_some(echo),
        Err(why) => caller.is_local().then(|| format!("remex: {why}\n").into()),
    }
}

#[cfg(test)]
mod tests {
    use remex_daemon::net::{Transport, Users};

    use super::*;
    use crate::config::{Kind, ListenerConfig};

    fn sender(address: &str, uid: Option<u32>) -> Caller {
        Caller {
            transport: Transport::Udp,
            address: Some(address.parse().unwrap()),
            uid,
            ..Caller::unix(0)
        }
    }

    fn admitted(url: &str, sender: Result<Caller, PeerUnknown>) -> Result<Caller, NotServed> {
        let listener: ListenerConfig = url.parse().unwrap();
        let Kind::Datagram { service, .. } = listener.kind else {
            panic!("{url} is no listener for datagrams");
        };
        let access = Access {
            users: Users::parse("4321").unwrap(),
            allow: listener.allow,
        };
        admit(&service, &access, sender)
    }

    #[test]
    fn promise_8_commands_and_time_answer_named_machines_alone_and_an_echo_all() {
        let named = "allow=192.0.2.0/24";
        for (service, query, remote, is_served) in [
            ("exec", "", "192.0.2.7:40000", false),
            ("exec", named, "192.0.2.7:40000", true),
            ("exec", named, "198.51.100.7:40000", false),
            ("time", "", "192.0.2.7:40000", false),
            ("time", named, "192.0.2.7:40000", true),
            ("time", named, "198.51.100.7:40000", false),
            ("echo", "", "192.0.2.7:40000", true),
            ("echo", named, "192.0.2.7:40000", true),
            ("echo", named, "198.51.100.7:40000", false),
        ] {
            let url = format!("udp://0.0.0.0:9/{service}?{query}");
            let served = admitted(&url, Ok(sender(remote, None)));
            assert_eq!(served.is_ok(), is_served, "{url} {remote}");
            assert_eq!(
                served.err().and_then(|why| why.told()),
                None,
                "{remote} is told"
            );
            // A process of this machine goes by its user.
            assert!(admitted(&url, Ok(sender(remote, Some(4321)))).is_ok());
            let denied = admitted(&url, Ok(sender(remote, Some(4322)))).unwrap_err();
            assert!(denied.told().unwrap().contains("user 4322"));
            let nobody = PeerUnknown::NoOwner(remote.parse().unwrap());
            assert_eq!(admitted(&url, Err(nobody)).unwrap_err().told(), None);
        }
    }

    #[test]
    fn promise_8_no_echo_is_longer_than_its_request() {
        let (local, remote) = (
            sender("127.0.0.1:9999", Some(0)),
            sender("192.0.2.7:9999", None),
        );
        for caller in [&local, &remote] {
            for (request_bytes, reply, is_sent) in [
                (0, "", true),
                (0, "x", false),
                (3, "abc", true),
                (3, "abcd", false),
                (3, "ab", true),
            ] {
                let sent = echo(request_bytes, Ok(reply.into()), caller);
                assert_eq!(
                    sent,
                    is_sent.then(|| reply.into()),
                    "{request_bytes} {reply}"
                );
            }
        }
        assert_eq!(echo(1, Err("why"), &local), Some("remex: why\n".into()));
        assert_eq!(echo(100, Err("why"), &remote), None);
    }
}
