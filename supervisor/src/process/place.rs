//! The place of a tree: a cgroup or a tag, made before the command is spawned into it.

use std::{os::fd::BorrowedFd, sync::Arc};

use super::{group::Fresh, leader::Leader, sweep::Sweep, tree::Tree};

/// A place for a tree that is about to be spawned.
#[derive(Debug)]
pub(super) enum Place {
    Cgroup(Fresh),
    /// The tag.
    Sweep(String),
}

impl Place {
    /// For clone3, which has a child born in it.
    pub(super) fn cgroup(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Cgroup(fresh) => Some(fresh.fd()),
            Self::Sweep(_) => None,
        }
    }

    /// The tree of `leader`, which was spawned here.
    pub(super) fn into_tree(self, leader: &Leader) -> Tree {
        match self {
            Self::Cgroup(fresh) => Tree::Cgroup(Arc::new(fresh.into_group())),
            Self::Sweep(tag) => Tree::Sweep(Arc::new(Sweep::new(leader.pid(), tag))),
        }
    }
}
