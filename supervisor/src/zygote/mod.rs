//! The zygote: a small process with one thread that makes the server's children which run as other users. It is this very
//! program, executed again, so that what changes its user is never in memory that is anybody's but its own: whoever
//! becomes the owner of that process may stop it and write its memory before it has executed anything.
//!
//! The zygote knows no secret and reads no request: it forks, and its child, whose parent is the server (CLONE_PARENT),
//! reads the plan and waits for the word to go on. It ends when the server's end of its socket is closed.

mod handle;
mod message;
mod serve;

pub(crate) use handle::Zygote;
pub(crate) use message::{Answer, go_on, next_answer};
pub(crate) use serve::{inherited, is_zygote, serve};

/// What a program is called that is to be the zygote, and is nothing else then. It needs the socket that it inherits.
const NAME: &std::ffi::CStr = c"remexd: zygote";

/// The socket that it inherits.
const REQUESTS: i32 = 3;
