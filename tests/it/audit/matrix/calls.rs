//! The calls, in an order in which each succeeds: one starts what the next ones are about.

use std::{fs, path::PathBuf};

use bytes::Bytes;
use prost::Message;
use remex::v1::{
    AttachRequest, Command, DeleteRequest, EchoRequest, EchoStreamRequest, GetRequest,
    GetServerInfoRequest, InteractRequest, ListRequest, OnDisconnect, ResizeRequest, RunRequest,
    SignalRequest, StartRequest, StartResponse, StdinChunk, Terminal, WaitRequest, WriteRequest,
    event::Kind, interact_request,
};

use super::SECRETS;
use crate::{
    bad_input::argv,
    harness::{
        Home, LOOK_AGAIN, Marker,
        http2::{Answer, framed},
    },
};

/// Nobody's.
const NO_EXECUTION: &str = "018f0000-0000-7000-8000-000000000000";

const KILL: i32 = 9;

/// One of them.
#[derive(Clone, Copy)]
pub(super) struct Call {
    pub(super) path: &'static str,
    /// Its stream goes on after its first message.
    pub(super) goes_on: bool,
    pub(super) starts: bool,
    pub(super) body: fn(&Target) -> Bytes,
}

impl Call {
    /// What a line calls it.
    pub(super) fn rpc(&self) -> &str {
        match self.path.strip_prefix("/remex.v1.") {
            Some(own) => own.split_once('/').expect("a service").1,
            None => &self.path[1..],
        }
    }

    /// Everybody may make it who is on this machine.
    pub(super) fn is_open(&self) -> bool {
        self.path.starts_with("/grpc.") || self.path.ends_with("/GetServerInfo")
    }
}

const fn call(path: &'static str, body: fn(&Target) -> Bytes) -> Call {
    Call {
        path,
        goes_on: false,
        starts: false,
        body,
    }
}

const fn starting(path: &'static str, body: fn(&Target) -> Bytes) -> Call {
    Call {
        starts: true,
        ..call(path, body)
    }
}

const fn going_on(call: Call) -> Call {
    Call {
        goes_on: true,
        ..call
    }
}

/// `list_services` of a request for reflection.
const LIST_SERVICES: &[u8] = b"\0\0\0\0\x03\x3a\x01*";

pub(super) const CALLS: &[Call] = &[
    starting("/remex.v1.ExecService/Run", |target| {
        framed(&RunRequest {
            command: Some(Command {
                environment: [("KEY".to_owned(), SECRETS[1].to_owned())].into(),
                ..argv(&[
                    "sh",
                    "-c",
                    &target.touch("Run"),
                    &format!("--password={}", SECRETS[0]),
                ])
            }),
            stdin_data: SECRETS[2].into(),
            ..RunRequest::default()
        })
    }),
    going_on(starting("/remex.v1.ExecService/Start", |target| {
        framed(&StartRequest {
            command: Some(Command {
                shell: format!("{}; exec sleep {}", target.touch("Start"), target.marker),
                terminal: Some(Terminal::default()),
                ..Command::default()
            }),
            stdin_open: true,
            on_disconnect: OnDisconnect::Detach.into(),
            ..StartRequest::default()
        })
    })),
    call("/remex.v1.ExecService/Get", |target| {
        framed(&GetRequest {
            execution_id: target.id.clone(),
            ..GetRequest::default()
        })
    }),
    call("/remex.v1.ExecService/List", |_| {
        framed(&ListRequest::default())
    }),
    call("/remex.v1.ExecService/Attach", |target| {
        framed(&AttachRequest {
            execution_id: target.id.clone(),
            no_follow: true,
            ..AttachRequest::default()
        })
    }),
    call("/remex.v1.ExecService/Write", |target| {
        framed(&WriteRequest {
            execution_id: target.id.clone(),
            chunk: Some(StdinChunk {
                data: SECRETS[2].into(),
                ..StdinChunk::default()
            }),
        })
    }),
    call("/remex.v1.ExecService/Resize", |target| {
        framed(&ResizeRequest {
            execution_id: target.id.clone(),
            rows: 30,
            columns: 100,
        })
    }),
    starting("/remex.v1.ExecService/Interact", |target| {
        framed(&InteractRequest {
            message: Some(interact_request::Message::Start(Box::new(StartRequest {
                command: Some(Command {
                    shell: target.touch("Interact"),
                    ..Command::default()
                }),
                ..StartRequest::default()
            }))),
        })
    }),
    call("/remex.v1.ExecService/Signal", |target| {
        framed(&SignalRequest {
            execution_id: target.id.clone(),
            signal: KILL,
        })
    }),
    call("/remex.v1.ExecService/Wait", |target| {
        framed(&WaitRequest {
            execution_id: target.id.clone(),
            ..WaitRequest::default()
        })
    }),
    call("/remex.v1.ExecService/Delete", |target| {
        framed(&DeleteRequest {
            execution_id: target.id.clone(),
        })
    }),
    call("/remex.v1.EchoService/Echo", |_| {
        framed(&EchoRequest::default())
    }),
    call("/remex.v1.EchoService/EchoStream", |_| {
        framed(&EchoStreamRequest::default())
    }),
    call("/remex.v1.ExecService/GetServerInfo", |_| {
        framed(&GetServerInfoRequest {})
    }),
    call("/grpc.health.v1.Health/Check", |_| {
        Bytes::from_static(&[0; 5])
    }),
    going_on(call("/grpc.health.v1.Health/Watch", |_| {
        Bytes::from_static(&[0; 5])
    })),
    call(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        |_| Bytes::from_static(LIST_SERVICES),
    ),
    call(
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        |_| Bytes::from_static(LIST_SERVICES),
    ),
];

/// What calls are about.
pub(super) struct Target {
    folder: PathBuf,
    marker: Marker,
    /// The execution that Start has started.
    id: String,
}

impl Target {
    pub(super) fn new(home: &Home) -> Self {
        let folder = home.path("ran");
        fs::create_dir(&folder).expect("a folder");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o777);
        fs::set_permissions(&folder, mode).expect("its mode");
        Self {
            folder,
            marker: Marker::new(),
            id: NO_EXECUTION.to_owned(),
        }
    }

    /// A command that leaves a file for the call `rpc`.
    fn touch(&self, rpc: &str) -> String {
        format!("touch {}", self.folder.join(rpc).display())
    }

    /// Returns once the command of `call` has left its file.
    pub(super) async fn has_run(&self, call: &Call) {
        while !self.folder.join(call.rpc()).exists() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    pub(super) fn has_run_nothing(&self) -> bool {
        let left = fs::read_dir(&self.folder).expect("the folder").count();
        left == 0 && self.marker.processes().is_empty()
    }

    /// Takes the id of what has been started.
    pub(super) fn learn(&mut self, call: &Call, answer: &Answer) {
        if call.path != "/remex.v1.ExecService/Start" {
            return;
        }
        let length = u32::from_be_bytes(answer.data[1..5].try_into().expect("a length"));
        let end = 5 + usize::try_from(length).expect("a size");
        let first = StartResponse::decode(&answer.data[5..end]).expect("a message");
        match first.event.and_then(|event| event.kind) {
            Some(Kind::Started(started)) => self.id = started.execution_id,
            other => panic!("{other:?}"),
        }
    }
}
