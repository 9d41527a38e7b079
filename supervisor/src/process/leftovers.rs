//! What became of the instance before this one: what a crash has left of it is killed, what was to live on is left alone.
//!
//! The way that an instance took is written into the state folder, beside the names of the trees that are meant to live on,
//! so that the next start knows where to look.

use std::{fs, io, path::Path, sync::Arc};

use super::{
    desk::Left,
    hierarchy, scanner,
    survivors::{self, Slot},
    sweep::Sweep,
    table::ProcessTable,
    way::Way,
};

/// The file in the state folder that says which way the instance took: the folder of its cgroups, or nothing.
const WAY_FILE: &str = "containment";

/// Writes down which way this instance takes.
pub(super) fn record(way: &Way, state_dir: &Path) -> io::Result<()> {
    let record = match way {
        Way::Cgroup(hierarchy) => hierarchy.base().to_string_lossy().into_owned(),
        Way::Sweep { .. } => String::new(),
    };
    let draft = state_dir.join(format!("{WAY_FILE}.new"));
    fs::write(&draft, record)?;
    fs::rename(draft, state_dir.join(WAY_FILE))
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
    let (killed, are_gone) = match fs::read(&path) {
        Ok(record) if record.is_empty() => by_tag(),
        Ok(record) => match std::str::from_utf8(&record).map(Path::new) {
            Ok(base) if hierarchy::is_base(base, instance) => by_group(base),
            _ => {
                survivors::set_aside(&path)?;
                either(instance, by_group, by_tag)
            }
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => (0, true),
        Err(_) => {
            survivors::set_aside(&path)?;
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
