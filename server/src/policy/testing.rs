//! What tests of policies start from.

use std::path::Path;

use remex_daemon::{File, FileError};
use remex_supervisor::process::ResourceLimits;

use super::{
    examples::asker,
    machine::Machine,
    question::{Act, AskedCommand, Directory, Program, Question, Rpc, RunAs},
    rule::{AccessPolicy, NamedUser},
};

/// A machine with the users `root`, `app` (7) and `ops` (8), the groups `root`, `app` (7) and `wheel` (10), in which `ops` is,
/// and a link `/usr/bin/python` to `/usr/bin/python3.13`.
pub(super) struct TestMachine;

impl Machine for TestMachine {
    fn account(&self, name: &str) -> Result<NamedUser, String> {
        let uid = match name {
            "root" | "0" => 0,
            "app" | "7" => 7,
            "ops" | "8" => 8,
            _ => return Err("is no user".to_owned()),
        };
        Ok(NamedUser {
            text: name.to_owned(),
            uid,
            gid: uid,
        })
    }

    fn group(&self, name: &str) -> Result<u32, String> {
        match name {
            "wheel" => Ok(10),
            name => self.account(name).map(|user| user.gid),
        }
    }

    fn groups_of(&self, uid: u32) -> Result<Vec<u32>, String> {
        Ok(if uid == 8 { vec![8, 10] } else { vec![uid] })
    }

    fn real(&self, path: &[u8]) -> Option<Vec<u8>> {
        let real: &[u8] = match path {
            b"/usr/bin/python" => b"/usr/bin/python3.13",
            b"/bin/sh" => b"/usr/bin/dash",
            path => path,
        };
        Some(real.to_vec())
    }
}

pub(super) fn parse(text: &str) -> Result<AccessPolicy, FileError> {
    AccessPolicy::parse(
        &File::new(Path::new("policy.toml"), text.to_owned()),
        &TestMachine,
    )
}

/// `caller` asks for nothing but a program that is where it is named.
pub(super) fn command(caller: &str, program: &str, arguments: &[&str]) -> Question {
    Question {
        asker: asker(caller, &TestMachine).unwrap(),
        act: Act::Command(
            Rpc::Run,
            Box::new(AskedCommand {
                shell: false,
                program: Program::File {
                    named: program.into(),
                    real: program.into(),
                },
                arguments: arguments.iter().map(|text| (*text).into()).collect(),
                directory: Directory::Unset,
                environment: Vec::new(),
                user: RunAs::Unset,
                limits: ResourceLimits::default(),
            }),
        ),
    }
}

impl Question {
    /// With another command.
    pub(super) fn with(mut self, change: impl FnOnce(&mut AskedCommand)) -> Self {
        if let Act::Command(_, command) = &mut self.act {
            change(command);
        }
        self
    }
}
