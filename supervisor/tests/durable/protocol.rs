//! What crosses between a server and a supervisor, byte for byte in each version; and what is not understood.

use std::{
    fmt::Write,
    fs, io,
    os::{fd::AsFd, unix::fs::PermissionsExt},
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use remex_supervisor::{
    durable::{
        Link, SOCKET_FILE,
        message::{
            Attached, BlockedBy, EndCause, LinkRequest, MAX_PACKET_BYTES, MAX_STDIN_BYTES, Report,
            Stage, Status, StdinPiece, VERSION,
        },
    },
    journal::JournalCosts,
    lifecycle::{
        event::Exit,
        outcome::{Cause, ExitReason, Outcome},
        output::{Chunk, MAX_OUTPUT_BYTES, OutputStream},
        stdin::StdinError,
    },
    process::{ExitStatus, Making, NotStarted, Usage, WindowSize},
};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, connect, recv,
    send, socket_with,
};

use crate::{
    commands::{Running, shell},
    server::Server,
};

/// The bytes of each version, a packet a line. They never change.
const GOLDEN: [(u16, &str); 2] = [
    (1, include_str!("golden/v1.txt")),
    (2, include_str!("golden/v2.txt")),
];

fn requests() -> Vec<LinkRequest> {
    vec![
        LinkRequest::Hello { newest: 1 },
        LinkRequest::Prepare {
            id: "0197-ab".into(),
        },
        LinkRequest::Start {
            order: Bytes::new(),
        },
        LinkRequest::Attached(Attached {
            callers: 2,
            observers: 1,
            sent: 77,
        }),
        LinkRequest::Stdin(StdinPiece {
            offset: Some(5),
            eof: true,
            data: Bytes::from_static(b"abc"),
        }),
        LinkRequest::Stdin(StdinPiece {
            offset: None,
            eof: false,
            data: Bytes::new(),
        }),
        LinkRequest::Signal {
            request: 3,
            number: 15,
        },
        LinkRequest::Resize {
            request: 4,
            size: WindowSize {
                rows: 24,
                columns: 80,
            },
        },
        LinkRequest::End(EndCause::Disconnect),
        LinkRequest::End(EndCause::Shutdown),
        LinkRequest::GetStatus { request: 5 },
        LinkRequest::Release,
    ]
}

fn time() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::new(1_800_000_000, 123_456_789)
}

fn status() -> Status {
    Status {
        stage: Stage::Running,
        pid: 4711,
        last_sequence: 1,
        through: 2,
        first_kept: 3,
        stdin_accepted: 4,
        stdout_bytes: 5,
        stderr_bytes: 6,
        stored_bytes: 7,
        blocked: Some(BlockedBy::Disk),
        storage_error: "EIO".into(),
        attached: Attached {
            callers: 1,
            observers: 0,
            sent: 2,
        },
    }
}

fn exit(status: Option<ExitStatus>, reason: ExitReason) -> Report {
    Report::Ended {
        sequence: 9,
        time: time(),
        exit: Exit {
            outcome: Outcome {
                status,
                reason,
                unkillable: status.is_none(),
                output_cut: false,
            },
            wall_time: Duration::new(7, 8),
            usage: Usage {
                user: Duration::from_millis(1),
                system: Duration::from_millis(2),
                max_rss_bytes: status.map(|_| 4096),
            },
            oom_killed: true,
            output_left_open: false,
        },
        kept: true,
        summary: None,
    }
}

fn reports() -> Vec<Report> {
    let mut reports = vec![
        Report::Welcome {
            version: 1,
            id: "0197-ab".into(),
            stage: Stage::Running,
        },
        Report::Prepared,
        Report::Unfit {
            why: "its lock".into(),
        },
        Report::Started {
            pid: 4711,
            time: time(),
        },
        Report::NotStarted(NotStarted::Resources {
            making: Making::Process,
            errno: 11,
        }),
        Report::NotStarted(NotStarted::Held),
        Report::NotStarted(NotStarted::Storage {
            why: "full".into(),
            is_full: true,
        }),
        Report::StdinTaken { accepted: 8 },
        Report::StdinRefused(StdinError::Closed { at: 8 }),
        Report::StdinRefused(StdinError::Hole {
            accepted: 8,
            offset: 9,
        }),
        Report::Done {
            request: 3,
            done: true,
        },
        Report::Grown {
            through: 70,
            stdin_accepted: 8,
        },
        Report::Blocked(BlockedBy::Keep),
        Report::Blocked(BlockedBy::Disk),
        Report::Unblocked,
    ];
    for stage in [Stage::Spare, Stage::Ready, Stage::Starting, Stage::Ended] {
        reports.push(Report::Welcome {
            version: 1,
            id: String::new(),
            stage,
        });
    }
    reports.push(Report::Status {
        request: 5,
        status: status(),
    });
    for stream in [
        OutputStream::Stdout,
        OutputStream::Stderr,
        OutputStream::Terminal,
    ] {
        reports.push(Report::Output {
            sequence: 2,
            time: time(),
            chunk: Chunk {
                stream,
                offset: 10,
                data: Bytes::from_static(b"out"),
            },
        });
    }
    let died = ExitStatus::Signal {
        number: 9,
        core_dumped: true,
    };
    reports.extend([
        exit(Some(ExitStatus::Code(3)), ExitReason::Own),
        exit(Some(died), ExitReason::Signal),
        exit(Some(died), ExitReason::Ended(Cause::Timeout)),
        exit(Some(died), ExitReason::Ended(Cause::Disconnect)),
        exit(Some(died), ExitReason::Ended(Cause::Shutdown)),
        exit(None, ExitReason::Lost),
    ]);
    reports
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits = hex.as_bytes().chunks(2);
    let byte = |digits| u8::from_str_radix(std::str::from_utf8(digits).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

/// What came into the protocol after all of the above.
fn later_requests(version: u16) -> Vec<LinkRequest> {
    if version < 2 {
        return Vec::new();
    }
    vec![LinkRequest::Place {
        path: "/sys/fs/cgroup/a".into(),
    }]
}

/// The same of reports.
fn later_reports(version: u16) -> Vec<Report> {
    let costs = JournalCosts {
        written_bytes: 4096,
        syncs: 3,
    };
    let mut reports = vec![Report::Costs(costs)];
    if version >= 2 {
        let mut end = exit(Some(ExitStatus::Code(3)), ExitReason::Own);
        if let Report::Ended { summary, .. } = &mut end {
            *summary = Some(Box::new((status(), costs)));
        }
        reports.push(end);
    }
    reports
}

#[test]
fn each_version_is_what_it_was() {
    for (version, golden) in GOLDEN {
        let mut kept = golden.lines();
        let mut written = String::new();
        for request in requests().into_iter().chain(later_requests(version)) {
            let packet = request.encode(version);
            let _ = writeln!(written, "{}", hex(&packet));
            if let Some(line) = kept.next() {
                assert_eq!(LinkRequest::decode(&bytes(line)), Ok(Some(request)));
            }
        }
        for report in reports().into_iter().chain(later_reports(version)) {
            let packet = report.encode(version);
            let _ = writeln!(written, "{}", hex(&packet));
            if let Some(line) = kept.next() {
                assert_eq!(Report::decode(&bytes(line)), Ok(Some(report)));
            }
        }
        assert_eq!(golden, written);
    }
    assert_eq!(GOLDEN.map(|(version, _)| version), [1, VERSION]);
}

#[test]
fn what_is_cut_short_is_not_understood_and_what_is_new_is_ignored() {
    for line in GOLDEN.iter().flat_map(|(_, golden)| golden.lines()) {
        let packet = bytes(line);
        for length in 0..packet.len() {
            // Its length says otherwise.
            assert!(LinkRequest::decode(&packet[..length]).is_err());
            assert!(Report::decode(&packet[..length]).is_err());
            if length >= 8 {
                // The length agrees, but the fields are not all there; both know only their own tags.
                let mut cut = packet[..length].to_vec();
                cut[..4].copy_from_slice(&u32::try_from(length).unwrap().to_le_bytes());
                let known = |found: bool| assert!(!found, "{length} of {line}");
                known(matches!(LinkRequest::decode(&cut), Ok(Some(_))));
                known(matches!(Report::decode(&cut), Ok(Some(_))));
            }
        }
        // A later version knows more fields.
        let mut longer = [&packet[..], b"more"].concat();
        let length = u32::try_from(longer.len()).unwrap();
        longer[..4].copy_from_slice(&length.to_le_bytes());
        let is_request = matches!(LinkRequest::decode(&packet), Ok(Some(_)));
        assert_eq!(
            matches!(LinkRequest::decode(&longer), Ok(Some(_))),
            is_request
        );
        assert_eq!(matches!(Report::decode(&longer), Ok(Some(_))), !is_request);
        // Or more tags.
        longer[6..8].copy_from_slice(&999_u16.to_le_bytes());
        assert_eq!(LinkRequest::decode(&longer), Ok(None));
        assert_eq!(Report::decode(&longer), Ok(None));
    }
}

#[test]
fn the_longest_packets_are_no_longer_than_any_may_be() {
    let piece = LinkRequest::Stdin(StdinPiece {
        offset: Some(u64::MAX),
        eof: true,
        data: vec![0; MAX_STDIN_BYTES].into(),
    });
    assert!(piece.encode(VERSION).len() <= MAX_PACKET_BYTES);
    let output = Report::Output {
        sequence: u64::MAX,
        time: time(),
        chunk: Chunk {
            stream: OutputStream::Terminal,
            offset: u64::MAX,
            data: vec![0; MAX_OUTPUT_BYTES].into(),
        },
    };
    assert!(output.encode(VERSION).len() <= MAX_PACKET_BYTES);
}

/// A socket that is connected to the supervisor, as whoever asks it is.
fn connected(server: &Server) -> rustix::io::Result<std::os::fd::OwnedFd> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    connect(
        &socket,
        &SocketAddrUnix::new(server.path.join(SOCKET_FILE))?,
    )?;
    Ok(socket)
}

fn waiting() -> Running {
    let mut command = shell("echo ready; read line; echo got $line");
    command.stdin_open = true;
    let mut running = command.start();
    running.until_ready();
    running
}

#[test]
fn who_speaks_something_else_is_let_go_and_the_execution_goes_on() {
    let mut running = waiting();
    for garbage in [
        &b"x"[..],
        &[0; 8],
        &[0xff; 64],
        b"GET / HTTP/1.1\r\n\r\n",
        &b"x".repeat(100_000),
    ] {
        let socket = connected(&running.server).unwrap();
        send(&socket, garbage, SendFlags::NOSIGNAL).unwrap();
        // Its end, with or without what it has said having been read.
        let end = recv(&socket, &mut [0; 64], RecvFlags::empty());
        assert!(
            matches!(end, Ok((_, 0)) | Err(rustix::io::Errno::CONNRESET)),
            "{end:?}"
        );
    }
    // Tags that it does not know do no harm.
    let mut unknown = LinkRequest::Release.encode(VERSION);
    unknown[6..8].copy_from_slice(&999_u16.to_le_bytes());
    send(&running.server.link, &unknown, SendFlags::NOSIGNAL).unwrap();
    running.write(b"it\n", true);
    assert_eq!(running.end().text(), "ready\ngot it\n");
}

#[test]
fn two_pieces_of_stdin_at_a_time_are_too_many() {
    let mut command = shell("echo ready; read line; exec sleep 1000");
    command.stdin = vec![b'x'; 3 << 20];
    command.stdin_open = true;
    let mut running = command.start();
    let piece = || {
        LinkRequest::Stdin(StdinPiece {
            offset: None,
            eof: false,
            data: Bytes::from_static(b"y"),
        })
    };
    running.server.send(&piece());
    running.server.send(&piece());
    while running.server.report().is_some() {}
    let mut server = Server::find(&running.server.path);
    server.remains = running.server.remains.take();
    server.greet(Stage::Running);
    let mut running = Running::of(server);
    assert!(running.signal(9));
    running.end();
}

#[test]
fn a_server_of_any_version_is_answered_in_one_that_both_speak() {
    let mut running = waiting();
    for (newest, spoken) in [
        (VERSION, VERSION),
        (VERSION + 1, VERSION),
        (u16::MAX, VERSION),
        (1, 1),
        (0, 1),
    ] {
        let mut other = Server::find(&running.server.path);
        other.send(&LinkRequest::Hello { newest });
        match other.report() {
            Some(Report::Welcome { version, id, stage }) => {
                assert_eq!(
                    (version, id, stage),
                    (spoken, other.id.clone(), Stage::Running)
                );
            }
            report => panic!("{report:?}"),
        }
        other.remains = running.server.remains.take();
        running = Running::of(other);
    }
    running.write(b"it\n", true);
    assert_eq!(running.end().text(), "ready\ngot it\n");
}

/// Needs root: another user's rights are to be had. Named so that a run without them can leave it out.
#[test]
#[expect(unsafe_code, reason = "becomes another user, in one thread")]
fn root_alone_a_peer_of_another_user_is_not_believed() {
    const NOBODY: libc::uid_t = 65_534;
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let mut running = waiting();
    // As far as names go, everybody may.
    let open = |path: &std::path::Path| {
        fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    };
    open(&running.server.path);
    open(&running.server.path.join(SOCKET_FILE));
    open(running.server.path.parent().unwrap());
    let server = &running.server;
    let refused = std::thread::scope(|scope| {
        let other = scope.spawn(|| {
            // SAFETY: acts on this thread alone, which is not used for anything else.
            let changed = unsafe { libc::syscall(libc::SYS_setresuid, NOBODY, NOBODY, NOBODY) };
            assert_eq!(changed, 0, "{}", io::Error::last_os_error());
            // It does not believe the supervisor either.
            let link = Link::connect(server.folder.as_fd());
            assert_eq!(link.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
            let socket = connected(server).unwrap();
            let hello = LinkRequest::Hello { newest: VERSION }.encode(VERSION);
            let _ = send(&socket, &hello, SendFlags::NOSIGNAL);
            recv(&socket, &mut [0; 64], RecvFlags::empty())
        });
        other.join().unwrap()
    });
    assert!(
        matches!(refused, Ok((_, 0)) | Err(rustix::io::Errno::CONNRESET)),
        "{refused:?}"
    );
    running.write(b"it\n", true);
    assert_eq!(running.end().text(), "ready\ngot it\n");
}
