//! What of a configuration a reload changes, and what it does not.

use remex_daemon::Reloadable;

use crate::{audit::AuditSettings, config::Config, identity::TrustFiles};

/// `config`, key by key.
pub(super) fn reloadable(config: &Config) -> Reloadable {
    let TrustFiles {
        tls,
        tokens,
        jwt,
        allow_unauthenticated,
    } = &config.trust;
    let AuditSettings {
        file: audit_file,
        is_required,
        redact,
    } = &config.audit;
    let (tls, jwt) = (tls.as_ref(), jwt.as_ref());
    Reloadable::default()
        .live("listen", &config.listen)
        .live("legacy", &config.legacy)
        .live("users", &config.users)
        .live("metrics", &config.metrics)
        .live("log-level", &config.log_level)
        .live("drain-timeout", &config.drain_timeout)
        .live("max-executions", &config.max_executions)
        .live("tls-cert", &tls.map(|tls| &tls.cert))
        .live("tls-key", &tls.map(|tls| &tls.key))
        .live("tls-client-ca", &tls.map(|tls| &tls.client_ca))
        .live("tokens", tokens)
        .live("jwks", &jwt.map(|jwt| &jwt.jwks))
        .live("jwt-issuer", &jwt.map(|jwt| &jwt.issuer))
        .live("jwt-audience", &jwt.map(|jwt| &jwt.audience))
        .live("allow-unauthenticated", allow_unauthenticated)
        .live("policy", &config.policy.file())
        .fixed("state-dir", &config.state_dir)
        .fixed("spool-dir", &config.spool_dir)
        .fixed("ready-file", &config.ready_file)
        .fixed("log-format", &config.log_format)
        .fixed("chdir", &config.chdir)
        .fixed("pass-env", &config.pass_env)
        .fixed("sync", &config.sync)
        .fixed("otlp-endpoint", &config.traces.endpoint)
        // Its file is opened anew by every reload, and stays the same one.
        .fixed("audit-log", audit_file)
        .fixed("audit-required", is_required)
        .fixed("audit-redact", redact)
}
