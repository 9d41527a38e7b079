//! What must hold of any URL of a listener: for the fuzz target, and for the ordinary test that replays its seeds.

use remex_gateway::config::ListenerConfig;

/// Parses one, and explains it.
pub(crate) fn check(input: &[u8]) {
    let Ok(url) = str::from_utf8(input) else {
        return;
    };
    match url.parse::<ListenerConfig>() {
        Ok(listener) => {
            assert!(!listener.name().is_empty());
            assert!(
                listener
                    .explain(&remex_daemon::net::Users::daemon())
                    .starts_with(&listener.url())
            );
            assert_eq!(url.parse(), Ok(listener));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}
