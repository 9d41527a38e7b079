//! Limits under rules: what may be asked for, and what is forced. Pure.

use remex_supervisor::process::ResourceLimits;

use super::rule::Rule;

/// Whether `asked` is nowhere above `most`. A priority that nobody has named is not above the usual one.
pub(super) fn is_within(asked: &ResourceLimits, most: &ResourceLimits) -> bool {
    let within = |asked: Option<u64>, most: Option<u64>| match (asked, most) {
        (Some(asked), Some(most)) => asked <= most,
        _ => true,
    };
    within(asked.cpu_seconds, most.cpu_seconds)
        && within(asked.address_space_bytes, most.address_space_bytes)
        && within(asked.open_files, most.open_files)
        && within(asked.file_size_bytes, most.file_size_bytes)
        && within(asked.core_bytes, most.core_bytes)
        && within(asked.user_processes, most.user_processes)
        && within(asked.tree.memory_bytes, most.tree.memory_bytes)
        && within(asked.tree.processes, most.tree.processes)
        && asked
            .niceness
            .is_none_or(|asked| asked >= most.niceness.unwrap_or(0))
}

impl Rule {
    /// The limits of a command that asks for `asked`: what is forced, else what it asks for, else the most that it may.
    pub fn limits(&self, asked: &ResourceLimits) -> ResourceLimits {
        let (forced, most) = (&self.forces.limits, &self.what.at_most);
        let mut limits = *asked;
        limits.cpu_seconds = forced
            .cpu_seconds
            .or(asked.cpu_seconds)
            .or(most.cpu_seconds);
        limits.address_space_bytes = forced
            .address_space_bytes
            .or(asked.address_space_bytes)
            .or(most.address_space_bytes);
        limits.open_files = forced.open_files.or(asked.open_files).or(most.open_files);
        limits.file_size_bytes = forced
            .file_size_bytes
            .or(asked.file_size_bytes)
            .or(most.file_size_bytes);
        limits.core_bytes = forced.core_bytes.or(asked.core_bytes).or(most.core_bytes);
        limits.user_processes = forced
            .user_processes
            .or(asked.user_processes)
            .or(most.user_processes);
        limits.niceness = forced.niceness.or(asked.niceness).or(most.niceness);
        let (forced, asked, most) = (&forced.tree, &asked.tree, &most.tree);
        limits.tree.memory_bytes = forced
            .memory_bytes
            .or(asked.memory_bytes)
            .or(most.memory_bytes);
        limits.tree.processes = forced.processes.or(asked.processes).or(most.processes);
        limits
    }
}
