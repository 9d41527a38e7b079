//! The life of one execution. [`life`] decides what is done when, [`output`] what becomes an event, [`stdin`] what is
//! accepted: all three are pure.

pub mod life;
#[cfg(test)]
mod life_tests;
pub mod output;
pub mod stdin;
