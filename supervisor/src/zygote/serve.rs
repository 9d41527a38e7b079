//! The zygote's own side.

#![expect(
    unsafe_code,
    reason = "takes over a descriptor by its number, forks, and sets an action"
)]

use std::{
    env,
    os::{
        fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
};

use rustix::{
    io::{DupFlags, dup3},
    net::{SocketType, sockopt},
};

use super::{
    NAME, REQUESTS,
    message::{
        ChildRequest, Request, SupervisorRequest, may_go_on, next_request, read_plan, send_born,
        send_failure,
    },
};
use crate::{
    durable,
    process::{
        child::{Failure, Fourth, Job, Step},
        clone::{Parent, Work, fork},
        plan::Planned,
        raw,
    },
};

/// Whether this process was executed as the zygote. Whatever else it finds then, it must not go on as a daemon with no
/// flags: a server that is killed while its zygote executes would leave one behind that serves the default address.
pub(crate) fn is_zygote() -> bool {
    let name = env::args_os().next();
    name.is_some_and(|name| name.as_bytes() == NAME.to_bytes())
}

/// The socket of requests, if the parent of this process is there and has left it.
pub(crate) fn inherited() -> Option<OwnedFd> {
    // SAFETY: only looked at, and taken over if it is what the parent has left there; nothing else is open that early.
    let socket = unsafe { BorrowedFd::borrow_raw(REQUESTS) };
    let is_packets = sockopt::socket_type(socket).is_ok_and(|kind| kind == SocketType::SEQPACKET);
    let maker = sockopt::socket_peercred(socket).ok()?.pid;
    if !is_packets || Some(maker) != rustix::process::getppid() {
        return None;
    }
    // SAFETY: as above.
    Some(unsafe { OwnedFd::from_raw_fd(REQUESTS) })
}

/// Makes a process for each request until nobody can send one any more.
pub(crate) fn serve(requests: &OwnedFd) -> ! {
    // It was executed as /proc/self/exe, which says nothing.
    let _ = rustix::thread::set_name(c"remexd-zygote");
    leave_children_to_the_kernel();
    // Its children close it, or make something else of it, before anything else.
    while let Ok(Some(request)) = next_request(requests.as_fd()) {
        match request {
            Request::Child(request) => make_child(request),
            Request::Supervisor(request) => make_supervisor(request),
        }
    }
    raw::exit(0)
}

fn make_child(mut request: ChildRequest) {
    let cgroup = request.cgroup.as_ref().map(AsFd::as_fd);
    // SAFETY: this process never makes a thread.
    let born = match unsafe { fork(cgroup, Parent::Ours) } {
        Ok(None) => be_child(&mut request),
        Ok(Some(cloned)) => Ok(cloned),
        Err(error) => Err(error),
    };
    // One that nobody can be told of sees its channel end, and ends.
    let _ = send_born(request.channel.as_fd(), &born);
}

/// Makes a process that outlives both the server and this one. If there is no room for another, its link ends.
fn make_supervisor(SupervisorRequest { link, cgroup }: SupervisorRequest) {
    // SAFETY: this process never makes a thread.
    if let Ok(None) = unsafe { fork(cgroup.as_ref().map(AsFd::as_fd), Parent::This) } {
        drop(cgroup);
        durable::supervise(link)
    }
}

/// Nobody waits for supervisors: the kernel forgets each as it ends. The action itself stays the default, which a command
/// is to have.
fn leave_children_to_the_kernel() {
    // SAFETY: sets no handler.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = libc::SIG_DFL;
        action.sa_flags = libc::SA_NOCLDWAIT;
        libc::sigaction(libc::SIGCHLD, &raw const action, std::ptr::null_mut());
    }
}

/// A child's life, in memory of its own. Panics end it.
extern "C" fn be_child(request: &mut ChildRequest) -> ! {
    // SAFETY: the number of a descriptor of this process; dup3 closes what it was.
    let mut channel = unsafe { OwnedFd::from_raw_fd(REQUESTS) };
    if dup3(&request.channel, &mut channel, DupFlags::CLOEXEC).is_err() {
        raw::exit(127);
    }
    if !may_go_on(channel.as_fd()) {
        raw::exit(127);
    }
    let failed = match read_plan(&request.plan) {
        Some(plan) => {
            let stdio = request.stdio.each_ref().map(AsRawFd::as_raw_fd);
            let ruleset = request.ruleset.take();
            let mut job = Job::new(Planned { plan, ruleset }, stdio, Fourth::Kept);
            job.run();
            job.outcome().and_then(Result::err)
        }
        None => Some(Failure {
            step: Step::Stdio,
            errno: libc::EBADMSG,
            seen: None,
        }),
    };
    if let Some(failure) = failed {
        let _ = send_failure(channel.as_fd(), &failure);
    }
    raw::exit(127)
}
