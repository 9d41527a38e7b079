//! The configuration file: the flags' names as keys.

use std::path::PathBuf;

use remex_daemon::logging::{LogFormat, LogLevel};
use serde::Deserialize;
use toml::Spanned;

use super::args::SyncArg;

/// What the file says.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
#[expect(clippy::struct_excessive_bools, reason = "the keys are the flags")]
pub(super) struct Keys {
    pub(super) listen: Option<Vec<Spanned<String>>>,
    pub(super) legacy: Option<Vec<Spanned<String>>>,
    pub(super) no_legacy: bool,
    pub(super) users: Option<Spanned<String>>,
    pub(super) allow_plaintext: bool,
    pub(super) allow_udp_exec: bool,
    pub(super) metrics: Option<Spanned<String>>,
    pub(super) state_dir: Option<PathBuf>,
    pub(super) spool_dir: Option<PathBuf>,
    pub(super) ready_file: Option<PathBuf>,
    pub(super) log_format: Option<LogFormat>,
    pub(super) log_level: Option<LogLevel>,
    pub(super) drain_timeout: Option<Spanned<String>>,
    pub(super) chdir: Option<Spanned<PathBuf>>,
    pub(super) pass_env: Option<Vec<Spanned<String>>>,
    pub(super) max_executions: Option<Spanned<usize>>,
    pub(super) sync: Option<SyncArg>,
    pub(super) tls_cert: Option<Spanned<String>>,
    pub(super) tls_key: Option<Spanned<String>>,
    pub(super) tls_client_ca: Option<Spanned<String>>,
    pub(super) tokens: Option<Spanned<String>>,
    pub(super) jwks: Option<Spanned<String>>,
    pub(super) jwt_issuer: Option<Spanned<String>>,
    pub(super) jwt_audience: Option<Spanned<String>>,
    pub(super) allow_unauthenticated: bool,
    pub(super) policy: Option<Spanned<String>>,
    pub(super) audit_log: Option<Spanned<String>>,
    pub(super) audit_required: bool,
    pub(super) audit_redact: Option<Vec<Spanned<String>>>,
    pub(super) otlp_endpoint: Option<Spanned<String>>,
}
