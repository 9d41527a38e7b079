//! `remex run -t` on a terminal made for the test.

use std::{
    fmt::Display,
    fs::File,
    io::{Read, Write},
    os::fd::OwnedFd,
    process::Stdio,
    time::Instant,
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags, fcntl_getfl, open},
    io::Errno,
    process::{Pid, Signal, kill_process},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use crate::{
    cli::{output_of, remex},
    fake::Fake,
};

/// The two ends of a terminal of 30 x 90.
pub(crate) fn terminal() -> (File, OwnedFd) {
    let near = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
    grantpt(&near).unwrap();
    unlockpt(&near).unwrap();
    let name = ptsname(&near, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    let far = open(name, flags, Mode::empty()).unwrap();
    tcsetwinsize(&far, size(30, 90)).unwrap();
    (near.into(), far)
}

/// Waits until there is something to read, to `end`; what is waited for is `what`.
pub(crate) fn wait_readable(near: &File, end: Instant, what: &dyn Display) {
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let bound = Timespec::try_from(left).unwrap();
        match poll(&mut [PollFd::new(near, PollFlags::IN)], Some(&bound)) {
            // A child of another test has ended.
            Err(Errno::INTR) => {}
            polled => return assert_eq!(polled, Ok(1), "no {what}"),
        }
    }
}

fn size(ws_row: u16, ws_col: u16) -> Winsize {
    Winsize {
        ws_row,
        ws_col,
        ws_xpixel: 0,
        ws_ypixel: 0,
    }
}

fn expect(near: &mut File, expected: &str) {
    let mut said = vec![0; expected.len()];
    near.read_exact(&mut said).unwrap();
    assert_eq!(
        said.escape_ascii().to_string(),
        expected.as_bytes().escape_ascii().to_string()
    );
}

#[test]
fn a_terminal_is_raw_while_the_command_runs_and_as_before_after_it() {
    let server = Fake::start();
    let (mut near, far) = terminal();
    let before = tcgetattr(&far).unwrap();
    let flags = fcntl_getfl(&far).unwrap();
    let mut command = remex(&server, ["run", "-t", "--", "fake"]);
    command
        .env("TERM", "vt100")
        .stdin(far.try_clone().unwrap())
        .stdout(far.try_clone().unwrap());
    let child = command.spawn().unwrap();
    let pid = Pid::from_child(&child);
    expect(&mut near, "<30x90 vt100>");
    // Raw before stdin is read: a Ctrl-C is a byte among others.
    while tcgetattr(&far)
        .unwrap()
        .local_modes
        .contains(LocalModes::ICANON)
    {
        std::thread::yield_now();
    }
    near.write_all(b"\x03").unwrap();
    expect(&mut near, "<\\x03>");
    tcsetwinsize(&far, size(40, 100)).unwrap();
    kill_process(pid, Signal::WINCH).unwrap();
    expect(&mut near, "<40x100>");
    kill_process(pid, Signal::TERM).unwrap();
    expect(&mut near, "<signal 15>");
    near.write_all(b"q").unwrap();
    assert_eq!(output_of(child).status.code(), Some(3));
    let after = tcgetattr(&far).unwrap();
    assert_eq!(after.local_modes, before.local_modes);
    assert_eq!(after.output_modes, before.output_modes);
    assert_eq!(after.input_modes, before.input_modes);
    assert_eq!(fcntl_getfl(&far).unwrap(), flags);
}

#[test]
fn pitfall_59_a_terminal_of_no_size_leaves_the_command_its_own() {
    let server = Fake::start();
    let (mut near, far) = terminal();
    tcsetwinsize(&far, size(0, 0)).unwrap();
    let mut command = remex(&server, ["run", "-t", "--", "fake"]);
    command
        .env("TERM", "vt100")
        .stdin(far.try_clone().unwrap())
        .stdout(far.try_clone().unwrap());
    let child = command.spawn().unwrap();
    let pid = Pid::from_child(&child);
    // The server's own size then, as the API has it.
    expect(&mut near, "<0x0 vt100>");
    for (rows, columns) in [(0, 0), (0, 80), (24, 0)] {
        tcsetwinsize(&far, size(rows, columns)).unwrap();
        kill_process(pid, Signal::WINCH).unwrap();
    }
    kill_process(pid, Signal::TERM).unwrap();
    expect(&mut near, "<signal 15>");
    tcsetwinsize(&far, size(40, 100)).unwrap();
    kill_process(pid, Signal::WINCH).unwrap();
    expect(&mut near, "<40x100>");
    near.write_all(b"q").unwrap();
    assert_eq!(output_of(child).status.code(), Some(3));
}

#[test]
fn a_terminal_is_as_before_after_a_failure() {
    let server = Fake::start();
    let (mut near, far) = terminal();
    let before = tcgetattr(&far).unwrap();
    let mut command = remex(&server, ["run", "-t", "--", "fake"]);
    command
        .stdin(far.try_clone().unwrap())
        .stdout(far.try_clone().unwrap())
        .env_remove("TERM");
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    expect(&mut near, "<30x90 >");
    drop(server);
    let output = output_of(child);
    assert_eq!(output.status.code(), Some(255));
    assert_eq!(tcgetattr(&far).unwrap().local_modes, before.local_modes);
}
