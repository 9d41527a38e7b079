//! Executions whose engine runs in this process, under tokio: they end with it.
//!
//! A [`host`] waits for what the engine of one execution wants and says what is ready. What callers ask of the execution comes
//! through its [`mailbox`], stdin within the bounds of [`waiting_stdin`]; its output goes to whoever reads along, [`live`], or into one [`answer`].

pub mod mailbox;
pub mod waiting_stdin;
pub(crate) mod registered;
pub mod outlet;
pub mod live;
pub mod answer;
pub mod host;
