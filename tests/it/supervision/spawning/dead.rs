//! A file system that has died.

use std::{
    fs::{self, File},
    io::{Read, Write},
    os::fd::OwnedFd,
    path::PathBuf,
    process::Command,
    thread,
};

use remex::v1::StartRequest;
use rustix::{
    event::{PollFd, PollFlags, poll},
    pipe::{PipeFlags, pipe_with},
};

use crate::{
    harness::{
        Daemon, Home,
        tools::{Missing, program, root},
    },
    supervision::support::{RequestExt, Server, argv},
};

/// What a file system answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Answers {
    /// Nothing: who waits for it can be killed.
    Nothing,
    /// It takes requests and leaves them at that: who waits for those cannot be killed.
    Greeting,
}

/// A file system that has died, mounted where remexd alone sees it. It lets go of everybody when it is dropped.
pub(super) struct Dead {
    folder: PathBuf,
    _fuse: File,
    _stop_reading: Option<OwnedFd>,
}

impl Dead {
    /// For a server that was started by [`apart`].
    pub(super) fn mount(server: &Server, answers: Answers) -> Result<Self, Missing> {
        let folder = server.daemon.home().path("dead");
        fs::create_dir_all(&folder).expect("a folder");
        let fuse = File::options().read(true).write(true).open("/dev/fuse");
        let fuse = fuse.map_err(|_| Missing::new("/dev/fuse"))?;
        let pid = server.daemon.pid().as_raw_nonzero().to_string();
        let mounted = Command::new("nsenter")
            .args(["--target", &pid, "--mount", "mount", "-i", "-t", "fuse"])
            .args(["-o", "fd=0,rootmode=40000,user_id=0,group_id=0,allow_other"])
            .arg("dead")
            .arg(&folder)
            .stdin(fuse.try_clone().expect("a descriptor"))
            .output()
            .expect("nsenter runs");
        if !mounted.status.success() {
            return Err(Missing::new(format!("a FUSE mount: {mounted:?}")));
        }
        let mut stop_reading = None;
        if answers == Answers::Greeting {
            let fuse = fuse.try_clone().expect("a descriptor");
            greet(&fuse);
            let (stopped, stop) = pipe_with(PipeFlags::CLOEXEC).expect("a pipe");
            thread::spawn(move || take_requests(&fuse, &stopped));
            stop_reading = Some(stop);
        }
        Ok(Self {
            folder,
            _fuse: fuse,
            _stop_reading: stop_reading,
        })
    }

    pub(super) fn path(&self) -> &str {
        self.folder.to_str().expect("UTF-8")
    }

    /// Commands that it holds, each in another step.
    pub(super) fn requests(&self) -> [StartRequest; 3] {
        let path = format!("{}:/usr/bin:/bin", self.path());
        [
            argv(["true"]).with(|command| command.working_directory = self.path().into()),
            argv([&format!("{}/program", self.path())]),
            argv(["true"]).with(|command| {
                command.environment.insert("PATH".into(), path);
            }),
        ]
    }
}

/// Takes requests, and leaves them at that, until the other end of `stopped` is closed.
fn take_requests(mut fuse: &File, stopped: &OwnedFd) {
    loop {
        let mut fds = [
            PollFd::new(fuse, PollFlags::IN),
            PollFd::new(stopped, PollFlags::IN),
        ];
        poll(&mut fds, None).expect("it can be waited for");
        if !fds[1].revents().is_empty() || fuse.read(&mut vec![0; 1 << 17]).is_err() {
            return;
        }
    }
}

/// Answers FUSE_INIT, which is the first request.
fn greet(mut fuse: &File) {
    let mut request = vec![0; 1 << 17];
    let length = fuse.read(&mut request).expect("a request");
    assert!(length >= 40, "no FUSE_INIT");
    let mut answer = Vec::new();
    answer.extend(80_u32.to_le_bytes());
    answer.extend(0_u32.to_le_bytes());
    answer.extend(&request[8..16]);
    // Version 7.31, and the least of everything else.
    answer.extend(7_u32.to_le_bytes());
    answer.extend(31_u32.to_le_bytes());
    answer.resize(16 + 20, 0);
    answer.extend(4096_u32.to_le_bytes());
    answer.resize(80, 0);
    fuse.write_all(&answer).expect("it is answered");
}

/// A server in a mount namespace of its own.
pub(super) async fn apart(home: &Home, flags: &[&str]) -> Result<Server, Missing> {
    root()?;
    for tool in ["unshare", "nsenter", "mount"] {
        program(tool)?;
    }
    let daemon = Daemon::spawn(
        home,
        home.remexd_under(&["unshare", "--mount", "--propagation", "private"], flags),
    )
    .await;
    let client = daemon.client().await;
    Ok(Server { daemon, client })
}
