//! A command as a line of the audit log has it: what was asked for, within bounds, and without its secrets.

use std::{borrow::Cow, ffi::CString};

use remex_supervisor::process::CommandSpec;
use serde::Serialize;

use super::redact::Redaction;

/// The most of one argument, or of a text for the shell, that a line says, in bytes.
pub const TEXT_BYTES: usize = 4096;

/// The most arguments, and names of variables, that a line says.
pub const TEXTS: usize = 64;

/// The most of all of a command's texts together, in bytes.
pub const COMMAND_BYTES: usize = 8192;

/// A command as it was asked for, without its secrets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct CommandLine {
    /// The program and its arguments, or the shell's text alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    argv: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shell: Option<String>,
    /// The line does not say all of it.
    #[serde(skip_serializing_if = "is_false")]
    cut: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    working_directory: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    /// Names alone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    environment: Vec<String>,
    #[serde(skip_serializing_if = "is_false")]
    terminal: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_false(value: &bool) -> bool {
    !value
}

impl CommandLine {
    /// What is told of `spec`.
    pub fn of(spec: &CommandSpec, redaction: &Redaction) -> Self {
        let mut room = Room {
            bytes: COMMAND_BYTES,
            is_cut: false,
        };
        let text = |string: &CString| string.to_string_lossy().into_owned();
        let (argv, shell) = match spec.argv.last() {
            Some(script) if spec.shell => {
                let told = redaction.text(&text(script));
                (Vec::new(), Some(room.take(&told)))
            }
            _ => {
                let words = spec.argv.iter().take(TEXTS);
                let words = words.map(|word| word.to_string_lossy());
                let told = redaction.arguments(words);
                room.is_cut |= spec.argv.len() > TEXTS;
                (told.iter().map(|word| room.take(word)).collect(), None)
            }
        };
        let folder = spec.working_directory.as_ref();
        let folder = folder.map(|path| room.take(&path.to_string_lossy()));
        let user = spec.user.as_deref().map(|user| room.take(user));
        room.is_cut |= spec.environment.len() > TEXTS;
        let names = spec.environment.iter().take(TEXTS);
        let names = names.map(|variable| room.take(&name(variable)));
        let environment = names.collect();
        Self {
            argv,
            shell,
            working_directory: folder,
            user,
            environment,
            terminal: spec.terminal.is_some(),
            cut: room.is_cut,
        }
    }
}

fn name(variable: &CString) -> Cow<'_, str> {
    let bytes = variable.as_bytes();
    let name = bytes.split(|&byte| byte == b'=').next();
    String::from_utf8_lossy(name.unwrap_or(bytes))
}

/// What a command's texts may still take.
struct Room {
    bytes: usize,
    is_cut: bool,
}

impl Room {
    fn take(&mut self, text: &str) -> String {
        let end = text.floor_char_boundary(TEXT_BYTES.min(self.bytes));
        self.bytes -= end;
        self.is_cut |= end < text.len();
        text[..end].to_owned()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn spec(argv: &[&str]) -> CommandSpec {
        CommandSpec::new(
            argv.iter()
                .map(|word| CString::new(*word).unwrap())
                .collect(),
        )
    }

    fn told(spec: &CommandSpec) -> Value {
        let line = CommandLine::of(spec, &Redaction::default());
        serde_json::to_value(line).unwrap()
    }

    #[test]
    fn a_command_is_told_without_the_values_of_its_environment() {
        let command = CommandSpec {
            working_directory: Some("/srv".into()),
            environment: vec![c"KEY=x9=x9".into(), c"LANG=x9".into()],
            user: Some("app".into()),
            ..spec(&["app", "--password", "x9"])
        };
        assert_eq!(
            told(&command),
            json!({
                "argv": ["app", "--password", "[redacted]"], "working_directory": "/srv", "user": "app",
                "environment": ["KEY", "LANG"]
            })
        );
        let shell = CommandSpec {
            shell: true,
            ..spec(&["/bin/sh", "-c", "TOKEN=x9 ls"])
        };
        assert_eq!(told(&shell), json!({"shell": "TOKEN=[redacted] ls"}));
    }

    #[test]
    fn a_long_command_is_cut_and_that_is_said() {
        let long = "é".repeat(TEXT_BYTES);
        let line = told(&spec(&["app", &long]));
        assert_eq!(line["argv"][1].as_str().unwrap().len(), TEXT_BYTES);
        assert_eq!(line["cut"], true);
        let words = vec!["x"; TEXTS + 1];
        let line = told(&spec(&words));
        assert_eq!(line["argv"].as_array().unwrap().len(), TEXTS);
        assert_eq!(line["cut"], true);
        assert_eq!(told(&spec(&words[1..])).get("cut"), None);
        let words = vec![long.as_str(); TEXTS];
        let all: usize = told(&spec(&words))["argv"]
            .as_array()
            .unwrap()
            .iter()
            .map(|word| word.as_str().unwrap().len())
            .sum();
        assert_eq!(all, COMMAND_BYTES);
    }
}
