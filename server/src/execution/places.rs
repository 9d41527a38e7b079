//! How many executions run, and how many may, which can be changed meanwhile.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The places of executions that run. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Places(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    taken: AtomicUsize,
    most: AtomicUsize,
}

/// One of them, which is free again when this is dropped.
#[derive(Debug)]
pub struct Place(Arc<Counts>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.taken.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Places {
    /// This many.
    pub(crate) fn new(most: usize) -> Self {
        Self(Arc::new(Counts {
            taken: AtomicUsize::new(0),
            most: AtomicUsize::new(most),
        }))
    }

    /// One, if one is free.
    pub(crate) fn take(&self) -> Option<Place> {
        let most = self.most();
        let one_more = |taken: usize| (taken < most).then_some(taken + 1);
        let taken = &self.0.taken;
        let took = taken.fetch_update(Ordering::AcqRel, Ordering::Acquire, one_more);
        took.is_ok().then(|| Place(Arc::clone(&self.0)))
    }

    /// There are this many from now on. Where more are taken, those that run, run on.
    pub(crate) fn set_most(&self, most: usize) {
        self.0.most.store(most, Ordering::Release);
    }

    /// How many there are.
    pub(crate) fn most(&self) -> usize {
        self.0.most.load(Ordering::Acquire)
    }

    /// How many are taken.
    pub(crate) fn taken(&self) -> usize {
        self.0.taken.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_taken_than_there_are() {
        let places = Places::new(2);
        let (one, two) = (places.take(), places.take());
        assert!(one.is_some() && two.is_some() && places.take().is_none());
        drop(one);
        assert_eq!((places.taken(), places.take().is_some()), (1, true));
    }

    #[test]
    fn fewer_end_nothing_and_more_are_there_at_once() {
        let places = Places::new(2);
        let (one, two) = (places.take(), places.take());
        places.set_most(1);
        assert!(places.take().is_none());
        drop(two);
        assert!(places.take().is_none());
        drop(one);
        assert!(places.take().is_some());
        places.set_most(3);
        let all: Vec<_> = (0..4).filter_map(|_| places.take()).collect();
        assert_eq!((all.len(), places.most(), places.taken()), (3, 3, 3));
    }
}
