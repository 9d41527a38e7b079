//! remexd, in a process of its own: this program once more.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use clap::Parser;
use remex_client::{Client, Endpoint};
use remex_daemon::shutdown::Shutdown;
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
        fs::create_dir(folder)?;
        let child = Command::new(env::current_exe()?)
            .env(FOLDER_VARIABLE, folder)
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
    // In every process, since remexd executes this program again as its zygote.
    let prepared = process::prepare();
    let folder = PathBuf::from(env::var_os(FOLDER_VARIABLE)?);
    Some(
        prepared
            .map_err(Into::into)
            .and_then(|prepared| run(&folder, prepared)),
    )
}

fn run(folder: &Path, prepared: Prepared) -> Outcome<()> {
    let args = Args::try_parse_from([
        "remexd".into(),
        "--listen".into(),
        "127.0.0.1:0".into(),
        "--no-legacy".into(),
        "--state-dir".into(),
        folder.join("state").into_os_string(),
        "--ready-file".into(),
        folder.join("ready").into_os_string(),
    ])?;
    let config = Config::new(&args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(app::run(config, prepared, Shutdown::default()))?;
    Ok(())
}
