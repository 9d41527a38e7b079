//! The gateway of remex, and what its daemon shares with `remexd`.

pub mod daemon;
pub mod net;
