//! Flags.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use remex_gateway::config::SharedArgs;
use serde::Deserialize;

use crate::tools::Tool;

/// Runs commands on this machine for callers elsewhere, over gRPC, and for clients of the old raw-socket protocol.
#[derive(Debug, Clone, Parser)]
#[command(name = "remexd", version = remex::VERSION, max_term_width = 100, args_conflicts_with_subcommands = true)]
pub struct Args {
    /// Something else than to serve.
    #[command(subcommand)]
    pub tool: Option<Tool>,
    /// Serve gRPC here, such as 127.0.0.1:50051 or unix:/run/remex/remexd.sock; repeatable, replaces the default
    #[arg(long, value_name = "ADDR")]
    pub listen: Vec<String>,
    /// Serve no old protocol
    #[arg(long, conflicts_with = "legacy")]
    pub no_legacy: bool,
    /// What the gateway has too.
    #[command(flatten)]
    pub shared: SharedArgs,
    /// Where state is kept [default: /var/lib/remex for root, else $XDG_STATE_HOME/remex]
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Where commands run that name no folder [default: where remexd is started]
    #[arg(long, value_name = "DIR")]
    pub chdir: Option<PathBuf>,
    /// Pass this variable of remexd's environment on to commands; repeatable
    #[arg(long, value_name = "NAME")]
    pub pass_env: Vec<String>,
    /// Run at most this many commands at once [default: 2000]
    #[arg(long, value_name = "N")]
    pub max_executions: Option<usize>,
    /// What of durable executions is on disk before it is told: nothing, the start, or all [default: none]
    #[arg(long, value_name = "WHAT")]
    pub sync: Option<SyncArg>,
    /// What callers are known by.
    #[command(flatten)]
    pub trust: TrustArgs,
    /// Let callers do what the rules in this file allow, and nothing else
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// What is told of calls and executions.
    #[command(flatten)]
    pub audit: AuditArgs,
    /// Tell spans of calls and executions to a collector over OTLP (gRPC), such as http://127.0.0.1:4317 [default: as
    /// OTEL_EXPORTER_OTLP_ENDPOINT says]
    #[arg(long, value_name = "URI")]
    pub otlp_endpoint: Option<String>,
    /// How process trees are kept together
    #[arg(long, value_name = "WAY", hide = true)]
    pub containment: Option<ContainmentArg>,
}

/// Flags of TLS and tokens.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct TrustArgs {
    /// Serve TCP over TLS, with this certificate and those between it and its CA (PEM)
    #[arg(long, value_name = "FILE")]
    pub tls_cert: Option<PathBuf>,
    /// Its key (PEM), which nobody else may read
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Callers over TLS are known by certificates that these CAs have signed (PEM)
    #[arg(long, value_name = "FILE")]
    pub tls_client_ca: Option<PathBuf>,
    /// Callers are known by the tokens whose hashes are here, a line each as `remexd token new` makes it
    #[arg(long, value_name = "FILE")]
    pub tokens: Option<PathBuf>,
    /// Callers are known by JWTs that these keys have signed, a JWK set
    #[arg(long, value_name = "FILE")]
    pub jwks: Option<PathBuf>,
    /// The `iss` of those JWTs
    #[arg(long, value_name = "TEXT")]
    pub jwt_issuer: Option<String>,
    /// The `aud` that is this server's
    #[arg(long, value_name = "TEXT")]
    pub jwt_audience: Option<String>,
    /// Allow callers over TLS that have neither a certificate nor a token
    #[arg(long)]
    pub allow_unauthenticated: bool,
}

/// Flags of the audit log.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct AuditArgs {
    /// Write a line of JSON to this file for each decision and each end
    #[arg(long = "audit-log", value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// Start no command whose line cannot be written
    #[arg(long = "audit-required")]
    pub is_required: bool,
    /// Leave out what is behind names with this in them, beside passwords, tokens and such; repeatable
    #[arg(long = "audit-redact", value_name = "WORD")]
    pub redact: Vec<String>,
}

/// See `crate::process::Choice`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ContainmentArg {
    /// The default.
    Auto,
    /// The fallback, even where there could be cgroups.
    Sweep,
}

/// See `remex_supervisor::journal::SyncMode`.
#[derive(Debug, Clone, Copy, ValueEnum, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SyncArg {
    /// What the kernel writes back by itself.
    None,
    /// That an execution was asked for, so that nothing runs twice even after a power cut.
    Start,
    /// Every event.
    All,
}
