//! What the operator of a remexd that runs asks of it, over a socket in its state folder, which only its own user and root can
//! enter: `remexd status`, `drain`, `reload` and `log-level`.
//!
//! One request a connection, one answer, a line of JSON each ([`message`]). `listener` answers in the daemon, [`call()`] asks.

mod call;
mod listener;
pub mod message;

pub use self::{
    call::{CallError, call, until_gone},
    listener::{CONTROL, CONTROL_SOCKET, ControlListener, Controlled},
};
