//! The memory that all replies share, those that are still on their way from the server among them. A running command has a
//! little in any case, so that none waits for another; what does not get more goes to the spool.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

/// The bound, and what is taken of it. Clones share it.
#[derive(Debug, Clone)]
pub struct Memory(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    most_bytes: usize,
    used_bytes: AtomicUsize,
}

/// What one buffer takes. It is given back when this is dropped.
#[derive(Debug)]
pub struct Lease {
    memory: Memory,
    bytes: usize,
}

impl Memory {
    /// Up to `most_bytes` at once.
    pub fn new(most_bytes: usize) -> Self {
        Self(Arc::new(Shared {
            most_bytes,
            used_bytes: AtomicUsize::new(0),
        }))
    }

    /// Bytes that are taken now.
    pub fn used_bytes(&self) -> usize {
        self.0.used_bytes.load(Ordering::Relaxed)
    }

    /// A lease of nothing yet.
    pub(super) fn lease(&self) -> Lease {
        Lease {
            memory: self.clone(),
            bytes: 0,
        }
    }
}

impl Lease {
    /// Takes `bytes` in all, whether or not there is room: for what a running command has in any case, and for what is there.
    pub(super) fn insist(&mut self, bytes: usize) {
        let used = &self.memory.0.used_bytes;
        match bytes.checked_sub(self.bytes) {
            Some(more) => used.fetch_add(more, Ordering::Relaxed),
            None => used.fetch_sub(self.bytes - bytes, Ordering::Relaxed),
        };
        self.bytes = bytes;
    }

    /// Takes `bytes` in all, if there is room; less than before is always had.
    pub(super) fn resize(&mut self, bytes: usize) -> bool {
        let shared = &self.memory.0;
        if let Some(more) = bytes.checked_sub(self.bytes) {
            let take = |used: usize| {
                used.checked_add(more)
                    .filter(|used| more == 0 || *used <= shared.most_bytes)
            };
            if shared
                .used_bytes
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take)
                .is_err()
            {
                return false;
            }
        } else {
            let less = self.bytes - bytes;
            shared.used_bytes.fetch_sub(less, Ordering::Relaxed);
        }
        self.bytes = bytes;
        true
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.memory
            .0
            .used_bytes
            .fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leases_share_one_bound_and_give_back() {
        let memory = Memory::new(10);
        let (mut one, mut two) = (memory.lease(), memory.lease());
        assert!(one.resize(6) && !two.resize(5) && two.resize(4));
        assert_eq!(memory.used_bytes(), 10);
        assert!(!one.resize(7) && one.resize(6) && one.resize(2) && two.resize(8));
        one.insist(5);
        assert_eq!(memory.used_bytes(), 13);
        assert!(!two.resize(9) && two.resize(7) && !two.resize(8));
        drop(one);
        assert!(two.resize(8));
        assert_eq!(memory.used_bytes(), 8);
        drop(two);
        assert_eq!(memory.used_bytes(), 0);
    }
}
