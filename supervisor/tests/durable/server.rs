//! What a server does: it has one spawner, and for each execution a folder, a supervisor and a link.

use std::{
    os::fd::AsFd,
    path::{Path, PathBuf},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use remex_supervisor::{
    durable::{
        Link, Order,
        message::{LinkRequest, Report, Stage, VERSION},
    },
    journal::{
        self, DiskFolder, EVERYTHING, Folder, Gap, Reader, Reservation, Settings, Step, SyncMode,
    },
    lifecycle::{event::Event, presence::OnDisconnect},
    process::{
        self, Choice, CommandSpec, DurablePlace, ResolveProgress, Spawner, StartError, TreeRecord,
    },
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tempfile::TempDir;

use crate::scenarios::sweep::is_by_sweep;

/// Longer than anything here takes, on a busy machine too; only a failure waits for it.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// One for all, as in a daemon.
pub(crate) fn spawner() -> &'static Spawner {
    static SPAWNER: OnceLock<Spawner> = OnceLock::new();
    SPAWNER.get_or_init(|| {
        let instance = format!("durable-{}", std::process::id());
        begin(state_dir(), instance, is_by_sweep())
    })
}

/// Where a server of this process has its state.
pub(crate) fn state_dir() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    FOLDER.get_or_init(|| tempfile::tempdir().unwrap()).path()
}

/// A server begins.
pub(crate) fn begin(state_dir: &Path, instance: String, by_sweep: bool) -> Spawner {
    let settings = process::Settings {
        directory: state_dir.to_owned(),
        pass_environment: Vec::new(),
        state_dir: state_dir.to_owned(),
        instance,
        containment: if by_sweep {
            Choice::Sweep
        } else {
            Choice::Auto
        },
        prepared: Some(process::prepare().unwrap()),
    };
    Spawner::new(settings).unwrap().0
}

/// All that a journal says, of which nothing may be missing.
pub(crate) fn read_all(mut reader: Reader) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        match reader.next(EVERYTHING).unwrap() {
            Step::Event(event) => events.push(event),
            Step::Ended => return events,
            other => panic!("{other:?}"),
        }
    }
}

/// A prepared supervisor, with all that its execution needs but the order.
pub(crate) struct Spare {
    pub(crate) server: Server,
    pub(crate) place: DurablePlace,
}

impl Spare {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let next = NEXT.fetch_add(1, Ordering::Relaxed);
        let id = format!("x{}-{next}", std::process::id());
        let home = tempfile::tempdir().unwrap();
        let mut spare = Self::in_folder(home.path(), id);
        if let Some(remains) = &mut spare.server.remains {
            remains.home = Some(home);
        }
        spare
    }

    /// In a folder of `parent`.
    pub(crate) fn in_folder(path: &Path, id: String) -> Self {
        let parent = DiskFolder::open(path).unwrap();
        let folder =
            journal::prepare(&parent, &id, journal::PREPARED_BYTES, SyncMode::None).unwrap();
        let place = spawner().place_durable(&id).unwrap();
        let tree = place.record(folder.as_fd()).unwrap();
        let link = spawner().fork_supervisor().unwrap();
        let mut server = Server {
            link,
            path: path.join(&id),
            id,
            folder,
            remains: Some(Remains { tree, home: None }),
            through: 0,
        };
        server.greet(Stage::Spare);
        server.link.place(&place).unwrap();
        server
            .link
            .prepare(server.folder.as_fd(), &server.id)
            .unwrap();
        assert_eq!(server.next(), Some(Report::Prepared));
        Self { server, place }
    }

    /// Gives it its order. Returns whether it runs.
    pub(crate) fn start(mut self, order: &Order) -> Result<Server, StartError> {
        self.server.link.start(order, &self.place).unwrap();
        match self.server.next() {
            Some(Report::Started { pid, .. }) => {
                assert!(pid > 1);
                Ok(self.server)
            }
            Some(Report::NotStarted(why)) => {
                assert_eq!(self.server.next(), None, "it does not end");
                Err(order.resolved.start_error(&why))
            }
            other => panic!("{other:?}"),
        }
    }
}

/// An order for `spec`, with nothing special.
pub(crate) fn order(spec: &CommandSpec) -> Order {
    Order {
        resolved: resolve(spec),
        terminal: spec.terminal.as_ref().map(|terminal| terminal.size),
        stdin: bytes::Bytes::new(),
        stdin_open: false,
        timeout: spec.timeout,
        kill_after: spec.kill_after,
        drain_to_end: false,
        on_disconnect: OnDisconnect::Detach,
        settings: Settings::default(),
        reservation: Reservation {
            claim: None,
            boot_id: [0; 16],
            time: SystemTime::now(),
            details: bytes::Bytes::from_static(b"what the server wants back"),
        },
    }
}

fn resolve(spec: &CommandSpec) -> process::Resolved {
    let mut resolving = spawner().resolve(spec);
    loop {
        match resolving.poll(Instant::now()) {
            ResolveProgress::Resolved(resolved) => return *resolved,
            ResolveProgress::Failed(error) => panic!("{error}"),
            ResolveProgress::WaitUntil(at) => {
                std::thread::sleep(at.saturating_duration_since(Instant::now()));
            }
        }
    }
}

/// A server's hold on one execution.
pub(crate) struct Server {
    pub(crate) link: Link,
    pub(crate) id: String,
    pub(crate) path: PathBuf,
    pub(crate) folder: DiskFolder,
    /// What it leaves, for the one who has made it to take away.
    pub(crate) remains: Option<Remains>,
    /// The last event that may be read.
    pub(crate) through: u64,
}

impl Server {
    /// Another server's, that finds the execution by its folder.
    pub(crate) fn find(path: &Path) -> Self {
        let folder = DiskFolder::open(path).unwrap();
        let link = Link::connect(folder.as_fd()).unwrap();
        let id = path.file_name().unwrap().to_str().unwrap().to_owned();
        Self {
            link,
            id,
            path: path.to_owned(),
            folder,
            remains: None,
            through: 0,
        }
    }

    /// Says hello, and that it is so far.
    #[track_caller]
    pub(crate) fn greet(&mut self, expected: Stage) {
        self.send(&LinkRequest::Hello { newest: VERSION });
        let expected_id = match expected {
            Stage::Spare => String::new(),
            _ => self.id.clone(),
        };
        match self.report() {
            Some(Report::Welcome { version, id, stage }) => {
                assert_eq!((version, id, stage), (VERSION, expected_id, expected));
            }
            other => panic!("{other:?}"),
        }
    }

    #[track_caller]
    pub(crate) fn send(&self, request: &LinkRequest) {
        self.link.send(request).unwrap();
    }

    /// The next report, within `patience`; `Err`: there is none.
    #[track_caller]
    pub(crate) fn report_within(&mut self, patience: Duration) -> Result<Option<Report>, ()> {
        let until = Instant::now() + patience;
        loop {
            match self.link.receive() {
                Ok(report) => {
                    if let Some(Report::Grown { through, .. }) = report {
                        assert!(through >= self.through);
                        self.through = through;
                    }
                    return Ok(report);
                }
                Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock, "{error}"),
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(());
            }
            let mut fds = [PollFd::from_borrowed_fd(self.link.as_fd(), PollFlags::IN)];
            let left = Timespec::try_from(left).unwrap();
            let _ = poll(&mut fds, Some(&left));
        }
    }

    /// The next report; `None`: its end.
    #[track_caller]
    pub(crate) fn report(&mut self) -> Option<Report> {
        self.report_within(PATIENCE).expect("a report in time")
    }

    /// The next that says anything else than that it goes on.
    #[track_caller]
    pub(crate) fn next(&mut self) -> Option<Report> {
        loop {
            match self.report() {
                Some(Report::Grown { .. } | Report::Blocked(_) | Report::Unblocked) => {}
                report => return report,
            }
        }
    }

    /// What the journal holds by now, as far as this server was told.
    pub(crate) fn steps(&self, after: u64, through: u64) -> Vec<Step> {
        let folder = self.folder.clone();
        let mut reader = Reader::open(folder, after, through).unwrap();
        let mut steps = Vec::new();
        loop {
            match reader.next(through).unwrap() {
                Step::UpToDate | Step::Ended => return steps,
                step => steps.push(step),
            }
        }
    }

    /// Its events by now, none of which may be missing.
    pub(crate) fn events(&self) -> Vec<Event> {
        let (events, gaps) = self.events_and_gaps(self.through);
        assert_eq!(gaps, []);
        events
    }

    /// Its events up to `through`, and what is missing.
    pub(crate) fn events_and_gaps(&self, through: u64) -> (Vec<Event>, Vec<Gap>) {
        let (mut events, mut gaps) = (Vec::new(), Vec::new());
        for step in self.steps(0, through) {
            match step {
                Step::Event(event) => events.push(event),
                Step::Gap(gap) => gaps.push(gap),
                other => panic!("{other:?}"),
            }
        }
        (events, gaps)
    }

    /// All of its events, when it has ended.
    pub(crate) fn whole(&self) -> Vec<Event> {
        let (events, gaps) = self.events_and_gaps(EVERYTHING);
        assert_eq!(gaps, []);
        events
    }

    /// The supervisor's process id.
    pub(crate) fn supervisor(&self) -> Option<i32> {
        remex_supervisor::durable::FolderLock::holder(self.folder.as_fd()).unwrap()
    }
}

/// What an execution leaves.
pub(crate) struct Remains {
    pub(crate) tree: TreeRecord,
    pub(crate) home: Option<TempDir>,
}

impl Drop for Remains {
    fn drop(&mut self) {
        spawner().leave_durable(&self.tree);
    }
}

/// The names in a folder.
pub(crate) fn names(folder: &DiskFolder) -> Vec<String> {
    let mut names = Vec::new();
    folder
        .names(&mut |name| names.push(name.to_owned()))
        .unwrap();
    names
}
