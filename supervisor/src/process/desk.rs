//! Where the keeper finds its work. Whoever puts something down does not wait.

use std::{
    mem,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use super::{group::Group, survivors::Slot, sweep::Sweep, tree::Tree};

/// What commands leave is taken away in one go with what others leave meanwhile.
pub(super) const BATCH: Duration = Duration::from_millis(10);

/// What callers put down for the keeper.
#[derive(Debug)]
pub(super) struct Desk {
    papers: Mutex<Papers>,
    bell: Condvar,
}

#[derive(Debug, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a request of its own"
)]
pub(super) struct Papers {
    /// Trees that something is asked of. What it is, they say themselves.
    pub(super) asked: Vec<Tree>,
    /// Something is asked of one that the scanner has already.
    is_rung: bool,
    pub(super) left: Vec<Left>,
    /// Trees of the sweep that were killed and that nobody supervises any more.
    pub(super) abandoned: Vec<Arc<Sweep>>,
    /// Leaders that have not ended yet.
    pub(super) unreaped: Vec<i32>,
    /// It is time to make more groups ahead of need.
    pub(super) is_low: bool,
    pub(super) is_stopping: bool,
    /// The scanner will look at all that is asked of its trees, without being told.
    is_scanning: bool,
    has_ended: bool,
}

/// A tree whose supervision is over.
#[derive(Debug)]
pub(super) enum Left {
    /// A group, which is to go. Something in it may live on.
    Group {
        group: Arc<Group>,
        slot: Option<Slot>,
    },
    /// A group by its path: one of the instance before this one, or of a durable execution.
    Path { path: PathBuf, slot: Option<Slot> },
    /// A tree of the sweep. Something of it may live on.
    Sweep { sweep: Arc<Sweep>, slot: Slot },
}

impl Desk {
    /// With what the instance before this one let live on.
    pub(super) fn new(left: Vec<Left>) -> Self {
        Self {
            papers: Mutex::new(Papers {
                left,
                ..Papers::default()
            }),
            bell: Condvar::new(),
        }
    }

    /// Something is asked of `tree`.
    pub(super) fn ask(&self, tree: &Tree) {
        let mut papers = self.lock();
        match tree {
            Tree::Sweep(sweep) if sweep.is_taken_up() => {
                if papers.is_scanning {
                    return;
                }
                papers.is_rung = true;
            }
            Tree::Sweep(_) | Tree::Cgroup(_) => papers.asked.push(tree.clone()),
            // Whoever runs it alone has no keeper.
            Tree::Descent(_) => {}
        }
        self.bell.notify_all();
    }

    /// The supervision of a tree is over.
    pub(super) fn leave(&self, left: Left) {
        let mut papers = self.lock();
        papers.left.push(left);
        if papers.left.len() == 1 {
            self.bell.notify_all();
        }
    }

    /// The leader `pid` is to be reaped when it has ended.
    pub(super) fn reap(&self, pid: i32) {
        let mut papers = self.lock();
        papers.unreaped.push(pid);
        if papers.unreaped.len() == 1 {
            self.bell.notify_all();
        }
    }

    /// A tree that was killed is to be gone, and then its leader to be reaped.
    pub(super) fn bury_with(&self, sweep: Arc<Sweep>) {
        self.lock().abandoned.push(sweep);
        self.bell.notify_all();
    }

    /// It is time to make more groups ahead of need.
    pub(super) fn refill(&self) {
        let mut papers = self.lock();
        if !papers.is_low {
            papers.is_low = true;
            self.bell.notify_all();
        }
    }

    /// Whether the scanner looks at all that is asked of its trees, without being told.
    pub(super) fn set_scanning(&self, is_scanning: bool) {
        self.lock().is_scanning = is_scanning;
    }

    /// Waits until there is something to do, at most until `until`. What was left waits a little for more of it.
    pub(super) fn wait(&self, mut until: Instant) -> Papers {
        let mut papers = self.lock();
        let mut is_batching = false;
        loop {
            let now = Instant::now();
            if papers.is_urgent() || now >= until {
                break;
            }
            let is_begun = !papers.left.is_empty() || !papers.unreaped.is_empty();
            if is_begun && !is_batching {
                is_batching = true;
                until = until.min(now + BATCH);
            }
            let waited = self.bell.wait_timeout(papers, until - now);
            papers = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let kept = Papers {
            is_stopping: papers.is_stopping,
            is_scanning: papers.is_scanning,
            ..Papers::default()
        };
        mem::replace(&mut papers, kept)
    }

    /// Tells the keeper to end.
    pub(super) fn stop(&self) {
        self.lock().is_stopping = true;
        self.bell.notify_all();
    }

    /// The keeper has ended.
    pub(super) fn ended(&self) {
        self.lock().has_ended = true;
        self.bell.notify_all();
    }

    /// Whether the keeper has ended, for which it gets `patience`.
    pub(super) fn has_ended(&self, patience: Duration) -> bool {
        let waited = self
            .bell
            .wait_timeout_while(self.lock(), patience, |papers| !papers.has_ended);
        waited.unwrap_or_else(PoisonError::into_inner).0.has_ended
    }

    fn lock(&self) -> MutexGuard<'_, Papers> {
        self.papers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Papers {
    fn is_urgent(&self) -> bool {
        self.is_stopping
            || self.is_low
            || self.is_rung
            || !self.asked.is_empty()
            || !self.abandoned.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn far() -> Instant {
        Instant::now() + Duration::from_hours(1)
    }

    #[test]
    fn what_is_urgent_is_not_waited_for_and_what_was_left_only_a_little() {
        let desk = Desk::new(Vec::new());
        desk.reap(7);
        assert_eq!(desk.wait(far()).unreaped, [7]);
        desk.refill();
        assert!(desk.wait(far()).is_low);
        assert!(!desk.wait(Instant::now()).is_low);
        desk.stop();
        assert!(desk.wait(far()).is_stopping);
        assert!(desk.wait(far()).is_stopping);
        assert!(!desk.has_ended(Duration::ZERO));
        desk.ended();
        assert!(desk.has_ended(Duration::from_mins(1)));
    }

    #[test]
    fn a_scanner_that_looks_anyway_is_not_told() {
        let desk = Desk::new(Vec::new());
        let sweep = Arc::new(Sweep::new(i32::MAX, "i.1".into()));
        let tree = Tree::Sweep(Arc::clone(&sweep));
        desk.ask(&tree);
        assert_eq!(desk.wait(far()).asked.len(), 1);
        sweep.take_up();
        desk.set_scanning(true);
        desk.ask(&tree);
        assert!(!desk.lock().is_urgent());
        desk.set_scanning(false);
        desk.ask(&tree);
        let papers = desk.wait(far());
        assert!(papers.is_rung && papers.asked.is_empty());
    }
}
