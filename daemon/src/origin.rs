//! Values out of flags or a file, each with its place, so that what is wrong can be said there. A flag beats the file, and a
//! list replaces a list.

use std::{fmt::Display, ops::Range};

use toml::Spanned;

use super::{File, FileError};

/// The configuration is wrong; nothing was bound. The message names the flag, or the file, line and key.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// In a flag.
    #[error("{flag}: {why}")]
    Flag {
        /// Which one.
        flag: &'static str,
        /// What.
        why: String,
    },
    /// In the file.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Where a value stands.
#[derive(Debug, Clone)]
pub enum Origin<'a> {
    /// A flag, such as `--legacy`.
    Flag(&'static str),
    /// A place in the configuration file.
    File(&'a File, Range<usize>),
}

/// A value as it was written, and where it stands.
pub type Text<'a> = (String, Origin<'a>);

impl Origin<'_> {
    /// The error that the value is wrong, for the reason `why`.
    pub fn wrong(&self, why: impl Display) -> ConfigError {
        match self {
            Self::Flag(flag) => ConfigError::Flag {
                flag,
                why: why.to_string(),
            },
            Self::File(file, span) => ConfigError::File(file.reject(span, &why.to_string())),
        }
    }
}

/// The value of `flag`, else the file's.
pub fn text<'a>(
    flag: &'static str,
    given: Option<&String>,
    set: Option<Spanned<String>>,
    file: Option<&'a File>,
) -> Option<Text<'a>> {
    let of_flag = given.map(|text| (text.clone(), Origin::Flag(flag)));
    of_flag.or_else(|| of_file(set?, file))
}

/// The values of `flag`, else the file's, else `default`.
pub fn texts<'a>(
    flag: &'static str,
    given: &[String],
    set: Option<Vec<Spanned<String>>>,
    file: Option<&'a File>,
    default: &[&str],
) -> Vec<Text<'a>> {
    let of_flag = |text: String| (text, Origin::Flag(flag));
    if !given.is_empty() {
        return given.iter().cloned().map(of_flag).collect();
    }
    match set {
        Some(set) => set
            .into_iter()
            .filter_map(|text| of_file(text, file))
            .collect(),
        None => default
            .iter()
            .map(|text| of_flag((*text).to_owned()))
            .collect(),
    }
}

fn of_file(set: Spanned<String>, file: Option<&File>) -> Option<Text<'_>> {
    let origin = Origin::File(file?, set.span());
    Some((set.into_inner(), origin))
}
