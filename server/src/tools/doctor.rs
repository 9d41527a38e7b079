//! `remexd doctor`: what this machine offers remexd, what is missing, and how to mend it.

use std::{
    fmt, fs,
    io::{self, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    time::{Duration, Instant},
};

use remex_daemon::net::{Locality, identify_tcp};
use remex_supervisor::process::{CgroupOffer, clone3_offer, landlock_abi, may_switch};
use rustix::process::{PidfdFlags, geteuid, getpid, pidfd_open};
use serde::{Serialize, Serializer};

use super::{ToolError, operate};
use crate::proc;

/// How often the disk is asked to keep a page; the one in the middle counts.
const SYNCS: usize = 9;

/// What is written each time.
const SYNC_BYTES: usize = 4096;

/// A disk that takes longer delays every start that waits for it.
const SLOW_SYNC: Duration = Duration::from_millis(20);

/// How grave it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Grade {
    #[serde(rename = "ok")]
    Good,
    /// remexd serves, with less.
    Less,
    /// remexd cannot serve.
    Missing,
}

/// What was found of one thing.
#[derive(Serialize)]
struct Finding {
    subject: &'static str,
    grade: Grade,
    found: String,
    /// How to mend it.
    #[serde(serialize_with = "given")]
    mend: &'static str,
}

/// Nothing is null.
fn given<S: Serializer>(text: &str, serializer: S) -> Result<S::Ok, S::Error> {
    Some(text)
        .filter(|text| !text.is_empty())
        .serialize(serializer)
}

impl Finding {
    fn good(subject: &'static str, found: impl Into<String>) -> Self {
        Self {
            subject,
            grade: Grade::Good,
            found: found.into(),
            mend: "",
        }
    }

    fn less(subject: &'static str, found: impl Into<String>, mend: &'static str) -> Self {
        Self {
            subject,
            grade: Grade::Less,
            found: found.into(),
            mend,
        }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let grade = match self.grade {
            Grade::Good => "ok",
            Grade::Less => "less",
            Grade::Missing => "MISSING",
        };
        write!(f, "{grade:8}{:12}{}", self.subject, self.found)?;
        if !self.mend.is_empty() {
            write!(f, "\n{:20}{}", "", self.mend)?;
        }
        Ok(())
    }
}

/// Looks at everything; an error where remexd could not serve.
pub(super) fn examine(which: &operate::Which, is_json: bool) -> Result<(), ToolError> {
    let folder = which.folder()?;
    let findings = [
        procfs(),
        cgroup(),
        controllers(),
        pidfd(),
        clone3(),
        sock_diag(),
        user_switch(),
        landlock(),
        sync(&folder),
    ];
    for finding in &findings {
        if is_json {
            operate::print_json(finding)?;
        } else {
            operate::print(&finding.to_string())?;
        }
    }
    let missing = findings.iter().filter(|one| one.grade == Grade::Missing);
    match missing.count() {
        0 => Ok(()),
        _ => Err(ToolError::Unavailable(
            "this machine lacks what remexd cannot do without".into(),
        )),
    }
}

fn procfs() -> Finding {
    match proc::check() {
        Ok(()) => Finding::good("/proc", "is mounted"),
        Err(error) => Finding {
            subject: "/proc",
            grade: Grade::Missing,
            found: error.to_string(),
            mend: "",
        },
    }
}

const DELEGATE: &str = "run remexd as root, or as a service with Delegate=yes, so that cgroup v2 can be written; without it what \
                        clears its environment and forks twice escapes a kill";

fn cgroup() -> Finding {
    match CgroupOffer::look() {
        Ok(offer) if offer.writable => {
            Finding::good("cgroup", format!("v2, {}", offer.path.display()))
        }
        Ok(offer) => {
            let found = format!("{} cannot be written", offer.path.display());
            Finding::less("cgroup", found, DELEGATE)
        }
        Err(why) => Finding::less("cgroup", why, DELEGATE),
    }
}

fn controllers() -> Finding {
    const MEND: &str = "limits of a command's tree need them: boot with cgroup v2 alone (systemd.unified_cgroup_hierarchy=1), and delegate them";
    let offered = CgroupOffer::look().map_or_else(|_| Vec::new(), |offer| offer.controllers);
    let missing = ["memory", "pids"]
        .into_iter()
        .filter(|name| !offered.iter().any(|offered| offered == name));
    let missing: Vec<_> = missing.collect();
    if missing.is_empty() {
        return Finding::good("controllers", offered.join(" "));
    }
    Finding::less("controllers", format!("no {}", missing.join(", no ")), MEND)
}

fn pidfd() -> Finding {
    match pidfd_open(getpid(), PidfdFlags::empty()) {
        Ok(_) => Finding::good("pidfd", "processes are named without mistake"),
        Err(error) => Finding::less(
            "pidfd",
            error.to_string(),
            "use Linux 5.3 or later, and let the container's seccomp profile allow pidfd_open",
        ),
    }
}

fn clone3() -> Finding {
    match clone3_offer() {
        Ok(()) => Finding::good("clone3", "commands start in their cgroup"),
        Err(error) => Finding::less(
            "clone3",
            error.to_string(),
            "use Linux 5.7 or later, and let the container's seccomp profile allow clone3; until then each start moves to its \
             cgroup by itself, which may take 10 ms",
        ),
    }
}

/// Asks the kernel whose a connection of this process's own is.
fn sock_diag() -> Finding {
    const MEND: &str = "local callers over TCP cannot be told apart, and are refused; load the kernel's modules tcp_diag and udp_diag, let \
                        the container allow AF_NETLINK sockets, or let them call over a Unix socket";
    let asked = || {
        let listener =
            TcpListener::bind("127.0.0.1:0").or_else(|_| TcpListener::bind("[::1]:0"))?;
        let local = listener.local_addr()?;
        let caller = TcpStream::connect(local)?;
        io::Result::Ok(identify_tcp(caller.local_addr()?, local))
    };
    match asked() {
        Ok(Locality::Local { uid, .. }) if uid == geteuid().as_raw() => {
            Finding::good("sock_diag", "tells whose a local connection is")
        }
        Ok(Locality::Unknown(why)) => Finding::less("sock_diag", why.to_string(), MEND),
        Ok(other) => Finding::less("sock_diag", format!("{other:?}"), MEND),
        Err(error) => Finding::less("sock_diag", error.to_string(), MEND),
    }
}

fn user_switch() -> Finding {
    if may_switch() {
        return Finding::good("user switch", "commands may run as any user");
    }
    Finding::less(
        "user switch",
        "commands run as remexd's own user alone",
        "run remexd as root, or give it CAP_SETUID and CAP_SETGID",
    )
}

fn landlock() -> Finding {
    match landlock_abi() {
        0 => Finding::less(
            "Landlock",
            "not there",
            "use Linux 5.13 or later with CONFIG_SECURITY_LANDLOCK, and `landlock` in the boot parameter lsm=",
        ),
        abi => Finding::good("Landlock", format!("ABI {abi}")),
    }
}

fn sync(folder: &Path) -> Finding {
    const SUBJECT: &str = "sync";
    if !folder.is_dir() {
        let found = format!(
            "{} is not there yet; a first start makes it",
            folder.display()
        );
        return Finding::good(SUBJECT, found);
    }
    match sync_time(folder) {
        Ok(time) if time <= SLOW_SYNC => Finding::good(SUBJECT, format!("{time:.1?} for 4 KiB")),
        Ok(time) => Finding::less(
            SUBJECT,
            format!("{time:.1?} for 4 KiB in {}", folder.display()),
            "starts that wait for the disk take longer; move --state-dir to a faster disk",
        ),
        Err(error) => Finding::less(
            SUBJECT,
            format!("{}: {error}", folder.display()),
            "run this as remexd's own user, and see that its disk is not full",
        ),
    }
}

/// How long the disk takes to keep a page, half of the time.
fn sync_time(folder: &Path) -> io::Result<Duration> {
    let path = folder.join(format!(".doctor-{}", std::process::id()));
    let mut file = fs::File::create_new(&path)?;
    let mut measure = || {
        let begun = Instant::now();
        file.write_all(&[0; SYNC_BYTES])?;
        file.sync_data()?;
        Ok(begun.elapsed())
    };
    let times: io::Result<Vec<_>> = (0..SYNCS).map(|_| measure()).collect();
    fs::remove_file(&path)?;
    let mut times = times?;
    times.sort_unstable();
    Ok(times[SYNCS / 2])
}
