//! Memory that many share: what is taken of it is given back when its share is dropped.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// A number of bytes that many share. Cheap to clone; clones share it.
#[derive(Debug, Clone)]
pub struct Budget(Arc<AtomicUsize>);

/// What one of them has taken.
#[derive(Debug)]
pub struct Share {
    budget: Budget,
    bytes: usize,
}

impl Budget {
    /// All of `bytes` is free.
    pub fn new(bytes: usize) -> Self {
        Self(Arc::new(AtomicUsize::new(bytes)))
    }

    /// Nothing yet.
    pub fn share(&self) -> Share {
        Share {
            budget: self.clone(),
            bytes: 0,
        }
    }

    /// What is free.
    pub fn free(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

impl Share {
    /// How many were taken.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes `bytes` more, or what is left; returns how many.
    pub fn grow(&mut self, bytes: usize) -> usize {
        let mut taken = 0;
        // The closure always answers with a value, so this never fails.
        let _ = self
            .budget
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |free| {
                taken = free.min(bytes);
                Some(free - taken)
            });
        self.bytes += taken;
        taken
    }

    /// What `other` has taken, too.
    pub fn absorb(&mut self, mut other: Self) {
        self.bytes += std::mem::take(&mut other.bytes);
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.budget.0.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is_and_all_of_it_comes_back() {
        let budget = Budget::new(10);
        let (mut one, mut two) = (budget.share(), budget.share());
        assert_eq!(one.grow(7), 7);
        assert_eq!(two.grow(7), 3);
        assert_eq!(one.grow(1), 0);
        drop(one);
        assert_eq!(two.grow(7), 7);
        drop(two);
        assert_eq!(budget.free(), 10);
    }
}
