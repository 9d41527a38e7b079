//! What a program that spawns does first: it puts right what whoever started it left it with, and may find that it is to
//! be the zygote.

#![expect(unsafe_code, reason = "signal actions are out of rustix's reach")]

use std::{io, ptr};

use rustix::{process::DumpableBehavior, thread::CapabilitySets};

use super::raw;
use crate::zygote;

/// That [`prepare`] was called, so that this program can be executed again as the zygote.
#[derive(Debug)]
pub struct Prepared(());

/// To be called first in `main`, before flags are parsed and threads made. Does not return in the zygote, which ends at once
/// if its server has gone meanwhile.
pub fn prepare() -> io::Result<Prepared> {
    // Whoever could read this process's memory, or that of a child which shares it, had all its rights.
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    default_signals()?;
    keep_capabilities_to_ourselves()?;
    if zygote::is_zygote() {
        if let Some(requests) = zygote::inherited() {
            zygote::serve(&requests);
        }
        raw::exit(0);
    }
    Ok(Prepared(()))
}

/// An ignored SIGCHLD would have the kernel reap commands by itself; a blocked signal would not reach this process.
fn default_signals() -> io::Result<()> {
    // SAFETY: plain calls on this process's own signals, with a set that is filled before it is read.
    let failed = unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::signal(libc::SIGCHLD, libc::SIG_DFL) == libc::SIG_ERR
            || libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut()) != 0
    };
    if failed {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// What is ambient or inheritable here would be a command's too, another user's among them.
fn keep_capabilities_to_ourselves() -> io::Result<()> {
    // Kernels without ambient capabilities pass none on.
    let _ = rustix::thread::clear_ambient_capability_set();
    let sets = rustix::thread::capabilities(None)?;
    let inheritable = rustix::thread::CapabilitySet::empty();
    if sets.inheritable != inheritable {
        rustix::thread::set_capabilities(
            None,
            CapabilitySets {
                inheritable,
                ..sets
            },
        )?;
    }
    Ok(())
}
