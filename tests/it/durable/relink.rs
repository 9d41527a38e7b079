//! remexd loses the link to a supervisor that lives, and asks it again while the execution ends: it is told as it was, never as
//! lost. A process of the same user stands in for the supervisor there, so that nothing is left to chance.

use std::{
    fs,
    io::{self, ErrorKind},
    os::fd::{AsFd, AsRawFd, OwnedFd},
};

use remex::v1::{StartResponse, exit::Reason};
use remex_supervisor::{
    durable::{
        Link, SOCKET_FILE,
        message::{LinkRequest, MAX_PACKET_BYTES, Report, Stage, StdinPiece, VERSION},
    },
    journal::DiskFolder,
};
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketAddrUnix, SocketFlags, SocketType, accept_with,
    bind, listen, recv, send, socket_with,
};

use super::support::{Events, detached, exit, from, output, started_id};
use crate::{
    harness::eventually,
    supervision::support::{RequestExt, Server, ending, shell},
};

const FLAGS: SocketFlags = SocketFlags::CLOEXEC.union(SocketFlags::NONBLOCK);

/// An execution that waits for a line, and remexd on its way to who stands in for its supervisor.
struct Scene {
    server: Server,
    events: Events<StartResponse>,
    id: String,
    /// To the supervisor, which listens to this one now.
    link: Link,
    /// To remexd, which has said hello.
    stand_in: OwnedFd,
}

impl Scene {
    async fn set() -> Self {
        let server = Server::start(&[]).await;
        let text = "echo runs; read line; echo got $line; exit 7";
        let request = detached(shell(text).stdin_open());
        let mut events = server.start_events(request).await;
        events.until("runs").await;
        let id = started_id(&events.all[0]);
        let path = server.daemon.home().path("state/durable").join(&id);
        let folder = DiskFolder::open(&path).expect("its folder");
        let link = Link::connect(folder.as_fd()).expect("its supervisor");
        fs::remove_file(path.join(SOCKET_FILE)).expect("its socket");
        let listener = listen_in(&folder).expect("a socket");
        // The supervisor leaves remexd for whoever comes after it, and remexd comes back.
        link.send(&LinkRequest::Hello { newest: VERSION })
            .expect("it listens");
        let stand_in = eventually("remexd", || accept_with(&listener, FLAGS).ok()).await;
        let hello = LinkRequest::Hello { newest: VERSION };
        assert_eq!(asked(&stand_in).await, hello);
        Self {
            server,
            events,
            id,
            link,
            stand_in,
        }
    }

    /// Has the execution end. What its supervisor said of that; that has gone when this returns.
    async fn end(&mut self) -> Report {
        let line = StdinPiece {
            offset: None,
            eof: false,
            data: b"it\n".as_slice().into(),
        };
        self.link.send(&LinkRequest::Stdin(line)).expect("it lives");
        let mut last = None;
        eventually("its end", || {
            loop {
                match self.link.receive() {
                    Ok(Some(report @ Report::Ended { .. })) => last = Some(report),
                    Ok(Some(_)) => {}
                    Ok(None) => return Some(()),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                    Err(error) => panic!("{error}"),
                }
            }
        })
        .await;
        last.expect("it has ended")
    }

    fn answer(&self, packet: &[u8]) {
        send(&self.stand_in, packet, SendFlags::NOSIGNAL).expect("remexd is there");
    }

    async fn told_as_it_was(self) {
        let Self {
            server,
            events,
            id,
            link,
            stand_in,
        } = self;
        // Whoever stands in goes without a word more.
        drop((link, stand_in));
        let all = events.end().await;
        assert_eq!(ending(exit(&all)), (7, 0, Reason::Self_));
        assert_eq!(output(&all), b"runs\ngot it\n");
        let record = server.wait(&id).await;
        assert_eq!(record.exit.as_ref(), Some(exit(&all)));
        assert_eq!(server.attach(from(&id, 0)).await.end().await, all);
        server.daemon.stop().await;
    }
}

fn listen_in(folder: &DiskFolder) -> io::Result<OwnedFd> {
    let socket = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, FLAGS, None)?;
    let path = format!("/proc/self/fd/{}/{SOCKET_FILE}", folder.as_fd().as_raw_fd());
    bind(&socket, &SocketAddrUnix::new(path)?)?;
    listen(&socket, 1)?;
    Ok(socket)
}

/// What remexd asks next.
async fn asked(stand_in: &OwnedFd) -> LinkRequest {
    let mut packet = vec![0; MAX_PACKET_BYTES];
    let length = eventually("a request", || {
        let received = recv(stand_in, &mut packet, RecvFlags::DONTWAIT);
        received.ok().map(|(length, _)| length)
    })
    .await;
    let request = LinkRequest::decode(&packet[..length]).expect("a packet");
    request.expect("it is known")
}

#[tokio::test]
async fn an_end_that_comes_while_its_supervisor_is_asked_is_what_its_journal_says() {
    let welcome = |id: &str, stage| Report::Welcome {
        version: VERSION,
        id: id.to_owned(),
        stage,
    };
    for answer in [None, Some(Stage::Running), Some(Stage::Ready)] {
        let mut scene = Scene::set().await;
        scene.end().await;
        if let Some(stage) = answer {
            scene.answer(&welcome(&scene.id, stage).encode(VERSION));
        }
        scene.told_as_it_was().await;
    }
    let mut scene = Scene::set().await;
    scene.end().await;
    scene.answer(b"nothing that anybody understands");
    scene.told_as_it_was().await;
}

/// As it is where the journal could not be written: the supervisor waits until somebody has taken its end from it.
#[tokio::test]
async fn an_end_that_the_supervisor_still_holds_is_taken_from_it() {
    let mut scene = Scene::set().await;
    let Report::Ended {
        sequence,
        time,
        exit,
        ..
    } = scene.end().await
    else {
        panic!("it has no end");
    };
    let welcome = Report::Welcome {
        version: VERSION,
        id: scene.id.clone(),
        stage: Stage::Ended,
    };
    let ended = Report::Ended {
        sequence,
        time,
        exit,
        kept: false,
        // As one of version 1 tells it: the rest is in the journal.
        summary: None,
    };
    scene.answer(&welcome.encode(VERSION));
    scene.answer(&ended.encode(VERSION));
    while asked(&scene.stand_in).await != LinkRequest::Release {}
    let record = scene.server.wait(&scene.id).await;
    assert!(
        record.storage_error.contains("could not be stored"),
        "{record:?}"
    );
    scene.told_as_it_was().await;
}
