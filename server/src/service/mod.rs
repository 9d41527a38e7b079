//! The tonic services. Messages stop here: `translate` makes typed requests of them, `status` errors, `reply` and
//! `stream` answers; [`exec`] and [`echo`] are what is between, and [`run`] is Run's answer on its way.

pub mod echo;
pub mod exec;
mod info;
mod interact;
mod reply;
pub mod run;
mod status;
mod stream;
mod translate;
