//! What is configured of the audit log, out of flags or the configuration's file.

use std::path::PathBuf;

use remex_daemon::{ConfigError, File, Origin, text, texts};

use super::{args::AuditArgs, checked, file::Keys};
use crate::audit::{self, AuditSettings};

/// The settings, and that there is a place for the file.
pub(super) fn settings(
    args: &AuditArgs,
    keys: &mut Keys,
    file: Option<&File>,
) -> Result<AuditSettings, ConfigError> {
    let flag = args.log.as_ref();
    let flag = flag.map(|path| path.to_string_lossy().into_owned());
    let log = text("--audit-log", flag.as_ref(), keys.audit_log.take(), file);
    let words = texts(
        "--audit-redact",
        &args.redact,
        keys.audit_redact.take(),
        file,
        &[],
    );
    let is_required = args.is_required || keys.audit_required;
    if log.is_none() {
        let without = "is of no use without --audit-log";
        if let Some((_, origin)) = words.first() {
            return Err(origin.wrong(without));
        }
        if is_required {
            return Err(Origin::Flag("--audit-required").wrong(without));
        }
    }
    let place = |path: &str| audit::file::check(path.as_ref()).map(|()| PathBuf::from(path));
    Ok(AuditSettings {
        file: match log {
            None => None,
            Some((path, origin)) => Some(place(&path).map_err(|error| origin.wrong(error))?),
        },
        is_required,
        redact: words
            .into_iter()
            .map(|word| checked(Some(word), name).map(Option::unwrap_or_default))
            .collect::<Result<_, _>>()?,
    })
}

/// A part of a name: what is empty would be in all of them.
fn name(word: &str) -> Result<String, &'static str> {
    if word.chars().any(char::is_alphanumeric) {
        return Ok(word.to_owned());
    }
    Err("is no part of a name")
}
