//! The server's side of the zygote: starts it, anew if it has died, and sends it requests.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{
    NAME, REQUESTS,
    message::{ask_for_child, ask_for_supervisor, write_plan},
};
use crate::packet;
use crate::process::{
    child::{Fourth, Job},
    helper::{Helper, Helpers},
    plan::{Plan, Planned},
};

/// How long a thread that starts the zygote stands still for it. What is not there by then is there a little later.
const START_WAIT: Duration = Duration::from_millis(2);

/// The zygote, as long as one is wanted.
#[derive(Debug)]
pub(crate) struct Zygote {
    helpers: Helpers,
    /// For its fds 0 to 2.
    null: OwnedFd,
    /// Signals whose action is set to the default.
    reset: Vec<i32>,
    running: Mutex<Option<Running>>,
}

#[derive(Debug)]
struct Running {
    requests: OwnedFd,
    helper: Helper,
    /// Its end of the socket, until it has executed.
    theirs: Option<OwnedFd>,
}

impl Zygote {
    /// One that is started when [`Self::start`] is called or it is first needed.
    pub(crate) fn new(helpers: Helpers, null: OwnedFd, reset: Vec<i32>) -> Self {
        Self {
            helpers,
            null,
            reset,
            running: Mutex::default(),
        }
    }

    /// Starts it, if it does not run.
    pub(crate) fn start(&self) -> io::Result<()> {
        let mut running = self.lock();
        if running.is_none() {
            *running = Some(self.execute()?);
        }
        Ok(())
    }

    /// Asks for a child. Returns where it is answered.
    pub(crate) fn ask(
        &self,
        planned: &Planned,
        stdio: [BorrowedFd<'_>; 3],
        cgroup: Option<BorrowedFd<'_>>,
    ) -> io::Result<OwnedFd> {
        let plan = write_plan(&planned.plan)?;
        let ruleset = planned.ruleset.as_ref().map(AsFd::as_fd);
        self.request(|requests, channel| {
            ask_for_child(requests, channel, &plan, stdio, (ruleset, cgroup))
        })
    }

    /// Asks for a supervisor, born in `cgroup` if one is given. Returns its first link.
    pub(crate) fn ask_for_supervisor(&self, cgroup: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
        self.request(|requests, link| ask_for_supervisor(requests, link, cgroup))
    }

    /// Sends a request, to another zygote if the one that there was has died.
    fn request(
        &self,
        send: impl Fn(BorrowedFd<'_>, &OwnedFd) -> io::Result<()>,
    ) -> io::Result<OwnedFd> {
        let (ours, theirs) = packet::pair()?;
        let mut running = self.lock();
        if let Some(running) = &*running {
            match send(running.requests.as_fd(), &theirs) {
                Err(error) if is_gone(&error) => {}
                sent => return sent.map(|()| ours),
            }
        }
        self.bury(running.take());
        let started = running.insert(self.execute()?);
        send(started.requests.as_fd(), &theirs)?;
        Ok(ours)
    }

    /// Kills one that does not answer. Another is started when it is needed.
    pub(crate) fn kill(&self) {
        let running = self.lock().take();
        self.bury(running);
    }

    fn execute(&self) -> io::Result<Running> {
        let (requests, theirs) = packet::pair()?;
        let plan = Plan {
            // This program, whatever became of its file.
            program: c"/proc/self/exe".into(),
            argv: vec![NAME.into()],
            environment: Vec::new(),
            identity: None,
            directory: c"/".into(),
            or_root: false,
            limits: Vec::new(),
            niceness: None,
            terminal: false,
            reset: self.reset.clone(),
            confinement: None,
            judged: None,
        };
        debug_assert!(theirs.as_raw_fd() > REQUESTS);
        let fourth = Fourth::Given(theirs.as_raw_fd());
        let planned = Planned {
            plan,
            ruleset: None,
        };
        let job = Job::new(planned, [self.null.as_raw_fd(); 3], fourth);
        let mut running = Running {
            requests,
            helper: self.helpers.start(job)?,
            theirs: Some(theirs),
        };
        self.settle(&mut running, Instant::now() + START_WAIT);
        Ok(running)
    }

    /// Lets go of what it has used to start, if it has started by `until`.
    fn settle(&self, running: &mut Running, until: Instant) {
        if running.theirs.is_some() && self.helpers.has_executed(&mut running.helper, until) {
            running.theirs = None;
        }
    }

    fn bury(&self, running: Option<Running>) {
        if let Some(running) = running {
            self.helpers.bury(&running.helper);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(running) = &mut *running {
            self.settle(running, Instant::now());
        }
        running
    }
}

/// Whether nobody is there to take a request.
fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EPIPE | libc::ECONNRESET | libc::ENOTCONN)
    )
}
