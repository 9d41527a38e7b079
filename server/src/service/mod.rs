//! The tonic services. Messages stop here: `translate` makes typed requests of them, `status` errors, `reply` and
//! `stream` answers; [`exec`] and [`echo`] are what is between.

pub mod echo;
pub mod exec;
mod interact;
mod reply;
mod status;
mod stream;
mod translate;
