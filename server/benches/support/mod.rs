//! remexd in a process of its own: the benchmark's own program once more, or another build.

use std::{
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;
use remex_daemon::{net::HandedSockets, shutdown};
use remex_server::{
    app,
    config::{Args, Config},
    operation::Upgrade,
};
use remex_supervisor::process::{self, Prepared};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::{Builder, Runtime};

pub(crate) type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Set in the process that is to be remexd.
const SERVE_VARIABLE: &str = "REMEX_BENCH_SERVE";
/// How many bytes it then holds beside its own.
pub(crate) const BALLAST_VARIABLE: &str = "REMEX_BENCH_BALLAST";

/// Where a server says where it listens, in its folder.
pub(crate) const READY_FILE: &str = "ready";

const START_BOUND: Duration = Duration::from_secs(30);

/// A server in a process of its own, which says in a file where it listens.
pub(crate) struct Server {
    pub(crate) child: Child,
    ready: PathBuf,
}

impl Server {
    /// Starts `remexd`, this build or another, in `folder`, which is made if need be, with `flags`.
    pub(crate) fn start(folder: &Path, mut remexd: Command, flags: &[&str]) -> Outcome<Self> {
        remexd.args(flags);
        for (flag, name) in [("--state-dir", "state"), ("--ready-file", READY_FILE)] {
            remexd.arg(flag).arg(folder.join(name));
        }
        Self::spawn(folder, &mut remexd)
    }

    /// Starts `command`, which writes the [`READY_FILE`] of `folder`, which is made if need be, when it listens.
    pub(crate) fn spawn(folder: &Path, command: &mut Command) -> Outcome<Self> {
        fs::create_dir_all(folder)?;
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let ready = folder.join(READY_FILE);
        let server = Self { child, ready };
        let deadline = Instant::now() + START_BOUND;
        while !server.ready.exists() {
            if Instant::now() > deadline {
                return Err("the server did not start".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    /// Where it listens, in the order in which it was told to.
    pub(crate) fn addresses(&self) -> Outcome<Vec<String>> {
        let ready = fs::read_to_string(&self.ready)?;
        let addresses = ready.lines().filter_map(|line| line.split_once(' '));
        Ok(addresses.map(|(_, address)| address.to_owned()).collect())
    }
}

impl Drop for Server {
    /// remexd then ends what it runs.
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

/// This program, to be remexd.
pub(crate) fn remexd() -> Outcome<Command> {
    let mut this = Command::new(env::current_exe()?);
    this.env(SERVE_VARIABLE, "1");
    Ok(this)
}

/// Serves, if this process is to be remexd; else `None`. First thing in `main`, as in remexd: it may be its zygote.
pub(crate) fn serve() -> Option<Outcome<()>> {
    let prepared = process::prepare();
    env::var_os(SERVE_VARIABLE)?;
    Some(
        prepared
            .map_err(Into::into)
            .and_then(|prepared| run(prepared)),
    )
}

pub(crate) fn runtime() -> Outcome<Runtime> {
    Ok(Builder::new_multi_thread().enable_all().build()?)
}

fn run(prepared: Prepared) -> Outcome<()> {
    let ballast = env::var(BALLAST_VARIABLE).map_or(Ok(0), |bytes| bytes.parse())?;
    // Written to, so that it is resident.
    let ballast = vec![1_u8; ballast];
    let args = Args::try_parse()?;
    let config = Config::new(&args)?;
    let shutdown = shutdown::on_signals()?;
    let handed = HandedSockets::default();
    let beginning = app::Beginning {
        upgrade: Upgrade::new(&handed),
        handed: Arc::new(handed),
        prepared,
    };
    runtime()?.block_on(app::run(args, config, beginning, shutdown))?;
    drop(std::hint::black_box(ballast));
    Ok(())
}
