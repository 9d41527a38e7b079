//! Executions that outlive the server: each has a process of its own, the supervisor, which runs the engine under poll(2) and writes the
//! journal. A server asks the zygote for one, gives it an execution, and follows it over a [`Link`]; when that server has
//! died, another finds it by the socket in the execution's folder.
//!
//! [`message`], `exit` and `order` say what crosses; `link` is the server's end and `connection` the supervisor's; `lock` says who
//! supervises. `supervise` is the supervisor's life, `state` how far it is, `running` its execution, `sink` the way of the output.

mod connection;
pub mod crash;
mod exit;
mod link;
mod lock;
pub mod message;
mod order;
mod running;
mod sink;
mod state;
mod supervise;
mod watched;

pub use link::{Link, SOCKET_FILE};
pub use lock::{FolderLock, LOCK_FILE};
pub use order::Order;
pub use sink::OUTPUT_WINDOW;
pub(crate) use supervise::supervise;
