//! The executions of one remexd in the hands of another version. `ci/upgrade OLD NEW` has two commits and one that is later than
//! both take part; without it the remexd that is tested follows itself, and what is later than it is a journal that says so.

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
    thread::{self, JoinHandle},
};

use remex::v1::{Event, GetRequest, OnDisconnect, ResizeRequest, StartRequest, execution::State};
use rustix::{
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept, bind,
        listen, recv, send, socket_with,
    },
    process::Signal,
};
use tonic::Code;

use super::support::{exit, from, output, started_id};
use crate::{
    harness::{Daemon, Home, binaries::binary, eventually, soon},
    supervision::support::{RequestExt, Server, argv, ending, shell},
};

/// As many run while they are handed on.
const RUNNING: usize = 50;

/// What an ended one has written.
const ENDED: &str = "echo before; exit 3";

/// A program that `ci/upgrade` has built.
fn built(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).map(PathBuf::from)
}

/// The one that it has, or the one that is tested.
fn remexd(variable: &str) -> PathBuf {
    built(variable).unwrap_or_else(|| binary("remexd").to_owned())
}

async fn serve(home: &Home, program: &Path) -> Server {
    let daemon = Daemon::spawn(home, home.remexd_by(program, &[])).await;
    let client = daemon.client().await;
    Server { daemon, client }
}

/// It ends as a package's upgrade ends it, or as nobody should.
async fn end(server: Server, signal: Signal) {
    let Server { mut daemon, .. } = server;
    daemon.signal(signal);
    let status = daemon.wait().await;
    assert!(signal == Signal::KILL || status.success(), "{status}");
}

/// One that runs.
struct Running {
    id: String,
    has_terminal: bool,
    request: StartRequest,
    /// What was told of it before.
    before: Vec<Event>,
}

impl Running {
    /// Number `number`, which waits for a line: on a terminal, or by pipes, or while it writes.
    async fn start(server: &Server, number: usize) -> Self {
        let has_terminal = number.is_multiple_of(3);
        let text = match number % 3 {
            0 => "stty -echo; echo begin; read a; echo got $a $(stty size); seq 500; exit 5",
            1 => "echo begin; read a; echo got $a; seq 500; exit 5",
            _ => {
                // Seldom, so that many of them are no load, and not for ever, if a test is left in the middle.
                "(i=0; while [ $i -lt 400 ]; do echo $i; i=$((i+1)); sleep 0.5; done) & \
                 echo begin; read a; kill $! 2>/dev/null; wait 2>/dev/null; echo got $a; exit 5"
            }
        };
        let mut request = shell(text).stdin_open();
        if has_terminal {
            request = request.on_terminal();
        }
        request.request_id = format!("running {number}");
        request.on_disconnect = OnDisconnect::Detach.into();
        let mut events = server.start_events(request.clone()).await;
        events.until("begin").await;
        Self {
            id: started_id(&events.all[0]),
            has_terminal,
            request,
            before: events.all,
        }
    }

    /// Ends it at a server that has it from another one: it is all there, and it is the same one.
    async fn finish(self, server: &Server) {
        let record = server.get(&self.id).await;
        assert_eq!(record.state(), State::Running);
        let after = self.before.len() as u64;
        let mut rest = server.attach(from(&self.id, after)).await;
        if self.has_terminal {
            let resize = ResizeRequest {
                execution_id: self.id.clone(),
                rows: 33,
                columns: 44,
            };
            let resized = soon("a resize", server.exec().resize(resize)).await;
            resized.expect("it has a terminal");
        }
        server.write_to(&self.id, b"it\n").await;
        let got = if self.has_terminal {
            "got it 33 44\r\n"
        } else {
            "got it\n"
        };
        rest.until(got).await;
        let rest = rest.end().await;
        assert_eq!(ending(exit(&rest)), (5, 0, remex::v1::exit::Reason::Self_));
        let again = server.start_events(self.request).await.end().await;
        assert!(
            again == [self.before, rest].concat(),
            "{} is told otherwise",
            self.id
        );
        let offsets = again.iter().filter_map(|event| match &event.kind {
            Some(remex::v1::event::Kind::Output(output)) => {
                Some((output.offset, output.data.len()))
            }
            _ => None,
        });
        let end = offsets.fold(0, |expected, (offset, length)| {
            assert_eq!(offset, expected, "{}", self.id);
            offset + length as u64
        });
        assert_eq!(end, output(&again).len() as u64);
    }
}

/// What has ended before, as it was told then.
async fn ended(server: &Server, request_id: &str) -> Vec<Event> {
    server
        .start_events(ended_request(request_id))
        .await
        .end()
        .await
}

fn ended_request(request_id: &str) -> StartRequest {
    StartRequest {
        request_id: request_id.to_owned(),
        ..shell(ENDED)
    }
}

async fn are_handed_on(signal: Signal) {
    let home = Home::new();
    let old = serve(&home, &remexd("REMEX_OLD")).await;
    let told = ended(&old, "ended").await;
    let mut running = Vec::new();
    for number in 0..RUNNING {
        running.push(Running::start(&old, number).await);
    }
    end(old, signal).await;
    let new = serve(&home, &remexd("REMEX_NEW")).await;
    for one in running {
        one.finish(&new).await;
    }
    assert_eq!(ended(&new, "ended").await, told);
    assert!(!home.log().contains("is left alone"), "{}", home.log());
    new.daemon.stop().await;
}

#[tokio::test]
async fn fifty_that_run_are_handed_on_in_an_upgrade() {
    are_handed_on(Signal::TERM).await;
}

#[tokio::test]
async fn fifty_that_run_are_handed_on_after_a_crash() {
    are_handed_on(Signal::KILL).await;
}

/// Every file of an execution, but for the sockets.
fn files(home: &Home, id: &str) -> BTreeMap<PathBuf, Vec<u8>> {
    let folder = fs::read_dir(home.path("state/durable").join(id)).expect("its folder");
    let files = folder.map(|file| file.expect("a file").path());
    files
        .filter_map(|file| Some((file.clone(), fs::read(&file).ok()?)))
        .collect()
}

/// Has the headers of a journal say that only versions from `version` on understand it.
fn say_version(home: &Home, id: &str, version: u16) {
    for (file, mut bytes) in files(home, id) {
        if !bytes.starts_with(b"rmxjrnl\n") {
            continue;
        }
        let length = usize::from(u16::from_le_bytes([bytes[12], bytes[13]]));
        let header = &mut bytes[..length];
        header[8..10].copy_from_slice(&version.to_le_bytes());
        header[10..12].copy_from_slice(&version.to_le_bytes());
        header[16..20].fill(0);
        let sum = crc32c::crc32c(header);
        header[16..20].copy_from_slice(&sum.to_le_bytes());
        // In its place: its supervisor goes on behind it.
        let file = fs::File::options().write(true).open(file);
        let file = file.expect("its segment");
        std::os::unix::fs::FileExt::write_all_at(&file, header, 0).expect("a header");
    }
}

/// The log says that it is left alone, and why.
async fn is_named(home: &Home, id: &str) {
    let named = || {
        let log = home.log();
        let mut lines = log.lines();
        let line = lines.find(|line| line.contains("is left alone") && line.contains(id));
        line.map(str::to_owned)
    };
    let named = eventually("its name in the log", named).await;
    assert!(named.contains("later version"), "{named}");
}

/// Listens at `path` in a supervisor's place, and answers one hello as the supervisor of `id` that speaks `version` and nothing
/// older. Returns what it was told.
fn speak_version(path: &Path, id: &str, version: u16) -> JoinHandle<Vec<u8>> {
    let kind = SocketType::SEQPACKET;
    let socket = socket_with(AddressFamily::UNIX, kind, SocketFlags::CLOEXEC, None);
    let socket = socket.expect("a socket");
    bind(&socket, &SocketAddrUnix::new(path).expect("a short path")).expect("its name");
    listen(&socket, 1).expect("an ear");
    // How long it is, version and tag: these, and all of a welcome, are the same in every version.
    let version = version.to_le_bytes();
    let name = u32::try_from(id.len()).expect("short").to_le_bytes();
    let running = [3];
    let body = [&version[..], &name[..], id.as_bytes(), &running].concat();
    let length = u32::try_from(8 + body.len()).expect("short").to_le_bytes();
    let welcome = [&length[..], &version[..], &101_u16.to_le_bytes(), &body].concat();
    thread::spawn(move || {
        let server = accept(&socket).expect("a server");
        let mut hello = vec![0; 4096];
        let (length, _) = recv(&server, &mut hello[..], RecvFlags::empty()).expect("a hello");
        send(&server, &welcome, SendFlags::NOSIGNAL).expect("a server that listens");
        hello.truncate(length);
        hello
    })
}

#[tokio::test]
async fn a_supervisor_that_speaks_a_later_version_alone_is_left_alone_and_named() {
    let home = Home::new();
    let server = serve(&home, binary("remexd")).await;
    let running = Running::start(&server, 0).await;
    end(server, Signal::TERM).await;
    let socket = home
        .path("state/durable")
        .join(&running.id)
        .join("supervisor.socket");
    let aside = home.path("aside");
    fs::rename(&socket, &aside).expect("its socket");
    let later = speak_version(&socket, &running.id, 9);

    let server = serve(&home, binary("remexd")).await;
    is_named(&home, &running.id).await;
    let hello = later.join().expect("no panic");
    assert_eq!(hello[6..8], [1, 0], "{hello:?} is no hello");
    end(server, Signal::TERM).await;

    fs::rename(aside, socket).expect("its socket");
    let server = serve(&home, binary("remexd")).await;
    running.finish(&server).await;
    server.daemon.stop().await;
}

#[tokio::test]
async fn an_older_one_leaves_what_is_of_a_later_one_alone_and_names_it() {
    let home = Home::new();
    let is_built = built("REMEX_LATER").is_some();
    let later = serve(&home, &remexd("REMEX_LATER")).await;
    let told = ended(&later, "ended").await;
    let mut running = Vec::new();
    for number in 0..3 {
        running.push(Running::start(&later, number).await);
    }
    end(later, Signal::TERM).await;
    let ended_id = started_id(&told[0]);
    let ids: Vec<_> = running
        .iter()
        .map(|one| &*one.id)
        .chain([&*ended_id])
        .collect();
    let say = |version| {
        for id in ids.iter().filter(|_| !is_built) {
            say_version(&home, id, version);
        }
    };
    say(9);
    let before = files(&home, &ended_id);
    let supervisors: Vec<_> = running
        .iter()
        .map(|one| home.supervisor_of(&one.id))
        .collect();
    assert!(supervisors.iter().all(Option::is_some));

    let older = serve(&home, &remexd("REMEX_NEW")).await;
    older.run(argv(["true"])).await;
    let own = ended(&older, "its own").await;
    for id in &ids {
        is_named(&home, id).await;
        let request = GetRequest {
            execution_id: (*id).to_owned(),
            ..GetRequest::default()
        };
        let unknown = soon("an answer", older.exec().get(request)).await;
        assert_eq!(unknown.map(drop).unwrap_err().code(), Code::NotFound);
    }
    // Nothing that was asked for by a request id is run again.
    let refused = older.refusal(ended_request("ended")).await;
    assert!(refused.message().contains("cannot read"), "{refused}");
    end(older, Signal::TERM).await;
    assert_eq!(files(&home, &ended_id), before);
    let now: Vec<_> = running
        .iter()
        .map(|one| home.supervisor_of(&one.id))
        .collect();
    assert_eq!(now, supervisors);

    say(1);
    let later = serve(&home, &remexd("REMEX_LATER")).await;
    for one in running {
        one.finish(&later).await;
    }
    assert_eq!(ended(&later, "ended").await, told);
    assert_eq!(ended(&later, "its own").await, own);
    later.daemon.stop().await;
}
