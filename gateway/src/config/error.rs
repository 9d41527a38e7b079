//! What can be wrong with a listener's URL. The messages say what to write instead.

use remex_daemon::{admission::Network, net::AddressError};
use thiserror::Error;

use super::keys::KNOWN;

/// The URL is no legacy listener.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("legacy listener {url}: {problem}")]
pub struct ListenerError {
    /// The URL, control characters escaped.
    pub url: String,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What is wrong with a listener's URL.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Problem {
    /// None of the three schemes.
    #[error(
        "it begins with none of tcp://, udp:// and unix:; write it as in tcp://127.0.0.1:8080/exec"
    )]
    Scheme,
    /// The address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// No path.
    #[error(
        "it names no service; end it with /exec, /echo or, over UDP, /time, as in tcp://127.0.0.1:8080/exec"
    )]
    NoService,
    /// A Unix socket without `service`.
    #[error("it names no service; add ?service=exec or ?service=echo")]
    NoUnixService,
    /// A path that is no service.
    #[error("there is no service `{0}`; known are exec, echo and, over UDP, time")]
    UnknownService(String),
    /// `time` where it has no wire.
    #[error("time is served over UDP only; write it as in udp://127.0.0.1:8082/time")]
    TimeOverStream,
    /// Something behind `#`.
    #[error("it has a `#`; write %23 for one in a value")]
    Fragment,
    /// A key that nobody knows.
    #[error("unknown key `{0}`; known are {known}", known = KNOWN.join(", "))]
    UnknownKey(String),
    /// A key that means nothing here.
    #[error("the key `{key}` means nothing for {what}; leave it out")]
    MisplacedKey {
        /// The key.
        key: String,
        /// What it stands at.
        what: String,
    },
    /// `allow` where no other machine connects.
    #[error(
        "allow= says which other machines may connect, and none reaches {0}; leave it out, or name local users with users="
    )]
    AllowLocal(String),
    /// A network in `allow` that no peer of the listener is ever in.
    #[error("allow={network}: {why}")]
    AllowNever {
        /// Which one.
        network: Network,
        /// Why not.
        why: &'static str,
    },
    /// A key given twice.
    #[error("the key `{0}` is given twice")]
    RepeatedKey(String),
    /// A value that its key cannot have.
    #[error("{key}={value}: {key} is {expected}")]
    Value {
        /// The key.
        key: String,
        /// Its value.
        value: String,
        /// What it would have to be.
        expected: String,
    },
}
