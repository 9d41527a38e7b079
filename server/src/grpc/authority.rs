//! Calls that HTTP/2 refuses for their `:authority`, mostly one that a client made of a Unix socket's path. The library
//! resets such a stream before this server hears of it, and says why at level `debug` alone; its caller reads of a protocol
//! error. So the log has the hint, once in a while.

use remex_daemon::logging::{LineCounts, LineLimit, Overheard};

/// What the library says of one.
pub const REFUSED: Overheard = Overheard {
    target: "h2::server",
    beginning: "malformed headers: malformed authority ",
    hear,
};

/// So much of an authority is shown.
const SHOWN_CHARS: usize = 200;

static LINES: LineLimit = LineLimit::new();

fn hear(rest: &str) {
    let Some(due) = LINES.count() else { return };
    let LineCounts {
        since_last_line,
        total,
    } = due;
    tracing::warn!(
        authority = shown(rest),
        since_last_line,
        total,
        "refused a call whose :authority HTTP/2 does not take, as some clients make it of a Unix socket's path: let the client name localhost (grpcio: the option grpc.default_authority; grpcurl: -authority)"
    );
}

/// The authority in `(b"…"): why`, or its beginning.
fn shown(rest: &str) -> String {
    let authority = rest.strip_prefix("(b\"").unwrap_or(rest);
    let authority = authority
        .rsplit_once("\"): ")
        .map_or(authority, |(it, _)| it);
    authority.chars().take(SHOWN_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_authority_is_shown_alone_and_not_without_bound() {
        assert_eq!(
            shown(r#"(b"run%2Fx.sock"): invalid authority"#),
            "run%2Fx.sock"
        );
        assert_eq!(shown("in other words"), "in other words");
        let long = format!("(b\"{}\"): invalid authority", "%".repeat(SHOWN_CHARS + 1));
        assert_eq!(shown(&long), "%".repeat(SHOWN_CHARS));
    }
}
