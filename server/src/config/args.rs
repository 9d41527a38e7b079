//! Flags.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};
use remex_gateway::daemon::logging::LogFormat;

/// Runs commands on this machine for callers elsewhere, over gRPC, and for clients of the old raw-socket protocol.
#[derive(Debug, Parser)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag")]
#[command(name = "remexd", version = remex::VERSION, max_term_width = 100)]
pub struct Args {
    /// Serve gRPC here. Repeatable; replaces the default.
    #[arg(
        long,
        value_name = "ADDR",
        help = "Serve gRPC here: 127.0.0.1:50051, [::1]:50051 or unix:/run/remex/remexd.sock. Repeatable; replaces the default"
    )]
    pub listen: Vec<String>,
    /// Serve the old protocol here, as in tcp://127.0.0.1:8080/exec?wire=json-header&charset=gbk. Repeatable; replaces
    /// the defaults.
    #[arg(long, value_name = "URL")]
    pub legacy: Vec<String>,
    /// Serve no old protocol.
    #[arg(long, conflicts_with = "legacy")]
    pub no_legacy: bool,
    /// Local users that may connect, by name or number; * for all. Own user and root always may.
    #[arg(long, value_name = "LIST")]
    pub users: Option<String>,
    /// Serve without TLS off loopback: whoever reaches the port, or the wire, has everything that is said there.
    #[arg(long)]
    pub allow_plaintext: bool,
    /// Run commands that come over UDP off loopback, where a source address can be forged.
    #[arg(long)]
    pub allow_udp_exec: bool,
    /// Read what no flag says from this TOML file; its keys are the flags' names.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Keep state here. Root: /var/lib/remex, else $XDG_STATE_HOME/remex.
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Keep what is too long for memory of the old protocol's replies here. Default: the state folder.
    #[arg(long, value_name = "DIR")]
    pub spool_dir: Option<PathBuf>,
    /// Write the bound addresses to this file once all of them serve.
    #[arg(long, value_name = "FILE")]
    pub ready_file: Option<PathBuf>,
    /// Form of the log, which goes to stderr.
    #[arg(long, value_name = "FORMAT")]
    pub log_format: Option<LogFormat>,
    /// How long running commands get when remexd is told to stop; default 5s.
    #[arg(long, value_name = "TIME")]
    pub drain_timeout: Option<String>,
    /// Run commands here that name no folder. Default: where remexd was started.
    #[arg(long, value_name = "DIR")]
    pub chdir: Option<PathBuf>,
    /// Pass this variable of remexd's environment on to commands. Repeatable.
    #[arg(long, value_name = "NAME")]
    pub pass_env: Vec<String>,
    /// Run at most this many commands at once; default 2000.
    #[arg(long, value_name = "N")]
    pub max_executions: Option<usize>,
    /// Read and check the configuration, bind nothing, exit.
    #[arg(long)]
    pub check: bool,
    /// How process trees are kept together.
    #[arg(long, value_name = "WAY", hide = true)]
    pub containment: Option<ContainmentArg>,
}

/// See `crate::process::Choice`.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum ContainmentArg {
    Auto,
    Sweep,
}
