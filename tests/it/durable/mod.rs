//! Executions that outlive their callers and their server: nothing of them is lost, and nothing runs twice.

pub(crate) mod support;

mod attach;
mod crash;
mod deletion;
mod faults;
mod full;
mod keep;
mod presence;
mod records;
mod relink;
mod request_id;
mod restart;
mod resume;
mod spares;
mod start;
mod storage;
mod typed;
mod upgrade;
mod user;
