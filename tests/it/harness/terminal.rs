//! Terminals that tests make, to be the local one of what they run.

use std::{
    fs::File,
    io::{Read, Write},
    sync::mpsc::{Receiver, channel},
    thread,
};

use rustix::{
    fs::{Mode, OFlags, open},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{Winsize, tcsetwinsize},
};
use tokio::process::{Child, Command};

use super::{command_line::said, eventually};

/// The two ends of one of this size: what a person has before them, and what programs have.
pub(crate) fn terminal(rows: u16, columns: u16) -> (File, File) {
    let near =
        openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
    grantpt(&near).expect("its grant");
    unlockpt(&near).expect("its lock");
    let name = ptsname(&near, Vec::new()).expect("its name");
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let far = open(name, flags, Mode::empty()).expect("its other end");
    let near = File::from(near);
    resize(&near, rows, columns);
    (near, far.into())
}

/// Gives it another size.
pub(crate) fn resize(end: &File, rows: u16, columns: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(end, size).expect("a size");
}

/// A program on a terminal of its own, and what it shows there.
pub(crate) struct Screen {
    near: File,
    _far: File,
    child: Child,
    shown: Receiver<Vec<u8>>,
    all: String,
}

impl Screen {
    /// Runs `command`, whose stdin and stdout the terminal is.
    pub(crate) fn run(mut command: Command, rows: u16, columns: u16) -> Self {
        let (near, far) = terminal(rows, columns);
        let child = command
            .stdin(far.try_clone().expect("a descriptor"))
            .stdout(far.try_clone().expect("a descriptor"))
            .spawn()
            .expect("a program runs");
        let mut reader = near.try_clone().expect("a descriptor");
        let (sender, shown) = channel();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(read @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..read].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self {
            near,
            _far: far,
            child,
            shown,
            all: String::new(),
        }
    }

    pub(crate) fn types(&mut self, keys: &[u8]) {
        self.near.write_all(keys).expect("a terminal");
    }

    /// Waits until it has shown `text`, behind what was waited for before.
    pub(crate) async fn shows(&mut self, text: &str) {
        let (shown, all) = (&mut self.shown, &mut self.all);
        let found = eventually(text, || {
            while let Ok(more) = shown.try_recv() {
                all.push_str(&String::from_utf8_lossy(&more));
            }
            all.find(text)
        });
        let end = found.await + text.len();
        self.all.drain(..end);
    }

    /// Exit code and stderr of the program, once it has ended. Until then it has its terminal.
    pub(crate) async fn said(self) -> (i32, String) {
        let Self { near, child, .. } = self;
        let (code, _, stderr) = said(child).await;
        drop(near);
        (code, stderr)
    }
}
