//! Resource limits of a process: from the API's names to setrlimit's.

use rustix::process::{Resource, getrlimit, setrlimit};

use super::{error::StartError, plan::Rlimit, spec::ResourceLimits};

type Get = fn(&ResourceLimits) -> Option<u64>;

/// The resource, the API's name, and the value.
const TABLE: [(Resource, &str, Get); 6] = [
    (Resource::Cpu, "cpu_time", |limits| limits.cpu_seconds),
    (Resource::As, "address_space_bytes", |limits| {
        limits.address_space_bytes
    }),
    (Resource::Nofile, "open_files", |limits| limits.open_files),
    (Resource::Fsize, "file_size_bytes", |limits| {
        limits.file_size_bytes
    }),
    (Resource::Core, "core_bytes", |limits| limits.core_bytes),
    (Resource::Nproc, "user_processes", |limits| {
        limits.user_processes
    }),
];

/// The calls that apply `limits` to a command that runs as `uid`.
pub(super) fn calls(limits: &ResourceLimits, uid: u32) -> Result<Vec<Rlimit>, StartError> {
    if limits.user_processes.is_some() && uid == 0 {
        return Err(StartError::LimitUnavailable {
            limit: "user_processes",
            why: "the kernel does not enforce it for root; use tree_processes".into(),
        });
    }
    let calls = TABLE.iter().filter_map(|&(resource, _, get)| {
        let soft = get(limits)?;
        // Past the soft limit on CPU time comes XCPU, which tells; past the hard one KILL.
        let hard = soft.saturating_add(u64::from(resource == Resource::Cpu));
        Some(rlimit(resource, soft, hard))
    });
    Ok(calls.collect())
}

/// The API's name of a limit.
pub(super) fn name(limit: &Rlimit) -> &'static str {
    TABLE
        .iter()
        .find(|(resource, ..)| *resource as u32 == limit.resource)
        .map_or("limit", |(_, name, _)| name)
}

/// Raises the server's own limit on open files as far as it may. Returns what it was, for commands: select(2) breaks
/// in programs that are given more than they expect.
pub(super) fn raise_open_files() -> Option<Rlimit> {
    let before = getrlimit(Resource::Nofile);
    if before.current == before.maximum {
        return None;
    }
    let mut raised = before;
    raised.current = before.maximum;
    setrlimit(Resource::Nofile, raised).ok()?;
    let or_infinity = |value: Option<u64>| value.unwrap_or(libc::RLIM64_INFINITY);
    Some(rlimit(
        Resource::Nofile,
        or_infinity(before.current),
        or_infinity(before.maximum),
    ))
}

fn rlimit(resource: Resource, soft: u64, hard: u64) -> Rlimit {
    Rlimit {
        // The kernel's number, of which each libc has another type.
        resource: resource as u32,
        soft,
        hard,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_a_call() {
        let limits = ResourceLimits {
            cpu_seconds: Some(3),
            open_files: Some(9),
            ..ResourceLimits::default()
        };
        let calls = calls(&limits, 0).unwrap();
        let seen: Vec<_> = calls
            .iter()
            .map(|call| (name(call), call.soft, call.hard))
            .collect();
        assert_eq!(seen, [("cpu_time", 3, 4), ("open_files", 9, 9)]);
    }

    #[test]
    fn what_the_kernel_does_not_enforce_is_refused() {
        let limits = ResourceLimits {
            user_processes: Some(3),
            ..ResourceLimits::default()
        };
        assert!(matches!(
            calls(&limits, 0),
            Err(StartError::LimitUnavailable {
                limit: "user_processes",
                ..
            })
        ));
        assert_eq!(calls(&limits, 1000).unwrap().len(), 1);
    }
}
