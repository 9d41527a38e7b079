//! Running commands right: nothing of what they write is lost, nothing of them is left behind.
//!
//! A test whose name begins with `pitfall_` shows that a failure which other systems of this kind had cannot happen here.
//! Counts are short; `REMEX_LONG=1 cargo test --test it supervision` runs the long ones. `REMEX_SEED` repeats a run.

#[macro_use]
pub(crate) mod support;

mod drain;
mod fairness;
mod grandchildren;
mod held;
mod interact;
mod kill;
mod leaks;
mod left_open;
mod limits;
mod openssh;
mod outcomes;
mod records;
mod restart;
mod spawning;
mod start;
mod stdin;
mod streams;
mod tails;
mod terminal;
pub(crate) mod tmux;
mod trees;
