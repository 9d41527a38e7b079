//! Where a container's seccomp filter denies the newer ways to make a process, the older ones do; where none gives a
//! pidfd, that is said at the start. A filter holds for the thread that sets it, so each test has its own.

#![expect(unsafe_code, reason = "a seccomp filter is set by a raw syscall")]

use std::{
    io::{self, Read},
    os::fd::{AsRawFd, BorrowedFd},
    thread,
};

use remex_supervisor::process::{
    Choice, CommandSpec, ExitStatus, Settings, Spawner, StdinSpec, Stdio,
};
use rustix::event::{PollFd, PollFlags, poll};

fn statement(code: u32, k: u32) -> libc::sock_filter {
    jump(code, k, 0, 0)
}

fn jump(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    let code = u16::try_from(code).expect("a code");
    libc::sock_filter { code, jt, jf, k }
}

/// Has clone3 fail with `errno` in this thread from now on; and, if asked, clone with CLONE_PIDFD too. The C library makes
/// threads by clone where it sees ENOSYS; where it sees EPERM, some make none, so that one is for our own calls alone.
fn deny(errno: i32, pidfds: bool) {
    const LOAD: u32 = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    const IF_EQUAL: u32 = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
    const IF_SET: u32 = libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K;
    const RETURN: u32 = libc::BPF_RET | libc::BPF_K;
    // In struct seccomp_data: the syscall's number, the high half of the address it is called from, and the low half of its
    // first argument.
    const NUMBER: u32 = 0;
    const CALLER: u32 = 12;
    const FIRST_ARGUMENT: u32 = 16;
    let number = |syscall| u32::try_from(syscall).expect("a number");
    let (clone3, clone) = (number(libc::SYS_clone3), number(libc::SYS_clone));
    // The program's code is gigabytes away from the C library's.
    let ours = u32::try_from(statement as *const () as u64 >> 32).expect("half an address");
    let theirs = u8::from(errno == libc::ENOSYS);
    let denied = if pidfds { libc::CLONE_PIDFD } else { 0 };
    let errno = libc::SECCOMP_RET_ERRNO | errno.cast_unsigned();
    let mut filter = [
        statement(LOAD, NUMBER),
        jump(IF_EQUAL, clone3, 3, 0),
        jump(IF_EQUAL, clone, 0, 4),
        statement(LOAD, FIRST_ARGUMENT),
        jump(IF_SET, denied.cast_unsigned(), 3, 2),
        statement(LOAD, CALLER),
        jump(IF_EQUAL, ours, 1, theirs),
        statement(RETURN, libc::SECCOMP_RET_ALLOW),
        statement(RETURN, errno),
    ];
    let program = libc::sock_fprog {
        len: u16::try_from(filter.len()).expect("a length"),
        filter: filter.as_mut_ptr(),
    };
    // SAFETY: a live filter, which acts on this thread alone.
    let set = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0
            && libc::syscall(
                libc::SYS_seccomp,
                libc::SECCOMP_SET_MODE_FILTER,
                0,
                &raw const program,
            ) == 0
    };
    assert!(set, "{}", io::Error::last_os_error());
}

fn spawner(folder: &tempfile::TempDir) -> io::Result<Spawner> {
    let settings = Settings {
        directory: "/".into(),
        pass_environment: Vec::new(),
        state_dir: folder.path().to_owned(),
        instance: format!("test-{}", std::process::id()),
        containment: Choice::Sweep,
        prepared: None,
    };
    Spawner::new(settings).map(|(spawner, _)| spawner)
}

fn command(argv: &[&std::ffi::CStr]) -> CommandSpec {
    CommandSpec::new(argv.iter().copied().map(Into::into).collect())
}

/// Its output and its end.
fn output(spawner: &Spawner, spec: &CommandSpec) -> (String, ExitStatus) {
    let started = spawner.start("test", spec, StdinSpec::Null).wait();
    let (process, stdio) = started.expect("it starts");
    let Stdio::Pipes { stdout, .. } = stdio else {
        panic!("no pipes");
    };
    rustix::io::ioctl_fionbio(&stdout, false).expect("a pipe");
    let mut text = String::new();
    let read = std::fs::File::from(stdout).read_to_string(&mut text);
    read.expect("its output");
    let pidfd = process.pidfd();
    // SAFETY: `pidfd` outlives it.
    let ended = unsafe { BorrowedFd::borrow_raw(pidfd.as_raw_fd()) };
    poll(&mut [PollFd::from_borrowed_fd(ended, PollFlags::IN)], None).expect("its end");
    let (status, _) = process.status().expect("a status").expect("an end");
    process.leave();
    (text, status)
}

#[test]
fn pitfall_51_commands_run_without_clone3() {
    for errno in [libc::ENOSYS, libc::EPERM] {
        let run = move || {
            let folder = tempfile::tempdir().expect("a folder");
            deny(errno, false);
            let spawner = spawner(&folder).expect("it can spawn");
            let (_, status) = output(&spawner, &command(&[c"sh", c"-c", c"exit 3"]));
            assert_eq!(status, ExitStatus::Code(3));
            let (text, _) = output(&spawner, &command(&[c"cat", c"/proc/self/status"]));
            for mask in ["SigBlk", "SigIgn", "SigCgt"] {
                assert!(
                    text.contains(&format!("{mask}:\t0000000000000000\n")),
                    "{text}"
                );
            }
            // What cannot be executed says so in the same words.
            let spec = command(&[c"/no/such/program"]);
            let started = spawner.start("test", &spec, StdinSpec::Null).wait();
            let error = started.expect_err("it does not exist").to_string();
            assert!(error.contains("not found"), "{error}");
        };
        thread::spawn(run).join().expect("it does not panic");
    }
}

#[test]
fn pitfall_51_without_pidfds_the_start_is_refused() {
    let start = || {
        let folder = tempfile::tempdir().expect("a folder");
        deny(libc::EPERM, true);
        spawner(&folder)
            .map(drop)
            .expect_err("nobody could be killed")
    };
    let error = thread::spawn(start).join().expect("it does not panic");
    assert!(error.to_string().contains("pidfd"), "{error}");
}
