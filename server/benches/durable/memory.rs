//! What processes take of memory.

use std::fs;

use crate::support::Outcome;

/// What a supervisor is called, whose executable is remexd's.
const SUPERVISOR: &str = "remex-execution";

/// Bytes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) resident: u64,
    /// That no other process has.
    pub(crate) private: u64,
    pub(crate) page_tables: u64,
}

impl Memory {
    pub(crate) fn of(pid: u32) -> Outcome<Self> {
        let smaps = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        Ok(Self {
            resident: bytes(&smaps, "Rss:")?,
            private: bytes(&smaps, "Private_Clean:")? + bytes(&smaps, "Private_Dirty:")?,
            page_tables: bytes(&status, "VmPTE:")?,
        })
    }
}

fn bytes(text: &str, key: &str) -> Outcome<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let kib = line.and_then(|line| line.split_whitespace().next());
    Ok(kib.ok_or("no such line")?.parse::<u64>()? * 1024)
}

/// The supervisors that the remexd of this pid has made, by way of its zygote.
pub(crate) fn supervisors(remexd: u32) -> Outcome<Vec<u32>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Ok(pid) = entry?.file_name().to_string_lossy().parse() else {
            continue;
        };
        // One that has ended meanwhile has nothing to read.
        if let Some((SUPERVISOR, parent)) = name_and_parent(pid)
            .as_ref()
            .map(|(name, parent)| (name.as_str(), *parent))
            && (parent == remexd || name_and_parent(parent).is_some_and(|(_, of)| of == remexd))
        {
            found.push(pid);
        }
    }
    Ok(found)
}

fn name_and_parent(pid: u32) -> Option<(String, u32)> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (before, after) = stat.rsplit_once(") ")?;
    let (_, name) = before.split_once('(')?;
    let parent = after.split_whitespace().nth(1)?.parse().ok()?;
    Some((name.to_owned(), parent))
}
