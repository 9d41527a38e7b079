//! What both daemons, `remexd` and `remex-gateway`, do around serving.
//!
//! Hops, in the order of the modules: settings are read from flags and a [`File`], each value with its [`Origin`]; [`logging`]
//! begins; sockets are bound and connections accepted in [`net`], where it is also known who a peer is; [`admission`] says whether it
//! may come in; [`metrics`] say what has come of it; [`ReadyFile`] tells where the daemon listens, [`notify`] the service manager that it does; a [`Reloadable`] says what is new in settings that are read again; [`shutdown`] ends it with a [`DaemonExit`]. [`serve`] is the frame around all of it, and gives free `memory` back; [`console`] is what is
//! said outside of the log. [`escape`] makes text harmless.

mod file;
pub mod handover;
mod origin;
pub mod console;
pub mod descriptors;
pub mod logging;
pub mod net;
pub mod admission;
pub mod metrics;
mod ready;
mod reloadable;
pub mod notify;
pub mod shutdown;
mod memory;
mod serve;
mod exit;
pub mod escape;

pub use exit::DaemonExit;
pub use file::{File, FileError, MAX_FILE};
pub use handover::{Handover, Successor};
pub use origin::{ConfigError, Origin, Text, text, texts};
pub use ready::{ReadyError, ReadyFile};
pub use reloadable::{Differences, Reloadable};
pub use serve::{fail, serve};
