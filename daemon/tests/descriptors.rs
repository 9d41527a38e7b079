//! Out of descriptors. The scenario runs in a process of its own, since its limit is the whole process's.

#![cfg(test)]

use std::{
    env,
    fs::File,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::FileExt,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use remex_daemon::net::{AcceptLimits, Accepted, Acceptor, BoundAddress, Listener, RESERVE};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::time::timeout;

/// Set in the process of its own.
const INSIDE: &str = "REMEX_TEST_OUT_OF_DESCRIPTORS";
/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(10);
/// Few, so that they are soon used up.
const DESCRIPTORS: u64 = 64;
/// How long there are none: several pauses of the accept loop.
const SHORTAGE: Duration = Duration::from_millis(300);
/// Of processor time in that, by far more than a loop that pauses takes, and by far less than one that spins.
const BUSY: Duration = Duration::from_millis(100);

#[test]
fn pitfall_29_and_44_a_shortage_of_descriptors_is_waited_out() {
    if env::var_os(INSIDE).is_some() {
        return;
    }
    let mut inside = Command::new(env::current_exe().unwrap());
    inside
        .args(["--exact", "inside", "--nocapture"])
        .env(INSIDE, "1")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let output = inside.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    assert!(text.contains("1 passed"), "{text}");
}

/// What was logged, one event a line.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn count(&self, what: &str) -> usize {
        let bytes = self.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines().filter(|line| line.contains(what)).count()
    }
}

/// Processor time of this thread, from its file in /proc.
fn processor_time(schedstat: &File) -> Duration {
    let mut buffer = [0; 128];
    let read = schedstat.read_at(&mut buffer, 0).unwrap();
    let text = std::str::from_utf8(&buffer[..read]).unwrap();
    Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
}

fn use_up_descriptors() -> Vec<File> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit {
        current: Some(DESCRIPTORS),
        maximum,
    };
    setrlimit(Resource::Nofile, limit).unwrap();
    let mut files = Vec::new();
    while let Ok(file) = File::open("/dev/null") {
        files.push(file);
    }
    assert!(!files.is_empty());
    files
}

async fn accept(acceptor: &mut Acceptor) -> Accepted {
    timeout(PATIENCE, acceptor.accept()).await.expect("in time")
}

#[tokio::test]
async fn inside() {
    if env::var_os(INSIDE).is_none() {
        return;
    }
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .finish();
    let _logging = tracing::subscriber::set_default(subscriber);

    let listener = Listener::bind(&"127.0.0.1:0".parse().unwrap()).unwrap();
    let mut acceptor = Acceptor::new(listener, AcceptLimits::default().permits()).unwrap();
    let BoundAddress::Tcp(to) = *acceptor.local() else {
        panic!("{} is not TCP", acceptor.local())
    };
    let early = [(); RESERVE].map(|()| TcpStream::connect(to).unwrap());
    let mut client = TcpStream::connect(to).unwrap();
    let schedstat = File::open("/proc/thread-self/schedstat").unwrap();

    let files = use_up_descriptors();
    // Those are accepted for whom descriptors are kept.
    let mut accepted = Vec::new();
    for client in &early {
        let connection = accept(&mut acceptor).await;
        let caller = connection.identify().unwrap();
        assert_eq!(caller.address, client.local_addr().ok());
        accepted.push(connection);
    }
    let before = processor_time(&schedstat);
    // Cancelled again and again, as by a select!: that must not turn the pauses into spinning.
    let cancelling = async {
        loop {
            let _ = timeout(Duration::from_millis(1), acceptor.accept()).await;
        }
    };
    timeout(SHORTAGE, cancelling).await.unwrap_err();
    let used = processor_time(&schedstat).checked_sub(before).unwrap();
    assert!(used < BUSY, "{used:?} of processor time in {SHORTAGE:?}");
    assert_eq!(log.count("cannot accept connections"), 1);
    assert_eq!(log.count("accepting connections again"), 0);

    drop(files);
    let mut connection = accept(&mut acceptor).await;
    assert!(connection.identify().is_ok());
    assert_eq!(log.count("cannot accept connections"), 1);
    assert_eq!(log.count("accepting connections again"), 1);
    // The connection is the one that waited all the time.
    tokio::io::AsyncWriteExt::write_all(&mut connection.stream, b"x")
        .await
        .unwrap();
    client.read_exact(&mut [0; 1]).unwrap();

    // A single free descriptor is enough to accept a connection and to tell whose it is.
    let second = TcpStream::connect(to).unwrap();
    let mut files = use_up_descriptors();
    files.pop();
    let connection = accept(&mut acceptor).await;
    assert_eq!(
        connection.identify().unwrap().address,
        second.local_addr().ok()
    );
}
