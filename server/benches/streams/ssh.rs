//! OpenSSH with the cipher that is fastest here, over loopback: an sshd of its own, with keys of its own.

use std::{
    env,
    fs::{self, File},
    io::{self, Read},
    net::{TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{flow::rate, support::Outcome};

const SSHD: &str = "/usr/sbin/sshd";
const CIPHER: &str = "aes128-gcm@openssh.com";
const START_BOUND: Duration = Duration::from_secs(10);

/// An sshd that runs.
pub(crate) struct Ssh {
    child: Child,
    folder: PathBuf,
    port: u16,
}

impl Ssh {
    /// Starts one in `folder`, which is made.
    pub(crate) fn start(folder: &Path) -> Outcome<Self> {
        fs::create_dir(folder)?;
        for key in ["host", "user"] {
            let file = folder.join(key);
            let mut keygen = Command::new("ssh-keygen");
            succeed(
                keygen
                    .args(["-q", "-t", "ed25519", "-N", "", "-f"])
                    .arg(file),
            )?;
        }
        fs::copy(folder.join("user.pub"), folder.join("authorized_keys"))?;
        // What it separates its privileges in.
        fs::create_dir_all("/run/sshd")?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let child = Command::new(SSHD)
            .args(["-D", "-e", "-f", "/dev/null"])
            .arg("-h")
            .arg(folder.join("host"))
            .args(["-o", &format!("ListenAddress=127.0.0.1:{port}")])
            .args([
                "-o",
                "StrictModes=no",
                "-o",
                "UsePAM=no",
                "-o",
                "PidFile=none",
            ])
            .arg("-o")
            .arg(format!(
                "AuthorizedKeysFile={}/authorized_keys",
                folder.display()
            ))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.join("log"))?)
            .spawn()?;
        let folder = folder.to_owned();
        let ssh = Self {
            child,
            folder,
            port,
        };
        let deadline = Instant::now() + START_BOUND;
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if Instant::now() > deadline {
                return Err("sshd did not start".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        succeed(&mut ssh.command("true"))?;
        Ok(ssh)
    }

    fn command(&self, shell: &str) -> Command {
        let user = env::var("USER").unwrap_or_else(|_| "root".to_owned());
        let mut command = Command::new("ssh");
        command
            .args([
                "-F",
                "none",
                "-T",
                "-q",
                "-c",
                CIPHER,
                "-p",
                &self.port.to_string(),
            ])
            .args([
                "-o",
                "StrictHostKeyChecking=no",
                "-o",
                "UserKnownHostsFile=/dev/null",
            ])
            .args(["-o", "IdentitiesOnly=yes", "-i"])
            .arg(self.folder.join("user"))
            .args([&format!("{user}@127.0.0.1"), shell])
            .stdin(Stdio::null());
        command
    }

    /// Megabytes a second from a command, the start of the session aside.
    pub(crate) fn stdout(&self, bytes: u64) -> Outcome<f64> {
        let mut child = self
            .command(&format!("echo; exec head -c {bytes} /dev/zero"))
            .stdout(Stdio::piped())
            .spawn()?;
        let mut stdout = child.stdout.take().ok_or("no stdout")?;
        stdout.read_exact(&mut [0])?;
        let begun = Instant::now();
        let mut buffer = vec![0; 256 << 10];
        let mut received = 0;
        while let count @ 1.. = stdout.read(&mut buffer)? {
            received += count as u64;
        }
        let rate = rate(bytes, begun);
        if !child.wait()?.success() || received != bytes {
            return Err(format!("ssh: {received} of {bytes} bytes came").into());
        }
        Ok(rate)
    }

    /// Megabytes a second to a command.
    pub(crate) fn stdin(&self, bytes: u64) -> Outcome<f64> {
        let mut child = self
            .command("echo; exec cat >/dev/null")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        child
            .stdout
            .take()
            .ok_or("no stdout")?
            .read_exact(&mut [0])?;
        let begun = Instant::now();
        let mut stdin = child.stdin.take().ok_or("no stdin")?;
        io::copy(&mut File::open("/dev/zero")?.take(bytes), &mut stdin)?;
        drop(stdin);
        if !child.wait()?.success() {
            return Err("ssh failed".into());
        }
        Ok(rate(bytes, begun))
    }
}

fn succeed(command: &mut Command) -> Outcome<()> {
    let status = command.status()?;
    if status.success() {
        return Ok(());
    }
    Err(format!("{}: {status}", command.get_program().display()).into())
}

impl Drop for Ssh {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
