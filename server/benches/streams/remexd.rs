//! remexd, in a process of its own: this program once more, or another build of it.

use std::{
    env,
    ffi::{OsStr, OsString},
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use clap::Parser;
use remex_client::{Client, Endpoint};
use remex_daemon::shutdown;
use remex_server::{
    app,
    config::{Args, Config},
};
use remex_supervisor::process::{self, Prepared};
use rustix::process::{Pid, Signal, kill_process};

use crate::Outcome;

/// Where to keep what it has, in the process that is to be remexd.
const FOLDER_VARIABLE: &str = "REMEX_BENCH_FOLDER";
const START_BOUND: Duration = Duration::from_secs(30);

/// A server that runs.
pub(crate) struct Remexd {
    child: Child,
    ready: PathBuf,
}

impl Remexd {
    /// Starts it in `folder`, which is made.
    pub(crate) fn start(folder: &Path) -> Outcome<Self> {
        let mut this = Command::new(env::current_exe()?);
        this.env(FOLDER_VARIABLE, folder);
        Self::spawn(folder, this)
    }

    /// The same of `program`, a remexd that was built before.
    pub(crate) fn start_other(folder: &Path, program: &OsStr) -> Outcome<Self> {
        let mut other = Command::new(program);
        other.args(&arguments(folder)[1..]);
        Self::spawn(folder, other)
    }

    fn spawn(folder: &Path, mut command: Command) -> Outcome<Self> {
        fs::create_dir(folder)?;
        let child = command
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        let ready = folder.join("ready");
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

    /// Bytes that it keeps in memory at most, from [`Self::forget_peak`] on.
    pub(crate) fn peak_bytes(&self) -> Outcome<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.ok_or("no peak")?.parse::<u64>()? * 1024)
    }

    pub(crate) fn forget_peak(&self) -> Outcome<()> {
        Ok(fs::write(
            format!("/proc/{}/clear_refs", self.child.id()),
            "5",
        )?)
    }

    pub(crate) fn endpoint(&self) -> Outcome<Endpoint> {
        let ready = fs::read_to_string(&self.ready)?;
        let address = ready.trim_end().strip_prefix("grpc ").ok_or("no address")?;
        Ok(address.parse()?)
    }

    pub(crate) async fn client(&self) -> Outcome<Client> {
        Ok(Client::connect(&self.endpoint()?).await?)
    }
}

impl Drop for Remexd {
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
        let _ = self.child.wait();
    }
}

/// Serves, if this process is to be remexd; else `None`.
pub(crate) fn serve() -> Option<Outcome<()>> {
    // First thing, as remexd does: this may be its zygote.
    let prepared = process::prepare();
    let folder = PathBuf::from(env::var_os(FOLDER_VARIABLE)?);
    Some(
        prepared
            .map_err(Into::into)
            .and_then(|prepared| run(&folder, prepared)),
    )
}

fn run(folder: &Path, prepared: Prepared) -> Outcome<()> {
    let args = Args::try_parse_from(arguments(folder))?;
    let config = Config::new(&args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let shutdown = shutdown::on_signals()?;
    runtime.block_on(app::run(config, prepared, shutdown))?;
    Ok(())
}

fn arguments(folder: &Path) -> [OsString; 8] {
    [
        "remexd".into(),
        "--listen".into(),
        "127.0.0.1:0".into(),
        "--no-legacy".into(),
        "--state-dir".into(),
        folder.join("state").into_os_string(),
        "--ready-file".into(),
        folder.join("ready").into_os_string(),
    ]
}
