//! The tonic services. Messages stop here: `translate` makes typed requests of them, `status` errors, `reply` and
//! `stream` answers; [`exec`] and [`echo`] are what is between; [`run`] is how Run's answer leaves,
//! `answer` what it is.

mod answer;
pub mod echo;
pub mod exec;
mod info;
mod interact;
mod isolation;
mod list;
mod reply;
pub mod run;
mod status;
mod stream;
mod translate;
