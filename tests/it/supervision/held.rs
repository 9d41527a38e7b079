//! A process that the kernel holds (D state), so that no signal reaches it, is reported and not awaited: here, one that
//! writes to a frozen file system.

use std::{
    fs::{self, File},
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

use remex::v1::exit::Reason;
use rustix::process::Signal;

use super::support::{Server, argv, children_of, shell, state_of};
use crate::{
    harness::{
        Home, Marker, eventually,
        processes::Process,
        tools::{self, Missing},
    },
    signals::is_draining,
};

/// A second, and some for a busy machine; less than any drain here.
const AT_ONCE: Duration = Duration::from_secs(5);

/// Room for the smallest file systems.
const IMAGE_BYTES: u64 = 16 << 20;

/// A file system that takes nothing. It thaws and is gone when it is dropped.
struct Frozen(PathBuf);

impl Frozen {
    fn new(home: &Home) -> Result<Self, Missing> {
        tools::root()?;
        for program in ["mkfs.ext4", "mount", "fsfreeze"] {
            tools::program(program)?;
        }
        let (image, folder) = (home.path("image"), home.path("frozen"));
        let file = File::create(&image).expect("a file");
        file.set_len(IMAGE_BYTES).expect("room");
        fs::create_dir(&folder).expect("a folder");
        let done = |command: &mut Command| {
            command
                .output()
                .expect("it runs")
                .status
                .success()
                .then_some(())
                .ok_or_else(|| Missing::new("a file system that can be mounted and frozen"))
        };
        done(Command::new("mkfs.ext4").arg("-q").arg(&image))?;
        done(
            Command::new("mount")
                .args(["-o", "loop"])
                .args([&image, &folder]),
        )?;
        let frozen = Self(folder);
        done(Command::new("fsfreeze").arg("-f").arg(&frozen.0))?;
        Ok(frozen)
    }

    /// A file in it that nobody can make.
    fn file(&self, marker: &Marker) -> String {
        format!("{}/{marker}", self.0.display())
    }

    fn thaw(&self) {
        let thawed = Command::new("fsfreeze").arg("-u").arg(&self.0).output();
        assert!(thawed.expect("fsfreeze runs").status.success());
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        // Thawed already, unless the test has failed.
        let _ = Command::new("fsfreeze").arg("-u").arg(&self.0).output();
        let _ = Command::new("umount").arg("-l").arg(&self.0).output();
    }
}

/// Whether it is held while it makes its file. In D state too are a shell whose vfork has not executed yet, and programs
/// that are being read in.
fn is_held(process: &Process) -> bool {
    let pid = process.pid.as_raw_nonzero().get();
    state_of(pid) == Some('D') && is_making_file(pid)
}

fn is_making_file(pid: i32) -> bool {
    // The number, then the arguments: openat(folder, path, flags, mode).
    let syscall = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    let mut words = syscall.split(' ');
    let number = words.next().and_then(|word| word.parse().ok());
    let flags = words.nth(2).and_then(|word| word.strip_prefix("0x"));
    let flags = flags.and_then(|flags| u64::from_str_radix(flags, 16).ok());
    number == Some(libc::SYS_openat)
        && flags.is_some_and(|flags| flags & u64::from(libc::O_CREAT.unsigned_abs()) != 0)
}

async fn reported(server: Server) {
    let frozen = skip_unless!(Frozen::new(server.daemon.home()));
    // A child, and the leader itself.
    let markers = [Marker::new(), Marker::new()];
    let [child, leader] = markers.each_ref().map(|marker| frozen.file(marker));
    for (request, marker, ending) in [
        (
            shell(format!("touch {child}; true")),
            &markers[0],
            (-1, 9, Reason::Signal),
        ),
        // Whose end nobody sees.
        (
            argv(["touch", &leader]),
            &markers[1],
            (-1, 0, Reason::LostExit),
        ),
    ] {
        let running = server.begin(request).await;
        eventually("a process that is held", || {
            let processes = marker.processes();
            processes.iter().any(is_held).then_some(())
        })
        .await;
        running.signal(9).await.unwrap();
        assert_eq!(running.end().await.ending(), ending);
        assert!(marker.processes().iter().any(is_held));
    }
    eventually("a line for each", || {
        let log = server.daemon.home().log();
        (log.matches("a process survives its KILL").count() == 2).then_some(())
    })
    .await;
    // Nobody else is held up.
    assert_eq!(server.run(shell("exit 3")).await.exit().code, Some(3));
    frozen.thaw();
    // The kernel lets go of them, and they die of their KILL.
    for marker in &markers {
        marker.is_gone().await;
    }
    // Nothing of them is left with the server either.
    let pid = server.daemon.pid().as_raw_nonzero().get();
    eventually("the end of all zombies", || {
        children_of(pid).is_empty().then_some(())
    })
    .await;
    server.daemon.stop().await;
}

/// Nor by the second signal, after which remexd ends, whatever has not.
async fn left_at_the_second_signal(server: Server) {
    let frozen = skip_unless!(Frozen::new(server.daemon.home()));
    let marker = Marker::new();
    let file = frozen.file(&marker);
    let _running = server.begin(shell(format!("touch {file}; true"))).await;
    eventually("a process that is held", || {
        marker.processes().iter().any(is_held).then_some(())
    })
    .await;
    let mut daemon = server.daemon;
    let client = daemon.client().await;
    daemon.signal(Signal::TERM);
    is_draining(&client).await;
    let sent = Instant::now();
    daemon.signal(Signal::TERM);
    assert_eq!(daemon.wait().await.code(), Some(128 + 15));
    assert!(sent.elapsed() < AT_ONCE, "{:?}", sent.elapsed());
    assert!(marker.processes().iter().any(is_held));
    frozen.thaw();
    marker.is_gone().await;
}

with_each_containment! {
    what_the_kernel_holds_is_reported_and_not_awaited => reported;
    a_second_signal_does_not_await_what_the_kernel_holds => left_at_the_second_signal;
}
