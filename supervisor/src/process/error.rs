//! Why a command could not be started: which step failed, on what.

use std::{io, path::PathBuf};

/// A start that ran nothing.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The program is nowhere on PATH, or not where its path says.
    #[error("program {program:?} not found{searched}")]
    ProgramNotFound {
        /// As the caller named it.
        program: String,
        /// Where it was looked for, as a phrase; empty for a path.
        searched: String,
    },
    /// The program is there and the kernel, or its mode, says no.
    #[error("program {program:?} cannot be executed: {why}")]
    ProgramNotExecutable {
        /// The file.
        program: String,
        /// What stands in the way.
        why: String,
    },
    /// The working directory is not there or may not be entered.
    #[error("working directory {path:?}: {}", words(source))]
    WorkingDirectory {
        /// The folder.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// The user is not in the user database.
    #[error("user {user:?} not found")]
    UserNotFound {
        /// As the caller named it.
        user: String,
    },
    /// The server may not become that user.
    #[error("cannot run as user {user:?}: {why}")]
    UserSwitch {
        /// As the caller named it.
        user: String,
        /// Why not.
        why: String,
    },
    /// A limit cannot be applied here.
    #[error("limit {limit} cannot be applied: {why}")]
    LimitUnavailable {
        /// The field's name in the API.
        limit: &'static str,
        /// Why not.
        why: String,
    },
    /// What a command was to be kept from cannot be kept from it here.
    #[error("isolation.{field} cannot be applied: {why}")]
    IsolationUnavailable {
        /// The field's name in the API.
        field: &'static str,
        /// Why not.
        why: String,
    },
    /// Arguments and environment are more than the kernel takes.
    #[error("{0}")]
    TooLarge(String),
    /// The kernel has held the spawn for as long as it may take.
    #[error("it could not be started within 10 s: {what}; it was killed")]
    Held {
        /// What is probably at fault.
        what: &'static str,
    },
    /// The machine, or the server's share of it, is used up.
    #[error("{step}: {}; try again when fewer commands run", words(source))]
    Resources {
        /// What was being made.
        step: &'static str,
        /// The kernel's answer.
        source: io::Error,
    },
}

/// What the kernel says, in its words: "No such file or directory", without the number.
pub(super) fn words(error: &io::Error) -> String {
    let said = error.to_string();
    let words = said.split_once(" (os error ").map(|(words, _)| words);
    words.unwrap_or(&said).to_owned()
}

impl StartError {
    /// For `map_err`: want of a resource while `step` was done.
    pub(super) fn resources(step: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Resources { step, source }
    }
}

pub(super) fn no_switch(user: &str, why: &str) -> StartError {
    StartError::UserSwitch {
        user: user.to_owned(),
        why: why.to_owned(),
    }
}

pub(super) fn crowded() -> StartError {
    let error = io::Error::other("the kernel holds too many that were killed");
    StartError::resources("find the program")(error)
}

pub(crate) fn no_child() -> StartError {
    let error = io::Error::other("it was killed before it could execute its program");
    StartError::resources("make a process")(error)
}
