//! The life of one execution, from its spawn to its last event.
//!
//! [`life`] decides what is done when, [`output`] what becomes an event, [`stdin`] what is accepted, [`presence`] what becomes
//! of it without its callers: all four are pure. A life is told [`fact`]s and answers with [`action`]s, the last of which is the
//! [`outcome`]; its [`drain`] and its [`ending`] have their own times.
//! [`engine`] is what does it: it owns the descriptors, each in a [`port`], reads the `outputs`, feeds stdin through the
//! [`feeder`], and passes what it reads to an [`outlet`] as numbered [`event`]s. [`counters`] tell others how far it has come, and [`totals`] how far all of them.

pub mod outcome;
pub mod fact;
pub mod action;
pub mod drain;
pub mod ending;
pub mod life;
pub mod output;
pub mod stdin;
pub mod presence;
pub mod event;
pub mod counters;
pub mod totals;
pub mod port;
mod outputs;
pub mod feeder;
pub mod outlet;
pub mod engine;
