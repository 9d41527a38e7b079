//! The one line that says what was typed wrong, in the words in which it was typed. Pure.

use std::{
    error::Error as _,
    ffi::{OsStr, OsString},
};

use clap::{
    Arg, Command, Error,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::args::definition;

/// A line that was typed, and what could have been.
pub(super) struct Line<'a> {
    pub(super) definition: &'a Command,
    pub(super) words: &'a [OsString],
}

/// The words in which options were typed, to name them so when something is said of them later.
#[derive(Debug, Clone, Default)]
pub(super) struct Typed(pub(super) Vec<OsString>);

impl Typed {
    /// The name of `--user` that was typed, such as `-u`.
    pub(super) fn name(&self, option: &str) -> String {
        self.line(&definition()).as_typed(option)
    }

    /// The subcommand that was typed, behind `remex`.
    pub(super) fn subcommand(&self) -> String {
        let definition = definition();
        match self.line(&definition).verb() {
            Some((_, verb)) => format!("remex {}", verb.get_name()),
            None => "remex".to_owned(),
        }
    }

    fn line<'a>(&'a self, definition: &'a Command) -> Line<'a> {
        Line {
            definition,
            words: &self.0,
        }
    }
}

impl Line<'_> {
    /// What is wrong with it, what was perhaps meant, where to read on.
    pub(super) fn refusal(&self, error: &Error) -> String {
        let said = match error.kind() {
            ErrorKind::ValueValidation => self.value(error),
            ErrorKind::ArgumentConflict => self.conflict(error),
            ErrorKind::InvalidValue => self.choice(error),
            ErrorKind::MissingRequiredArgument => self.missing(error),
            ErrorKind::UnknownArgument => self.unknown(error),
            ErrorKind::InvalidUtf8 => self.no_utf8(),
            ErrorKind::InvalidSubcommand => subcommand(error),
            _ => None,
        };
        let said = said.unwrap_or_else(|| joined(&error.render().to_string()));
        format!("{said}; see `{}`", self.help())
    }

    /// The help of what was begun to be typed.
    pub(super) fn help(&self) -> String {
        match self.verb() {
            Some((_, verb)) => format!("remex {} --help", verb.get_name()),
            None => "remex --help".to_owned(),
        }
    }

    /// The subcommand, and which of the words it is.
    pub(super) fn verb(&self) -> Option<(usize, &Command)> {
        let mut words = self.words.iter().enumerate().skip(1);
        while let Some((index, word)) = words.next() {
            if word == "--server" || word == "-s" {
                words.next();
            } else if let Some(verb) = self.definition.find_subcommand(word) {
                return Some((index, verb));
            } else if !is_option(word) && !is_option(&self.words[index - 1]) {
                // Neither an option nor, perhaps, its value.
                return None;
            }
        }
        None
    }

    /// clap's tip to write `--` before it would not help: nothing here takes an option's text for a value.
    fn unknown(&self, error: &Error) -> Option<String> {
        let argument = text(error, ContextKind::InvalidArg)?;
        if let Some(verb) = self.verb_behind(argument) {
            return Some(format!(
                "{argument} stands behind {verb}: remex {verb} {argument}"
            ));
        }
        let mut said = format!("unexpected argument '{argument}'");
        if let Some(similar) = text(error, ContextKind::SuggestedArg) {
            said = format!("{said}, perhaps '{similar}' is meant");
        }
        Some(said)
    }

    /// The subcommand whose option `argument` is, if it was typed in front of that.
    fn verb_behind(&self, argument: &str) -> Option<&str> {
        let (index, verb) = self.verb()?;
        let typed = |word: &OsString| word.to_string_lossy().starts_with(argument);
        let in_front = self.words[..index].iter().any(typed);
        let is_it = |known: &Arg| match argument.strip_prefix("--") {
            Some(long) => known
                .get_long_and_visible_aliases()
                .is_some_and(|all| all.contains(&long)),
            None => known
                .get_short()
                .is_some_and(|short| argument == format!("-{short}")),
        };
        (in_front && verb.get_arguments().any(is_it)).then(|| verb.get_name())
    }

    fn no_utf8(&self) -> Option<String> {
        let word = self.words.iter().find(|word| word.to_str().is_none())?;
        let shown = word.as_encoded_bytes().escape_ascii();
        Some(format!("\"{shown}\" is not UTF-8, as it has to be here"))
    }

    /// `--timeout "soon" is no duration: …`: what a value's own error says follows the option and the value.
    fn value(&self, error: &Error) -> Option<String> {
        let option = self.as_typed(text(error, ContextKind::InvalidArg)?);
        let value = text(error, ContextKind::InvalidValue)?;
        Some(format!("{option} {value:?} {}", error.source()?))
    }

    fn choice(&self, error: &Error) -> Option<String> {
        let option = self.as_typed(text(error, ContextKind::InvalidArg)?);
        let value = text(error, ContextKind::InvalidValue)?;
        if value.is_empty() {
            return Some(format!("{option} needs a value"));
        }
        let ContextValue::Strings(choices) = error.get(ContextKind::ValidValue)? else {
            return None;
        };
        let choices = choices.join(", ");
        Some(format!("{option} {value:?} is none of {choices}"))
    }

    fn missing(&self, error: &Error) -> Option<String> {
        let ContextValue::Strings(missing) = error.get(ContextKind::InvalidArg)? else {
            return None;
        };
        let missing: Vec<_> = missing.iter().map(|shown| self.as_typed(shown)).collect();
        let verb = if missing.len() == 1 { "is" } else { "are" };
        Some(format!("{} {verb} missing", missing.join(" and ")))
    }

    fn conflict(&self, error: &Error) -> Option<String> {
        let one = self.as_typed(text(error, ContextKind::InvalidArg)?);
        let other = match error.get(ContextKind::PriorArg)? {
            ContextValue::String(other) => other,
            ContextValue::Strings(others) => others.first()?,
            _ => return None,
        };
        let other = self.as_typed(other);
        Some(if one == other {
            format!("{one} cannot be used twice")
        } else {
            format!("{one} cannot be used with {other}")
        })
    }

    /// The name of what clap shows as `--signal <SIGNAL>` or `[PROGRAM]...`: that of its names which was typed.
    pub(super) fn as_typed(&self, shown: &str) -> String {
        let Some(long) = shown.strip_prefix("--") else {
            return shown.trim_matches(['<', '>', '[', ']', '.']).to_owned();
        };
        let long = long.split([' ', '=']).next().unwrap_or(long);
        let mut arguments = (self.definition.get_subcommands()).flat_map(Command::get_arguments);
        let Some(argument) = arguments.find(|argument| argument.get_long() == Some(long)) else {
            return format!("--{long}");
        };
        let aliases = argument.get_all_aliases().unwrap_or_default();
        let mut longs = std::iter::once(long).chain(aliases);
        let aliases = argument.get_all_short_aliases().unwrap_or_default();
        let mut shorts = argument.get_short().into_iter().chain(aliases);
        let typed_long = longs.find(|long| {
            self.has(|word| {
                let name = word
                    .strip_prefix("--")
                    .and_then(|word| word.split('=').next());
                name == Some(long)
            })
        });
        let is_short = |word: &str| word.starts_with('-') && !word.starts_with("--");
        match (
            typed_long,
            shorts.find(|&short| self.has(|word| is_short(word) && word.contains(short))),
        ) {
            (Some(long), _) => format!("--{long}"),
            (None, Some(short)) => format!("-{short}"),
            // It was typed in another way, as in `kill -9`.
            (None, None) => match argument.get_value_names() {
                Some([name, ..]) => name.to_string(),
                _ => format!("--{long}"),
            },
        }
    }

    fn has(&self, is_it: impl Fn(&str) -> bool) -> bool {
        let mut words = self.words.iter().map(|word| word.to_string_lossy());
        words.any(|word| is_it(&word))
    }
}

fn is_option(word: &OsStr) -> bool {
    word.to_string_lossy().starts_with('-')
}

fn subcommand(error: &Error) -> Option<String> {
    let name = text(error, ContextKind::InvalidSubcommand)?;
    let similar = match error.get(ContextKind::SuggestedSubcommand) {
        Some(ContextValue::Strings(similar)) => similar.first(),
        Some(ContextValue::String(similar)) => Some(similar),
        _ => None,
    };
    let perhaps = similar.map_or_else(String::new, |similar| {
        format!(", perhaps '{similar}' is meant")
    });
    Some(format!(
        "unrecognized subcommand '{name}'{perhaps}; to run it as a program: remex run -- {name}"
    ))
}

fn text(error: &Error, kind: ContextKind) -> Option<&str> {
    match error.get(kind)? {
        ContextValue::String(text) => Some(text),
        _ => None,
    }
}

/// clap's paragraphs, up to its usage, as one line.
fn joined(text: &str) -> String {
    let mut said = String::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with("Usage: ") || line.starts_with("For more information") {
            break;
        }
        let line = line.strip_prefix("error: ").unwrap_or(line);
        if line.is_empty() {
            continue;
        }
        match said.chars().last() {
            None => {}
            Some(':') => said.push(' '),
            Some(_) => said.push_str("; "),
        }
        said.push_str(line);
    }
    said
}
