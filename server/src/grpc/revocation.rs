//! What was valid when a connection or a call began, and is not any more: its caller goes.

use std::{sync::Arc, time::Duration};

use remex::error::Reason;
use rustls::pki_types::CertificateDer;
use tokio::time::sleep;
use tonic::Status;

use crate::identity::{
    Credential, Now, Protection, authenticate::is_valid, reload::CurrentTrust, trust::Trust,
};

/// How often what a connection was let in by is judged again, beside whenever it changes: it may have expired.
pub const RECHECK_INTERVAL: Duration = Duration::from_secs(15);

/// How long the calls of a connection may go on whose certificate is not valid any more. With the interval, less than the
/// minute after which nothing of such a caller runs.
pub const REVOKED_GRACE: Duration = Duration::from_secs(30);

/// Returns once the certificate of a connection with this `protection` is not valid any more.
pub(super) async fn certificate(protection: &Protection, trust: CurrentTrust) {
    match protection {
        Protection::Tls(chain) if !chain.is_empty() => {
            let accepts = |trust: &Trust, chain: &[CertificateDer<'_>]| {
                trust.tls().is_some_and(|tls| tls.accepts(chain))
            };
            over(trust, |trust| accepts(trust, chain)).await;
        }
        Protection::Tls(_) | Protection::Local | Protection::Plaintext => {
            std::future::pending::<()>().await;
        }
    }
}

/// What a call ends with, once its `credential` is not valid any more.
pub(super) async fn credential(credential: Credential, trust: CurrentTrust) -> Status {
    over(trust, |trust| is_valid(trust, &credential, Now::get().time)).await;
    Reason::TokenInvalid.status("the token of this call has expired or was revoked while it lasted")
}

async fn over(mut trust: CurrentTrust, is_valid: impl Fn(&Trust) -> bool) {
    let mut changes = true;
    loop {
        tokio::select! {
            changed = trust.changed(), if changes => changes = changed.is_ok(),
            () = sleep(RECHECK_INTERVAL) => {}
        }
        let now = Arc::clone(&trust.borrow_and_update());
        if !is_valid(&now) {
            return;
        }
    }
}
