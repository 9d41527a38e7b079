//! Executions that outlive their callers and their server: nothing of them is lost, and nothing runs twice.

mod support;

mod attach;
mod presence;
mod request_id;
mod restart;
mod start;
