//! The policy's file, out of a flag or the configuration's file.

use std::path::PathBuf;

use remex_daemon::{ConfigError, File, Origin, text};
use toml::Spanned;

use crate::policy::reload::PolicyReloader;

/// What is in the file that the flag, else the key, names.
pub(super) fn reloader(
    flag: Option<&PathBuf>,
    key: Option<Spanned<String>>,
    file: Option<&File>,
) -> Result<PolicyReloader, ConfigError> {
    let flag = flag.map(|path| path.to_string_lossy().into_owned());
    let text = text("--policy", flag.as_ref(), key, file);
    let path = text.as_ref().map(|(path, _)| PathBuf::from(path));
    PolicyReloader::new(path).map_err(|error| match &text {
        Some((_, origin)) => origin.wrong(error),
        None => Origin::Flag("--policy").wrong(error),
    })
}
