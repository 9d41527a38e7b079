//! The legacy side of a daemon's configuration, for `remexd` and `remex-gateway` alike: the listeners, from flags or a file,
//! and whether they are safe where they are.

use remex_daemon::{
    ConfigError, Text,
    net::{Address, Users, UsersError},
};

use super::{Kind, ListenerConfig, safety::Allow};

/// What listens unless something else is asked for: the tutorial's ports, on loopback.
pub const DEFAULT_LISTENERS: [&str; 4] = [
    "tcp://127.0.0.1:8080/exec",
    "udp://127.0.0.1:8080/exec",
    "tcp://127.0.0.1:8081/echo",
    "udp://127.0.0.1:8081/echo",
];

/// A listener that is valid and safe, with the users that it takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Legacy {
    /// What listens.
    pub listener: ListenerConfig,
    /// Local users that may connect.
    pub users: Users,
}

/// Checks listeners, in their order; `users` is what `--users` says, and `listen` what the daemon listens on besides.
pub fn legacy(
    urls: &[Text<'_>],
    users: Option<&Text<'_>>,
    allow: Allow,
    listen: &[Address],
) -> Result<Vec<Legacy>, ConfigError> {
    if let Some((list, origin)) = users {
        Users::parse(list).map_err(|error| origin.wrong(error))?;
    }
    let global = users.map(|(list, _)| list.as_str());
    let mut before: Vec<ListenerConfig> = Vec::new();
    urls.iter()
        .map(|(url, origin)| {
            let listener: ListenerConfig = url.parse().map_err(|error| origin.wrong(error))?;
            if let Some(other) = taken_by(&listener, &before, listen) {
                return Err(origin.wrong(format!("{url}: its address is that of {other}")));
            }
            before.push(listener.clone());
            allow
                .permits(&listener)
                .map_err(|error| origin.wrong(format!("{url}: {error}")))?;
            let users = users_of(&listener, global)
                .map_err(|error| origin.wrong(format!("{url}: users: {error}")))?;
            Ok(Legacy { listener, users })
        })
        .collect()
}

/// What has the address of `listener` already.
fn taken_by(
    listener: &ListenerConfig,
    before: &[ListenerConfig],
    listen: &[Address],
) -> Option<String> {
    if let Some(other) = before
        .iter()
        .find(|other| overlap(&listener.kind, &other.kind))
    {
        return Some(format!("{}, which is listed before", other.url()));
    }
    let Kind::Stream { address, .. } = &listener.kind else {
        return None;
    };
    let other = listen.iter().find(|other| address.overlaps(other))?;
    Some(format!("{other}, where gRPC is served"))
}

fn overlap(one: &Kind, two: &Kind) -> bool {
    match (one, two) {
        (Kind::Stream { address: one, .. }, Kind::Stream { address: two, .. }) => one.overlaps(two),
        (Kind::Datagram { address: one, .. }, Kind::Datagram { address: two, .. }) => {
            Address::Tcp(*one).overlaps(&Address::Tcp(*two))
        }
        _ => false,
    }
}

fn users_of(listener: &ListenerConfig, global: Option<&str>) -> Result<Users, UsersError> {
    match (global, listener.users.as_deref()) {
        (None, None) => Ok(Users::daemon()),
        (Some(list), None) | (None, Some(list)) => Users::parse(list),
        (Some(global), Some(own)) => Users::parse(&format!("{global},{own}")),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use remex_daemon::{File, Origin};

    use super::*;

    fn flag(url: &str) -> Text<'static> {
        (url.to_owned(), Origin::Flag("--legacy"))
    }

    #[test]
    fn the_defaults_are_valid_and_safe() {
        let urls = DEFAULT_LISTENERS.map(flag);
        let listeners = legacy(&urls, None, Allow::default(), &[]).unwrap();
        let names: Vec<_> = listeners.iter().map(|one| one.listener.name()).collect();
        assert_eq!(names, ["tcp-exec", "udp-exec", "tcp-echo", "udp-echo"]);
    }

    #[test]
    fn users_of_the_listener_join_those_of_the_daemon() {
        let users = ("4321".to_owned(), Origin::Flag("--users"));
        let urls = [
            "tcp://127.0.0.1:1/echo?users=4322",
            "tcp://127.0.0.1:2/echo",
        ]
        .map(flag);
        let listeners = legacy(&urls, Some(&users), Allow::default(), &[]).unwrap();
        assert!(listeners[0].users.allows(4321) && listeners[0].users.allows(4322));
        assert!(listeners[1].users.allows(4321) && !listeners[1].users.allows(4322));
    }

    #[test]
    fn no_address_is_given_twice() {
        for (one, two, taken) in [
            ("tcp://127.0.0.1:1/exec", "tcp://127.0.0.1:1/echo", true),
            ("tcp://0.0.0.0:1/echo", "tcp://127.0.0.1:1/echo", true),
            ("udp://[::]:1/echo", "udp://[::1]:1/echo", true),
            ("unix:/p?service=exec", "unix:///p?service=echo", true),
            ("tcp://localhost:1/exec", "tcp://127.0.0.1:1/echo", true),
            (
                "tcp://127.0.0.1:1/exec",
                "tcp://[::ffff:127.0.0.1]:1/exec",
                true,
            ),
            (
                "tcp://[::FFFF:7f00:1]:1/exec",
                "tcp://127.0.0.1:01/exec",
                true,
            ),
            (
                "tcp://[::ffff:0.0.0.0]:1/echo",
                "tcp://127.0.0.1:1/echo",
                true,
            ),
            ("tcp://[::1]:1/exec", "tcp://[0:0:0:0:0:0:0:1]:1/echo", true),
            ("tcp://[::]:1/echo", "tcp://[0::0.0.0.0]:1/echo", true),
            (
                "tcp://[fe80::1%25lo]:1/echo",
                "tcp://[FE80:0::1%1]:1/echo",
                true,
            ),
            (
                "tcp://[fe80::1%1]:1/echo",
                "tcp://[fe80::1%2]:1/echo",
                false,
            ),
            (
                "unix:/a/p?service=exec",
                "unix:///a//./p?service=echo",
                true,
            ),
            (
                "unix:/a?service=exec&mode=0600",
                "unix:/a?service=exec&mode=0660",
                true,
            ),
            ("udp://127.0.0.1:1/echo", "udp://127.0.0.1:1/time", true),
            ("tcp://127.0.0.1:1/exec", "udp://127.0.0.1:1/exec", false),
            ("tcp://127.0.0.1:0/exec", "tcp://127.0.0.1:0/exec", false),
            ("tcp://127.0.0.1:1/exec", "tcp://127.0.0.2:1/exec", false),
            ("tcp://0.0.0.0:1/echo", "tcp://[::]:1/echo", false),
        ] {
            let outcome = legacy(&[one, two].map(flag), None, Allow::default(), &[]);
            let text = outcome.err().map(|error| error.to_string());
            assert_eq!(text.is_some(), taken, "{one} {two}: {text:?}");
            assert!(text.is_none_or(|text| text.contains("listed before")));
        }
    }

    #[test]
    fn no_address_is_that_of_grpc() {
        let listen = ["127.0.0.1:1", "unix:/p"].map(|address| address.parse().unwrap());
        for (url, taken) in [
            ("tcp://127.0.0.1:1/exec", true),
            ("tcp://[::ffff:127.0.0.1]:1/exec", true),
            ("tcp://0.0.0.0:1/echo", true),
            ("unix:///p?service=echo", true),
            ("udp://127.0.0.1:1/exec", false),
            ("tcp://127.0.0.1:2/exec", false),
        ] {
            let outcome = legacy(&[flag(url)], None, Allow::default(), &listen);
            let text = outcome.err().map(|error| error.to_string());
            assert_eq!(text.is_some(), taken, "{url}: {text:?}");
            assert!(text.is_none_or(|text| text.contains("where gRPC is served")));
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let error = |urls: &[Text<'_>], users: Option<&Text<'_>>| {
            legacy(urls, users, Allow::default(), &[])
                .unwrap_err()
                .to_string()
        };
        let text = error(&[flag("tcp://127.0.0.1:1/exec?wier=raw")], None);
        assert!(
            text.starts_with("--legacy: ") && text.contains("`wier`"),
            "{text}"
        );
        let text = error(&[flag("tcp://127.0.0.1:1/exec?users=no-such-user")], None);
        assert!(text.contains("no-such-user"), "{text}");
        let users = ("no-such-user".to_owned(), Origin::Flag("--users"));
        let text = error(&[], Some(&users));
        assert!(text.starts_with("--users: "), "{text}");
        let source = "legacy = [\n 'tcp://0.0.0.0:1/exec',\n]\n";
        let file = File::new(Path::new("x.toml"), source.to_owned());
        let text = error(
            &[(
                "tcp://0.0.0.0:1/exec".to_owned(),
                Origin::File(&file, 12..34),
            )],
            None,
        );
        assert!(
            text.starts_with("x.toml:2: legacy[0]: tcp://0.0.0.0:1/exec: "),
            "{text}"
        );
        assert!(text.contains("--allow-plaintext"), "{text}");
    }
}
