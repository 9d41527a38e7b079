//! remexd as a library.
pub mod execution;
pub mod process;
pub mod service;
pub mod supervisor;
