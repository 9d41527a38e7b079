//! What the scenarios share.

use std::{env, future::Future, net::SocketAddr, sync::Arc, thread, time::Duration};

use remex_daemon::net::{AcceptLimits, Acceptor, Address, BindError, BoundAddress, Listener};
use rustix::{process::Uid, thread::set_thread_res_uid};
use tokio::{sync::Semaphore, time::timeout};

/// Longer than anything here takes; only a failure waits for it.
const PATIENCE: Duration = Duration::from_secs(10);

/// Nobody's, on every Linux.
pub(crate) const OTHER_USER: u32 = 65534;

pub(crate) async fn soon<F: Future>(future: F) -> F::Output {
    timeout(PATIENCE, future).await.expect("in time")
}

pub(crate) fn bind(address: &str) -> Result<Listener, BindError> {
    Listener::bind(&address.parse::<Address>().expect("an address"))
}

pub(crate) fn acceptor(address: &str) -> Acceptor {
    acceptor_with(address, AcceptLimits { connections: 10 }.permits())
}

pub(crate) fn acceptor_with(address: &str, permits: Arc<Semaphore>) -> Acceptor {
    Acceptor::new(bind(address).unwrap(), permits).unwrap()
}

pub(crate) fn tcp_address(bound: &BoundAddress) -> SocketAddr {
    match bound {
        BoundAddress::Tcp(address) => *address,
        other => panic!("{other} is not TCP"),
    }
}

pub(crate) fn own_uid() -> u32 {
    rustix::process::geteuid().as_raw()
}

/// Whether a scenario that needs root can run; in CI it has to.
pub(crate) fn is_root(test: &str) -> bool {
    let root = own_uid() == 0;
    assert!(
        root || env::var("CI").as_deref() != Ok("true"),
        "{test} needs root, and CI=true"
    );
    if !root {
        eprintln!("skipped: {test} needs root");
    }
    root
}

/// Runs `action` as the other user: the kernel keeps the user by thread, and marks each socket with its maker's.
pub(crate) fn as_other_user<T: Send>(action: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            let uid = Uid::from_raw(OTHER_USER);
            set_thread_res_uid(uid, uid, uid).expect("root may become anybody");
            action()
        });
        other.join().expect("the other user's thread")
    })
}
