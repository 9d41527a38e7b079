//! What the legacy side of a daemon is told to do: typed, whole, and checked before anything is bound. `remexd` takes from
//! here all but [`Args`] and [`Config`], which are those of `remex-gateway`.

mod error;
mod explain;
mod keys;
mod legacy;
mod listener;
#[cfg(test)]
mod listener_tests;
mod safety;
mod settings;
mod values;

pub use error::{ListenerError, Problem};
pub use legacy::{DEFAULT_LISTENERS, Legacy, legacy};
pub use listener::{DatagramService, Drain, Exec, Framing, Kind, ListenerConfig, StreamService};
pub use safety::{Allow, Unsafe};
pub use settings::{Args, Config, SharedArgs, check_spool, drain_timeout, none_listed};
