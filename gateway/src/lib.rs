//! The gateway of remex, and what its daemon shares with `remexd`.

pub mod body;
pub mod config;
pub mod daemon;
pub mod limits;
pub mod net;
pub mod wire;
