//! remexd as a library.
pub mod process;
pub mod supervisor;
