//! What is unsafe off loopback, and the flag that allows it. Pure.

use thiserror::Error;

use super::{DatagramService, Kind, ListenerConfig, StreamService};

/// What the user has allowed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Allow {
    /// `--allow-plaintext`.
    pub plaintext: bool,
    /// `--allow-udp-exec`.
    pub udp_exec: bool,
}

/// Why a configuration is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Unsafe {
    /// Commands over TCP that the network can read and change.
    #[error(
        "other machines reach it, and the old protocol has no encryption and no password: whoever is in the network can \
         run commands; listen on 127.0.0.1, or give --allow-plaintext (and allow= on the listener)"
    )]
    Plaintext,
    /// Commands over UDP, whose source can be forged.
    #[error(
        "other machines reach it, and a datagram's sender can be forged: anybody can run commands, whatever allow= \
         says; listen on 127.0.0.1, or give --allow-udp-exec"
    )]
    UdpExec,
    /// Commands to the upstream that the network can read and change.
    #[error(
        "it is on another machine, and http:// sends commands there unencrypted; write https://, use a tunnel to 127.0.0.1 \
         or a Unix socket, or give --allow-plaintext"
    )]
    PlaintextUpstream,
}

impl Allow {
    /// Whether `listener` may be where it is. Echo and time need no permission.
    pub fn permits(self, listener: &ListenerConfig) -> Result<(), Unsafe> {
        if listener.is_loopback() {
            return Ok(());
        }
        match &listener.kind {
            Kind::Stream {
                service: StreamService::Exec { .. },
                ..
            } if !self.plaintext => Err(Unsafe::Plaintext),
            Kind::Datagram {
                service: DatagramService::Exec { .. },
                ..
            } if !self.udp_exec => Err(Unsafe::UdpExec),
            Kind::Stream { .. } | Kind::Datagram { .. } => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unsafe_off_loopback_needs_its_flag() {
        let (none, all) = (false, true);
        for (url, plaintext, udp_exec, expected) in [
            ("tcp://127.0.0.1:1/exec", none, none, Ok(())),
            ("tcp://[::1]:1/exec", none, none, Ok(())),
            ("udp://127.0.0.1:1/exec", none, none, Ok(())),
            ("unix:/p?service=exec", none, none, Ok(())),
            ("tcp://0.0.0.0:1/echo", none, none, Ok(())),
            ("udp://0.0.0.0:1/echo", none, none, Ok(())),
            ("udp://0.0.0.0:1/time", none, none, Ok(())),
            ("tcp://0.0.0.0:1/exec", none, all, Err(Unsafe::Plaintext)),
            ("tcp://192.0.2.7:1/exec", none, none, Err(Unsafe::Plaintext)),
            ("tcp://0.0.0.0:1/exec", all, none, Ok(())),
            ("udp://0.0.0.0:1/exec", all, none, Err(Unsafe::UdpExec)),
            ("udp://[::]:1/exec", none, all, Ok(())),
        ] {
            let allow = Allow {
                plaintext,
                udp_exec,
            };
            assert_eq!(allow.permits(&url.parse().unwrap()), expected, "{url}");
        }
    }
}
