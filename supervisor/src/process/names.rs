//! Asks the user database, which may be a server far away that does not answer, on a few threads of its own.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::Instant,
};

use super::{error::StartError, user::User};

/// Most questions that are asked at a time.
const MAX_THREADS: usize = 4;

/// Most questions that wait for their turn.
const MAX_WAITING: usize = 256;

/// Finds a user by what it was asked for as.
type Find = fn(&str) -> Result<User, StartError>;

/// Where questions are asked.
#[derive(Debug)]
pub(super) struct Names(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    find: Find,
    queue: Mutex<Queue>,
    asked: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<(String, Arc<Answer>)>,
    threads: usize,
    idle: usize,
    closed: bool,
}

/// A question that was asked.
#[derive(Debug)]
pub(super) struct Question(Arc<Answer>);

#[derive(Debug, Default)]
struct Answer {
    user: Mutex<Option<Result<User, StartError>>>,
    answered: Condvar,
}

impl Default for Names {
    /// The machine's user database is asked.
    fn default() -> Self {
        Self::asking(User::find)
    }
}

impl Names {
    fn asking(find: Find) -> Self {
        Self(Arc::new(Shared {
            find,
            queue: Mutex::default(),
            asked: Condvar::new(),
        }))
    }

    /// Asks who `text` is.
    pub(super) fn ask(&self, text: &str) -> Result<Question, StartError> {
        let answer = Arc::new(Answer::default());
        let mut queue = lock(&self.0.queue);
        if queue.waiting.len() >= MAX_WAITING {
            let busy = io::Error::other("it does not answer, and too many wait for it");
            return Err(StartError::resources("read the user database")(busy));
        }
        if queue.idle <= queue.waiting.len() && queue.threads < MAX_THREADS {
            let shared = Arc::clone(&self.0);
            let thread = thread::Builder::new().name("users".into());
            match thread.spawn(move || shared.answer()) {
                Ok(_) => queue.threads += 1,
                Err(error) if queue.threads == 0 => {
                    return Err(StartError::resources("make a thread")(error));
                }
                // Those that are there will do.
                Err(_) => {}
            }
        }
        queue
            .waiting
            .push_back((text.to_owned(), Arc::clone(&answer)));
        drop(queue);
        self.0.asked.notify_one();
        Ok(Question(answer))
    }
}

impl Drop for Names {
    /// Threads that wait for nothing end; others when they are answered.
    fn drop(&mut self) {
        lock(&self.0.queue).closed = true;
        self.0.asked.notify_all();
    }
}

impl Shared {
    /// A thread's life.
    fn answer(&self) {
        let mut queue = lock(&self.queue);
        while !queue.closed {
            let Some((text, answer)) = queue.waiting.pop_front() else {
                queue.idle += 1;
                queue = self
                    .asked
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner);
                queue.idle -= 1;
                continue;
            };
            drop(queue);
            // Nobody waits any more for a question that was given up.
            if Arc::strong_count(&answer) > 1 {
                let user = (self.find)(&text);
                *lock(&answer.user) = Some(user);
                answer.answered.notify_one();
            }
            queue = lock(&self.queue);
        }
    }
}

impl Question {
    /// The answer, if it comes by `until`.
    pub(super) fn wait(&self, until: Instant) -> Option<Result<User, StartError>> {
        let mut user = lock(&self.0.user);
        loop {
            if let Some(answer) = user.take() {
                return Some(answer);
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let waited = self.0.answered.wait_timeout(user, left);
            user = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{sync::RwLock, time::Duration};

    use super::*;

    /// While it is locked, the database does not answer.
    static HANGING: RwLock<()> = RwLock::new(());

    fn find_when_it_answers(text: &str) -> Result<User, StartError> {
        drop(HANGING.read());
        User::find(text)
    }

    #[test]
    fn a_database_that_hangs_has_a_few_threads_and_a_bounded_queue() {
        assert_eq!((MAX_THREADS, MAX_WAITING), (4, 256));
        let names = Names::asking(find_when_it_answers);
        let hanging = HANGING.write().unwrap();
        let mut questions: Vec<_> = (0..MAX_THREADS).map(|_| names.ask("0").unwrap()).collect();
        let patience = Instant::now() + Duration::from_secs(30);
        // Each thread has taken one.
        while !lock(&names.0.queue).waiting.is_empty() {
            assert!(Instant::now() < patience, "nobody asks");
            thread::yield_now();
        }
        questions.extend((0..MAX_WAITING).map(|_| names.ask("0").unwrap()));
        let refused = names.ask("0").unwrap_err();
        assert!(matches!(refused, StartError::Resources { .. }), "{refused}");
        assert_eq!(lock(&names.0.queue).threads, MAX_THREADS);
        assert!(questions[0].wait(Instant::now()).is_none());
        // Those that are given up are not asked any more.
        questions.truncate(MAX_THREADS + 1);
        drop(hanging);
        for question in questions {
            question.wait(patience).expect("an answer").unwrap();
        }
    }

    #[test]
    fn many_questions_are_answered_by_few_threads() {
        let names = Names::default();
        let soon = Instant::now() + Duration::from_secs(30);
        let questions: Vec<_> = (0..100).map(|uid| names.ask(&format!("{uid}:7"))).collect();
        for (uid, question) in questions.into_iter().enumerate() {
            let user = question.unwrap().wait(soon).expect("an answer").unwrap();
            assert_eq!((user.uid as usize, user.gid), (uid, 7));
        }
        let unknown = names.ask("no-such-user-here").unwrap().wait(soon);
        assert!(matches!(
            unknown,
            Some(Err(StartError::UserNotFound { .. }))
        ));
        assert!(lock(&names.0.queue).threads <= MAX_THREADS);
    }
}
