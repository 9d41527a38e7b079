//! The keeper: one thread for what may take longer than a caller can wait. It makes cgroups ahead of need and removes used
//! ones, looks after what ended commands left behind, reaps what nobody else reaps, and carries out what is asked of trees
//! that are being ended: in the sweep, with one look at /proc for all of them.

#![expect(
    unsafe_code,
    reason = "gives its thread a table of descriptors of its own"
)]

use std::{
    collections::VecDeque,
    fs::File,
    io, mem,
    path::PathBuf,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use super::{
    descriptors,
    desk::{BATCH, Desk, Left, Papers},
    group,
    leaders::{self, Leaders},
    scanner::Scanner,
    survivors::{Slot, Survivors},
    sweep::Sweep,
    table::{ProcessTable, TreeLook},
    tree::Tree,
    way::Way,
};

/// How often what was left behind is looked at.
const TICK: Duration = Duration::from_secs(1);

/// How often something that is about to go is tried in a row, a [`BATCH`] apart, before it has to wait for a [`TICK`].
const EAGER_TRIES: u32 = 20;

/// Most groups that were left behind and are looked at in a [`TICK`].
const LOOKS_A_TICK: usize = 256;

/// A pass through /proc is followed by a pause of its own length, and at least of this.
const PASS_PAUSE: Duration = Duration::from_millis(2);

/// Passes for what was left behind take at most one part in so many of this thread's time.
const IDLE_SHARE: u32 = 20;

/// A tree that nobody supervises any more is killed for so long.
const ABANDONED_BOUND: Duration = Duration::from_secs(30);

/// The keeper's end is waited for so long when the server stops.
const STOP_BOUND: Duration = Duration::from_secs(2);

/// When there is nothing to do.
const NEVER: Duration = Duration::from_hours(24);

/// What the keeper and its callers share.
#[derive(Debug)]
pub(super) struct Kept {
    pub(super) way: Way,
    /// Known where orphans fall to this process: as a subreaper, or as the first of its PID namespace.
    pub(super) leaders: Option<Leaders>,
    pub(super) instance: String,
    pub(super) survivors: Survivors,
    pub(super) desk: Desk,
}

/// The thread. It is told to stop, and waited for, when this is dropped.
#[derive(Debug)]
pub(super) struct Keeper {
    kept: Arc<Kept>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// Begins to look after `kept`.
    pub(super) fn start(kept: &Arc<Kept>) -> io::Result<Self> {
        let (ready, is_ready) = mpsc::sync_channel(1);
        let shared = Arc::clone(kept);
        let thread = thread::Builder::new()
            .name("remex-keeper".into())
            .spawn(move || {
                match Work::begin(&shared) {
                    Ok(mut work) => {
                        let _ = ready.send(Ok(()));
                        work.run();
                    }
                    Err(error) => drop(ready.send(Err(error))),
                }
                shared.desk.ended();
            })?;
        let keeper = Self {
            kept: Arc::clone(kept),
            thread: Some(thread),
        };
        let begun = is_ready.recv();
        begun.unwrap_or_else(|_| Err(io::ErrorKind::BrokenPipe.into()))?;
        Ok(keeper)
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.kept.desk.stop();
        if self.kept.desk.has_ended(STOP_BOUND) {
            // It only has to return.
            let _ = self.thread.take().map(JoinHandle::join);
        } else {
            // Something holds it up, in the kernel. It must not be the last to have what the two share, since it may have
            // a table of descriptors of its own.
            mem::forget(Arc::clone(&self.kept));
        }
    }
}

/// What the thread has in hand.
struct Work<'a> {
    kept: &'a Kept,
    eraser: File,
    /// In the sweep.
    scanner: Option<Scanner>,
    /// With cgroups, to tell what the kernel holds.
    table: Option<ProcessTable>,
    /// Groups that are about to go.
    going: Vec<Going>,
    /// Groups in which something lives on.
    behind: VecDeque<(PathBuf, Option<Slot>)>,
    unreaped: Vec<Unreaped>,
    abandoned: Vec<Abandoned>,
    tick: Instant,
    pass: Instant,
}

struct Going {
    path: PathBuf,
    slot: Option<Slot>,
    tries: u32,
}

struct Unreaped {
    pid: i32,
    tries: u32,
}

struct Abandoned {
    sweep: Arc<Sweep>,
    until: Instant,
}

impl<'a> Work<'a> {
    fn begin(kept: &'a Kept) -> io::Result<Self> {
        let is_sweep = matches!(kept.way, Way::Sweep { .. });
        if is_sweep {
            // In the process's own table it may lack a descriptor, but does the same. Said by nobody: it is no failure.
            // SAFETY: whoever started this thread waits for it to begin, with the table; and what passes between the two,
            // `Kept` and `Sweep`, holds descriptors in `Survivors` alone, which this thread uses through an eraser.
            let _ = unsafe { descriptors::unshare() };
        }
        let table = ProcessTable::open();
        let (scanner, table) = if is_sweep {
            (Some(Scanner::new(&kept.instance, table?)), None)
        } else {
            (None, table.ok())
        };
        let now = Instant::now();
        Ok(Self {
            kept,
            eraser: kept.survivors.eraser()?,
            scanner,
            table,
            going: Vec::new(),
            behind: VecDeque::new(),
            unreaped: Vec::new(),
            abandoned: Vec::new(),
            tick: now,
            pass: now,
        })
    }

    fn run(&mut self) {
        loop {
            let papers = self.kept.desk.wait(self.due());
            let is_stopping = papers.is_stopping;
            self.take_in(papers);
            self.scan();
            self.remove();
            self.reap();
            if is_stopping {
                return self.look_after_all();
            }
            if Instant::now() >= self.tick {
                self.tick();
            }
        }
    }

    /// When there is something to do, if nobody asks for anything.
    fn due(&self) -> Instant {
        let now = Instant::now();
        let is_eager = self.going.iter().any(|going| going.tries < EAGER_TRIES)
            || self
                .unreaped
                .iter()
                .any(|leader| leader.tries < EAGER_TRIES);
        let is_idle = self.kept.leaders.is_none()
            && self.going.is_empty()
            && self.behind.is_empty()
            && self.unreaped.is_empty();
        let tick = if is_idle { now + NEVER } else { self.tick };
        let eager = if is_eager { now + BATCH } else { tick };
        let pass = if self.is_scanning() { self.pass } else { tick };
        tick.min(eager).min(pass)
    }

    /// Whether the scanner has a pass to make; then its trees need not tell when more is asked of them.
    fn is_scanning(&self) -> bool {
        let Some(scanner) = &self.scanner else {
            return false;
        };
        // In this order: what is asked before the one is seen by the other.
        self.kept.desk.set_scanning(false);
        let is_scanning = scanner.is_asked();
        self.kept.desk.set_scanning(is_scanning);
        is_scanning
    }

    fn take_in(&mut self, papers: Papers) {
        if let (Way::Cgroup(hierarchy), true) = (&self.kept.way, papers.is_low) {
            hierarchy.refill();
        }
        for tree in papers.asked {
            match (tree, &mut self.scanner) {
                (Tree::Cgroup(group), _) => group.answer(self.table.as_ref()),
                (Tree::Sweep(sweep), Some(scanner)) => scanner.take_up(sweep),
                (Tree::Sweep(_), None) | (Tree::Descent(_), _) => {}
            }
        }
        for left in papers.left {
            match left {
                Left::Group { group, slot } => self.going.push(Going {
                    path: group.path().to_owned(),
                    slot,
                    tries: 0,
                }),
                Left::Path { path, slot: None } => self.going.push(Going {
                    path,
                    slot: None,
                    tries: 0,
                }),
                Left::Path { path, slot } => self.behind.push_back((path, slot)),
                Left::Sweep { sweep, slot } => {
                    if let Some(scanner) = &mut self.scanner {
                        scanner.watch(&sweep, slot);
                    }
                }
            }
        }
        let until = Instant::now() + ABANDONED_BOUND;
        for sweep in papers.abandoned {
            self.abandoned.push(Abandoned { sweep, until });
        }
        let unreaped = papers.unreaped.into_iter();
        self.unreaped
            .extend(unreaped.map(|pid| Unreaped { pid, tries: 0 }));
    }

    /// A pass, if one is due.
    fn scan(&mut self) {
        let (Some(scanner), Some(leaders)) = (&mut self.scanner, &self.kept.leaders) else {
            return;
        };
        // Where nothing lives that has lost its leader, nothing has been left behind.
        if scanner.has_news() && !leaders.reap_orphans() {
            for slot in scanner.forget_left() {
                self.kept.survivors.forget(&self.eraser, slot);
            }
        }
        let begun = Instant::now();
        if begun < self.pass || !scanner.is_asked() {
            return;
        }
        scanner.pass(leaders);
        let took = begun.elapsed();
        self.pass = Instant::now() + took.max(PASS_PAUSE);
        leaders.reap_orphans();
        for Abandoned { sweep, .. } in self.abandoned.extract_if(.., |tree| {
            tree.sweep.look() == TreeLook::Gone || tree.until <= begun
        }) {
            sweep.end();
            let pid = sweep.leader();
            self.unreaped.push(Unreaped { pid, tries: 0 });
        }
    }

    /// Removes the groups that are about to go.
    fn remove(&mut self) {
        self.going.retain_mut(|going| {
            going.tries += 1;
            if group::remove(&going.path) {
                if let Some(slot) = going.slot {
                    self.kept.survivors.forget(&self.eraser, slot);
                }
                return false;
            }
            if going.tries > EAGER_TRIES {
                let path = mem::take(&mut going.path);
                self.behind.push_back((path, going.slot));
                return false;
            }
            true
        });
    }

    fn reap(&mut self) {
        let leaders = self.kept.leaders.as_ref();
        self.unreaped.retain_mut(|leader| {
            leader.tries = leader.tries.saturating_add(1);
            !match leaders {
                None => leaders::reap(leader.pid),
                Some(leaders) => leaders.reap_by_pid(leader.pid),
            }
        });
    }

    /// Looks after what was left behind.
    fn tick(&mut self) {
        let begun = Instant::now();
        self.look_after_groups(LOOKS_A_TICK);
        if let Some(leaders) = &self.kept.leaders {
            let have_orphans = leaders.reap_orphans();
            self.look_after_trees(have_orphans);
        }
        let pause = begun.elapsed() * IDLE_SHARE;
        self.tick = Instant::now() + pause.max(TICK);
    }

    /// What lived on and has ended since leaves nothing behind.
    fn look_after_all(&mut self) {
        self.behind
            .extend(self.going.drain(..).map(|going| (going.path, going.slot)));
        self.look_after_groups(usize::MAX);
        if let Some(leaders) = &self.kept.leaders {
            let have_orphans = leaders.reap_orphans();
            self.look_after_trees(have_orphans);
        }
    }

    fn look_after_groups(&mut self, most: usize) {
        for _ in 0..self.behind.len().min(most) {
            let Some((path, slot)) = self.behind.pop_front() else {
                return;
            };
            if !group::remove(&path) {
                self.behind.push_back((path, slot));
            } else if let Some(slot) = slot {
                self.kept.survivors.forget(&self.eraser, slot);
            }
        }
    }

    fn look_after_trees(&mut self, have_orphans: bool) {
        let Some(scanner) = &mut self.scanner else {
            return;
        };
        let gone = if have_orphans {
            scanner.look_after_left()
        } else {
            scanner.forget_left()
        };
        for slot in gone {
            self.kept.survivors.forget(&self.eraser, slot);
        }
    }
}
