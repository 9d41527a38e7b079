//! What both daemons, `remexd` and `remex-gateway`, do around serving.
//!
//! Hops, in the order of the modules: settings are read from flags and a [`File`], each value with its [`Origin`]; [`logging`]
//! begins; sockets are bound and connections accepted in [`net`], where it is also known who a peer is; [`admission`] says whether it
//! may come in; [`Ready`] tells where the daemon listens; [`shutdown`] ends it with an [`Exit`] code. [`escape`] makes text harmless.

mod file;
mod origin;
pub mod logging;
pub mod net;
pub mod admission;
mod ready;
pub mod shutdown;
mod exit;
pub mod escape;

pub use exit::Exit;
pub use file::{File, FileError, MAX_FILE};
pub use origin::{ConfigError, Origin, Text, text, texts};
pub use ready::{Ready, ReadyError};
