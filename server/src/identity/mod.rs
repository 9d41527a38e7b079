//! Who callers are, and what they are known by.
//!
//! Hops: files that flags name ([`TrustFiles`]) -> what they say at one time ([`Trust`]: [`tls`], [`tokens`], [`jwt`]), made
//! anew when they change ([`reload`]) -> who is at the other end of a connection ([`Peer`], by its [`certificate`]) -> who
//! makes a call ([`authenticate`], which bounds [`guesses`]). Everything behind it is given the
//! [`Caller`](remex_daemon::net::Caller), and executions belong to that.

pub mod trust;
pub mod tls;
pub mod tokens;
pub mod jwt;
pub mod reload;
pub mod certificate;
pub mod guesses;
pub mod authenticate;

pub use authenticate::{Authenticated, Credential, NoCaller, Now, Peer, Protection};
pub use guesses::Guesses;
pub use jwt::JwtSettings;
pub use tls::{Tls, TlsFiles};
pub use trust::{Trust, TrustError, TrustFiles};
