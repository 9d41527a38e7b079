//! The fallback where cgroup v2 cannot be written: a tree is known by its leader's session, by descent, and by a tag in
//! the environment. The server is a subreaper, so that orphans become its own children and stay in its sight.
//!
//! What is asked of a tree is written down here, at once; the `scanner` does it, for all trees in one pass.
//!
//! What it cannot do: a process that clears its environment, leaves its session and loses its parent is out of sight.

use std::{
    mem,
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    signal,
    table::{State, TreeLook},
};

/// Passes in a row that find nothing, after which a tree counts as gone: one alone may have looked while a process forked.
pub(super) const PASSES: u32 = 2;

/// How long a tree that is killed stands stopped, so that the scanner can see who descends from whom; then its leader and
/// its process group are killed without.
const STOP_PATIENCE: Duration = Duration::from_millis(200);

/// One execution's tree, and what is asked of it.
#[derive(Debug)]
pub(super) struct Sweep {
    leader: i32,
    tag: String,
    is_taken_up: AtomicBool,
    asked: Mutex<Asked>,
}

#[derive(Debug)]
struct Asked {
    /// To be sent, each once.
    signals: Vec<i32>,
    killing: Option<Instant>,
    look: bool,
    /// How many requests there were. A pass answers only those that came before it.
    requests: u64,
    empty_passes: u32,
    verdict: TreeLook,
    is_over: bool,
}

/// What the scanner is to do about a tree in one pass.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Job {
    pub(super) signals: Vec<i32>,
    pub(super) kill: bool,
    requests: u64,
}

impl Sweep {
    /// The tree of `leader`, tagged `instance.execution`.
    pub(super) fn new(leader: i32, tag: String) -> Self {
        Self {
            leader,
            tag,
            is_taken_up: AtomicBool::new(false),
            asked: Mutex::new(Asked {
                signals: Vec::new(),
                killing: None,
                look: false,
                requests: 0,
                empty_passes: 0,
                verdict: TreeLook::Alive,
                is_over: false,
            }),
        }
    }

    pub(super) fn leader(&self) -> i32 {
        self.leader
    }

    pub(super) fn tag(&self) -> &str {
        &self.tag
    }

    /// The execution's id, as the tag has it.
    pub(super) fn execution(&self) -> &str {
        self.tag.rsplit_once('.').map_or(&*self.tag, |(_, id)| id)
    }

    /// The scanner takes it up; `false`: it has it already.
    pub(super) fn take_up(&self) -> bool {
        !self.is_taken_up.swap(true, Ordering::Relaxed)
    }

    /// Whether the scanner has it.
    pub(super) fn is_taken_up(&self) -> bool {
        self.is_taken_up.load(Ordering::Relaxed)
    }

    /// Asks for a signal to all of it.
    pub(super) fn signal(&self, number: i32) {
        let mut asked = self.lock();
        // As the kernel has it: one that is pending already is sent once.
        asked.signals.retain(|&other| other != number);
        asked.signals.push(number);
        asked.renew();
    }

    /// Stops its process group, so that the scanner finds the tree as it is, and asks for its end. Where the scanner is
    /// late, a repeated call kills the leader and the group at once.
    pub(super) fn kill(&self) {
        let mut asked = self.lock();
        let number = match asked.killing {
            None => {
                asked.killing = Some(Instant::now());
                asked.renew();
                libc::SIGSTOP
            }
            Some(since) if since.elapsed() < STOP_PATIENCE => return,
            Some(_) => libc::SIGKILL,
        };
        drop(asked);
        // An error says that nothing is left in it.
        let _ = signal::group(self.leader, number);
    }

    /// What the last pass has found, and asks for another; `Alive` as long as there was none since the last request.
    pub(super) fn look(&self) -> TreeLook {
        let mut asked = self.lock();
        asked.look = asked.verdict != TreeLook::Gone;
        asked.verdict
    }

    /// Nothing is done about it any more.
    pub(super) fn end(&self) {
        self.lock().is_over = true;
    }

    /// Whether its supervision is over.
    pub(super) fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// Whether a pass has something to do about it.
    pub(super) fn is_asked(&self) -> bool {
        let asked = self.lock();
        let is_killing = asked.killing.is_some() && asked.verdict != TreeLook::Gone;
        !asked.is_over && (is_killing || asked.look || !asked.signals.is_empty())
    }

    /// Takes what is to be done in the pass that begins now.
    pub(super) fn begin_pass(&self) -> Job {
        let mut asked = self.lock();
        if asked.is_over {
            return Job::default();
        }
        Job {
            signals: mem::take(&mut asked.signals),
            kill: asked.killing.is_some(),
            requests: asked.requests,
        }
    }

    /// Takes in what the pass has found alive, if it has seen all there was.
    pub(super) fn end_pass(&self, job: &Job, alive: Option<&[State]>) {
        let mut asked = self.lock();
        if asked.requests != job.requests {
            return;
        }
        (asked.verdict, asked.empty_passes) = match alive {
            Some([]) if asked.empty_passes + 1 >= PASSES => (TreeLook::Gone, PASSES),
            Some([]) => (TreeLook::Alive, asked.empty_passes + 1),
            Some(states) if states.iter().all(|&state| state == State::Held) => (TreeLook::Held, 0),
            Some(_) | None => (TreeLook::Alive, 0),
        };
        // One that was found empty is looked at again unasked.
        asked.look &= asked.verdict == TreeLook::Alive && asked.empty_passes > 0;
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Asked {
    /// Takes note of a request that changes the tree.
    fn renew(&mut self) {
        self.requests += 1;
        self.empty_passes = 0;
        self.verdict = TreeLook::Alive;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A number that no process has.
    const NOBODY: i32 = i32::MAX;

    fn pass(sweep: &Sweep, alive: Option<&[State]>) {
        let job = sweep.begin_pass();
        sweep.end_pass(&job, alive);
    }

    #[test]
    fn a_tree_is_gone_after_two_passes_in_a_row_that_saw_all_and_found_nothing() {
        let sweep = Sweep::new(NOBODY, "i.1".into());
        assert!(!sweep.is_asked());
        assert_eq!(sweep.look(), TreeLook::Alive);
        for alive in [
            Some(&[][..]),
            Some(&[State::Alive][..]),
            Some(&[]),
            // /proc could not be read.
            None,
            Some(&[]),
        ] {
            assert_ne!(sweep.look(), TreeLook::Gone, "before {alive:?}");
            pass(&sweep, alive);
        }
        assert_eq!(sweep.look(), TreeLook::Alive);
        pass(&sweep, Some(&[]));
        assert_eq!(sweep.look(), TreeLook::Gone);
        assert!(!sweep.is_asked());
    }

    #[test]
    fn a_pass_that_began_before_a_kill_says_nothing_about_it() {
        let sweep = Sweep::new(NOBODY, "i.1".into());
        sweep.look();
        pass(&sweep, Some(&[]));
        let before = sweep.begin_pass();
        sweep.kill();
        sweep.end_pass(&before, Some(&[]));
        assert_eq!(sweep.look(), TreeLook::Alive);
        pass(&sweep, Some(&[]));
        // A repeated kill is the same kill.
        sweep.kill();
        pass(&sweep, Some(&[]));
        assert_eq!(sweep.look(), TreeLook::Gone);
    }

    #[test]
    fn pitfall_68_a_tree_is_held_when_all_of_it_was_seen_to_be() {
        let sweep = Sweep::new(NOBODY, "i.1".into());
        pass(&sweep, Some(&[State::Held, State::Alive]));
        assert_eq!(sweep.look(), TreeLook::Alive);
        pass(&sweep, Some(&[State::Held, State::Held]));
        assert_eq!(sweep.look(), TreeLook::Held);
        pass(&sweep, None);
        assert_eq!(sweep.look(), TreeLook::Alive);
    }

    #[test]
    fn signals_are_taken_once_and_in_order() {
        let sweep = Sweep::new(NOBODY, "i.1".into());
        for number in [libc::SIGSTOP, libc::SIGTERM, libc::SIGCONT, libc::SIGTERM] {
            sweep.signal(number);
        }
        assert!(sweep.is_asked());
        let job = sweep.begin_pass();
        assert_eq!(job.signals, [libc::SIGSTOP, libc::SIGCONT, libc::SIGTERM]);
        assert_eq!(sweep.begin_pass().signals, []);
        sweep.signal(libc::SIGTERM);
        sweep.end();
        assert!(!sweep.is_asked());
        assert_eq!(sweep.begin_pass(), Job::default());
    }
}
