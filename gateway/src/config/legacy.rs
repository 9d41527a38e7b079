//! The legacy side of a daemon's configuration, for `remexd` and `remex-gateway` alike: the listeners, from flags or a file,
//! and whether they are safe where they are.

use remex_daemon::{
    ConfigError, Text,
    net::{Users, UsersError},
};

use super::{Listener, safety::Allow};

/// What listens unless something else is asked for: the tutorial's ports, on loopback.
pub const DEFAULT_LISTENERS: [&str; 4] = [
    "tcp://127.0.0.1:8080/exec",
    "udp://127.0.0.1:8080/exec",
    "tcp://127.0.0.1:8081/echo",
    "udp://127.0.0.1:8081/echo",
];

/// A listener that is valid and safe, with the users that it takes.
#[derive(Debug, Clone)]
pub struct Legacy {
    /// What listens.
    pub listener: Listener,
    /// Local users that may connect.
    pub users: Users,
}

/// Checks listeners, in their order; `users` is what `--users` says.
pub fn legacy(
    urls: &[Text<'_>],
    users: Option<&Text<'_>>,
    allow: Allow,
) -> Result<Vec<Legacy>, ConfigError> {
    if let Some((list, origin)) = users {
        Users::parse(list).map_err(|error| origin.wrong(error))?;
    }
    let global = users.map(|(list, _)| list.as_str());
    urls.iter()
        .map(|(url, origin)| {
            let listener: Listener = url.parse().map_err(|error| origin.wrong(error))?;
            allow
                .permits(&listener)
                .map_err(|error| origin.wrong(format!("{url}: {error}")))?;
            let users = users_of(&listener, global)
                .map_err(|error| origin.wrong(format!("{url}: users: {error}")))?;
            Ok(Legacy { listener, users })
        })
        .collect()
}

fn users_of(listener: &Listener, global: Option<&str>) -> Result<Users, UsersError> {
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
        let listeners = legacy(&urls, None, Allow::default()).unwrap();
        let names: Vec<_> = listeners.iter().map(|one| one.listener.name()).collect();
        assert_eq!(names, ["tcp-exec", "udp-exec", "tcp-echo", "udp-echo"]);
    }

    #[test]
    fn users_of_the_listener_join_those_of_the_daemon() {
        let users = ("4321".to_owned(), Origin::Flag("--users"));
        let urls = [
            "tcp://127.0.0.1:1/echo?users=4322",
            "tcp://127.0.0.1:1/echo",
        ]
        .map(flag);
        let listeners = legacy(&urls, Some(&users), Allow::default()).unwrap();
        assert!(listeners[0].users.allows(4321) && listeners[0].users.allows(4322));
        assert!(listeners[1].users.allows(4321) && !listeners[1].users.allows(4322));
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place() {
        let error = |urls: &[Text<'_>], users: Option<&Text<'_>>| {
            legacy(urls, users, Allow::default())
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
