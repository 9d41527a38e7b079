//! What became of the instance before this one: what a crash has left of it is killed, what was to live on is left alone.
//!
//! The way that an instance took is written into the state folder, beside the names of the trees that are meant to live on,
//! so that the next start knows where to look.

use std::{
    ffi::OsString,
    io,
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    desk::Left, hierarchy, scanner, survivors::Slot, sweep::Sweep, table::ProcessTable, way::Way,
};
use crate::state_file;

/// The file in the state folder that says which way the instance took: the folder of its cgroups, or [`SWEEP`].
const WAY_FILE: &str = "containment";

/// A word, since an empty file is what a crash may have left.
const SWEEP: &str = "sweep";

/// The longest path that the kernel takes.
const MAX_WAY_BYTES: usize = libc::PATH_MAX as usize;

/// Writes down which way this instance takes.
pub(super) fn record(way: &Way, state_dir: &Path) -> io::Result<()> {
    let record = match way {
        Way::Cgroup(hierarchy) => hierarchy.base().to_string_lossy().into_owned(),
        Way::Sweep { .. } => SWEEP.to_owned(),
    };
    state_file::replace(&state_dir.join(WAY_FILE), record.as_bytes())
}

/// Kills what the instance before this one has left, whichever way it took. Where its record is damaged, it may have taken
/// either.
pub(super) fn kill(
    instance: &str,
    state_dir: &Path,
    names: &[(String, Slot)],
) -> io::Result<usize> {
    let path = state_dir.join(WAY_FILE);
    let keep = |name: &str| names.iter().any(|(kept, _)| kept == name);
    let by_group = |base: &Path| hierarchy::kill_leftovers(base, keep);
    let by_tag = || match ProcessTable::open() {
        Ok(table) => scanner::kill_leftovers(instance, &table, keep),
        Err(_) => (0, false),
    };
    let record = state_file::read(&path, MAX_WAY_BYTES);
    let (killed, are_gone) = match record.map(|bytes| bytes.map(into_path)) {
        Ok(None) => (0, true),
        Ok(Some(way)) if way == Path::new(SWEEP) => by_tag(),
        Ok(Some(base)) if hierarchy::is_base(&base, instance) => by_group(&base),
        Ok(Some(_)) => {
            state_file::set_aside(&path, &"it names no folder of cgroups")?;
            either(instance, by_group, by_tag)
        }
        Err(error) => {
            state_file::set_aside(&path, &error)?;
            either(instance, by_group, by_tag)
        }
    };
    if !are_gone {
        tracing::warn!(
            "something that a crash of the remexd before this one has left does not end of its KILL"
        );
    }
    Ok(killed)
}

fn into_path(bytes: Vec<u8>) -> PathBuf {
    OsString::from_vec(bytes).into()
}

fn either(
    instance: &str,
    by_group: impl FnOnce(&Path) -> (usize, bool),
    by_tag: impl FnOnce() -> (usize, bool),
) -> (usize, bool) {
    let base = hierarchy::likely_base(instance);
    let (groups, are_groups_gone) = base.map_or((0, true), |base| by_group(&base));
    let (processes, are_processes_gone) = by_tag();
    (groups + processes, are_groups_gone && are_processes_gone)
}

/// The trees that the instance before this one let live on, as far as this way can tell what becomes of them.
pub(super) fn adopt(way: &Way, instance: &str, names: Vec<(String, Slot)>) -> Vec<Left> {
    let left = names.into_iter().map(|(name, slot)| match way {
        Way::Cgroup(hierarchy) => Left::Path {
            path: hierarchy.base().join(name),
            slot: Some(slot),
        },
        // No pid is known any more; 0 is nobody's session.
        Way::Sweep { .. } => Left::Sweep {
            sweep: Arc::new(Sweep::new(0, format!("{instance}.{name}"))),
            slot,
        },
    });
    left.collect()
}
