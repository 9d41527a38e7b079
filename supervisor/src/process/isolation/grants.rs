//! The making of a ruleset: what a command may reach is opened, and granted. The kernel may hold whoever opens a path, so what
//! it knows already is granted at once, and the rest by a child, which can be killed.

use std::{
    ffi::{CString, c_int},
    io,
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::PathBuf,
};

use super::{
    super::{
        clone::Work,
        error::{StartError, words},
        lookup::How,
    },
    confine,
    decision::Decision,
    landlock::{
        self, BIND_TCP, CONNECT_TCP, EXECUTE, IOCTL_DEVICE, READ, READ_FILE, TRUNCATE, WRITE,
        WRITE_FILE,
    },
    spec::{IsolationOrigin, IsolationSpec, NetworkSpec},
};

/// The loaders of this machine's programs, of glibc and of musl. A program that may be executed and has no loader could not be.
#[cfg(target_arch = "x86_64")]
const LOADERS: [&str; 2] = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-musl-x86_64.so.1"];
#[cfg(target_arch = "aarch64")]
const LOADERS: [&str; 2] = ["/lib/ld-linux-aarch64.so.1", "/lib/ld-musl-aarch64.so.1"];

/// Where they find libraries.
const LIBRARIES: [&str; 7] = [
    "/lib",
    "/lib64",
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/etc/ld.so.cache",
    "/etc/ld.so.preload",
];

/// Devices that hold nothing of anybody's.
const DEVICES: [&str; 6] = [
    "/dev/null",
    "/dev/zero",
    "/dev/full",
    "/dev/random",
    "/dev/urandom",
    "/dev/tty",
];
const OF_DEVICES: u64 = READ_FILE | WRITE_FILE | TRUNCATE | IOCTL_DEVICE;

/// One path, and what is granted below it.
#[derive(Debug)]
struct Grant {
    path: CString,
    access: u64,
    /// The list of the request that it is in; `None`: everybody has it.
    field: Option<&'static str>,
    may_be_absent: bool,
    /// No symbolic link is followed.
    is_strict: bool,
}

/// A ruleset on its way.
#[derive(Debug)]
pub(in super::super) struct Granting {
    ruleset: OwnedFd,
    grants: Vec<Grant>,
    /// Those before it are in the ruleset.
    next: usize,
    /// What stands in the way of the next one.
    failure: Option<c_int>,
}

impl Granting {
    /// A ruleset for `decision`, without the paths of `spec`; `None`: there is to be none.
    pub(in super::super) fn begin(
        spec: &IsolationSpec,
        decision: &Decision,
    ) -> Result<Option<Self>, StartError> {
        let Some(handled) = &decision.handled else {
            return Ok(None);
        };
        let make = StartError::resources("make a ruleset of Landlock");
        let ruleset = landlock::create_owned(handled).map_err(make)?;
        if let (NetworkSpec::Ports { connect, bind }, true) =
            (&spec.network, decision.handles_ports())
        {
            for (ports, access) in [(connect, CONNECT_TCP), (bind, BIND_TCP)] {
                for &port in ports {
                    let added = landlock::add_port(ruleset.as_raw_fd(), port, access);
                    let add = StartError::resources("add a port to a ruleset of Landlock");
                    added.map_err(io::Error::from_raw_os_error).map_err(add)?;
                }
            }
        }
        let mut grants = Vec::new();
        if decision.handles_files() {
            let known = handled.files;
            grants.extend(given(spec)?.into_iter().chain(always()).map(|grant| Grant {
                // What the kernel does not know cannot be granted.
                access: grant.access & known,
                ..grant
            }));
        }
        Ok(Some(Self {
            ruleset,
            grants,
            next: 0,
            failure: None,
        }))
    }

    /// Grants what can be granted; `false`: the kernel does not know the next path without waiting. Allocates nothing.
    pub(in super::super) fn go(&mut self, how: How) -> bool {
        const NO_SYMLINKS: u64 = 0x04;
        const CACHED: u64 = 0x20;
        self.failure = None;
        for grant in &self.grants[self.next..] {
            let mut resolve = if grant.is_strict { NO_SYMLINKS } else { 0 };
            if how == How::Cached {
                resolve |= CACHED;
            }
            let added = confine::open_path(&grant.path, resolve).and_then(|path| {
                let added = landlock::add_path(self.ruleset.as_raw_fd(), path, grant.access);
                confine::close(path);
                added
            });
            match added {
                Ok(()) => {}
                Err(libc::ENOENT | libc::ENOTDIR) if grant.may_be_absent => {}
                // For want of knowledge or of a descriptor, a child does it.
                Err(libc::EAGAIN | libc::EMFILE | libc::ENFILE | libc::ENOMEM)
                    if how == How::Cached =>
                {
                    return false;
                }
                Err(errno) => {
                    self.failure = Some(errno);
                    return true;
                }
            }
            self.next += 1;
        }
        true
    }

    /// The ruleset, once all is granted.
    pub(in super::super) fn end(self) -> Result<OwnedFd, StartError> {
        let Some(grant) = self.grants.get(self.next) else {
            return Ok(self.ruleset);
        };
        let errno = self.failure.unwrap_or(libc::EIO);
        let path = grant.path.to_string_lossy();
        let why = match errno {
            libc::ENOENT | libc::ENOTDIR => {
                format!("{path:?}: there is no such path; make it first, or leave it out")
            }
            libc::ELOOP if grant.is_strict => {
                format!("{path:?} leads through a symbolic link; name the folder that it leads to")
            }
            errno => format!("{path:?}: {}", words(&io::Error::from_raw_os_error(errno))),
        };
        let field = grant.field.unwrap_or("read_paths");
        Err(StartError::IsolationUnavailable { field, why })
    }
}

impl Work for Granting {
    fn run(&mut self) {
        // What it opens is not to be the server's: this task may be killed at any time.
        match confine::own_descriptors(self.ruleset.as_raw_fd()) {
            Ok(()) => drop(self.go(How::Waiting)),
            Err(errno) => self.failure = Some(errno),
        }
    }
}

fn given(spec: &IsolationSpec) -> Result<Vec<Grant>, StartError> {
    let lists: [(&'static str, &[PathBuf], u64); 3] = [
        ("read_paths", &spec.read_paths, READ),
        ("write_paths", &spec.write_paths, WRITE),
        ("execute_paths", &spec.execute_paths, READ | EXECUTE),
    ];
    let mut grants = Vec::new();
    for (field, paths, access) in lists {
        for path in paths {
            let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| {
                StartError::IsolationUnavailable {
                    field,
                    why: "a path has a NUL".to_owned(),
                }
            })?;
            grants.push(Grant {
                path,
                access,
                field: Some(field),
                may_be_absent: spec.best_effort || spec.origin == IsolationOrigin::Default,
                is_strict: spec.origin != IsolationOrigin::Request && field == "write_paths",
            });
        }
    }
    Ok(grants)
}

/// What every command needs that executes anything.
fn always() -> impl Iterator<Item = Grant> {
    let loaders = LOADERS.map(|path| (path, READ | EXECUTE));
    let libraries = LIBRARIES.map(|path| (path, READ));
    let devices = DEVICES.map(|path| (path, OF_DEVICES));
    let all = loaders.into_iter().chain(libraries).chain(devices);
    all.filter_map(|(path, access)| {
        Some(Grant {
            path: CString::new(path).ok()?,
            access,
            field: None,
            may_be_absent: true,
            is_strict: false,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_loader_is_executed_by_everybody() {
        for grant in always() {
            let is_loader = grant.path.to_bytes().windows(3).any(|part| part == b"/ld")
                && !grant.path.to_bytes().starts_with(b"/etc");
            assert_eq!(grant.access & EXECUTE != 0, is_loader, "{:?}", grant.path);
            let is_device = grant.path.to_bytes().starts_with(b"/dev/");
            assert_eq!(
                grant.access & WRITE_FILE != 0,
                is_device,
                "{:?}",
                grant.path
            );
        }
    }

    #[test]
    fn executing_implies_reading_and_writing_does_too() {
        let spec = IsolationSpec {
            write_paths: vec!["/w".into()],
            execute_paths: vec!["/x".into()],
            ..IsolationSpec::default()
        };
        let grants = given(&spec).unwrap();
        assert!(grants.iter().all(|grant| grant.access & READ == READ));
        assert!(
            grants
                .iter()
                .all(|grant| !grant.may_be_absent && !grant.is_strict)
        );
    }

    #[test]
    fn what_a_policy_gives_to_write_follows_no_link() {
        let spec = IsolationSpec::limited("/w".as_ref(), "/tmp".as_ref());
        let strict: Vec<_> = given(&spec)
            .unwrap()
            .into_iter()
            .filter_map(|grant| grant.is_strict.then_some(grant.path))
            .collect();
        assert_eq!(strict, [c"/w", c"/tmp"].map(CString::from));
    }

    #[test]
    fn only_the_default_does_without_what_is_not_there() {
        use IsolationOrigin::{Default, Request, Rule};
        for (origin, may_be_absent, is_strict) in [
            (Request, false, false),
            (Rule, false, true),
            (Default, true, true),
        ] {
            let spec = IsolationSpec {
                write_paths: vec!["/w".into()],
                origin,
                ..IsolationSpec::default()
            };
            let grants = given(&spec).unwrap();
            assert_eq!(grants.len(), 1);
            assert_eq!(grants[0].may_be_absent, may_be_absent, "{origin:?}");
            assert_eq!(grants[0].is_strict, is_strict, "{origin:?}");
        }
    }
}
