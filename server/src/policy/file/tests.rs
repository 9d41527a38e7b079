use super::super::testing::parse;

fn error(text: &str) -> String {
    parse(text).unwrap_err().to_string()
}

/// An allow for a token, with `more` in it.
fn allow(more: &str) -> String {
    format!("[[rule]]\nname = 'r'\ndecision = 'allow'\nidentities = ['token:ci']\n{more}\n")
}

#[test]
fn promise_4_a_rule_without_a_decision_is_an_error_with_its_line() {
    let text = "[[rule]]\nname = 'a'\ndecision = 'deny'\n\n[[rule]]\nname = 'b'\nanyone = true\n";
    assert_eq!(
        error(text),
        "policy.toml:5: rule[1]: missing key `decision`"
    );
    let text = "[[rule]]\nname = 'a'\ndecision = 'maybe'\n";
    assert!(
        error(text).starts_with("policy.toml:3: rule[0].decision: "),
        "{}",
        error(text)
    );
}

#[test]
fn what_is_wrong_is_said_with_its_line_and_key() {
    for (more, line, parts) in [
        ("progams = ['/bin/true']", 5, "unknown key `progams`"),
        ("programs = ['true']", 5, "\"true\" is no absolute path"),
        ("programs = ['/usr/../bin/true']", 5, "is no absolute path"),
        ("programs = 'all'", 5, "any"),
        ("arguments = ['x']", 2, "has arguments and no programs"),
        ("rpcs = ['Run']", 2, "says what"),
        ("rpcs = ['run']", 5, "unknown variant `run`"),
        ("users = ['nobody-here']", 5, "\"nobody-here\" is no user"),
        ("groups = ['nobody-here']", 5, "\"nobody-here\" is no user"),
        ("networks = ['10.0.0.0/99']", 5, "is no network"),
        ("listeners = ['telnet']", 5, "is none of tcp-exec"),
        ("anyone = true", 2, "says whom it is for"),
        (
            "programs = ['/a']\nenvironment = ['A=B']",
            6,
            "is no name of a variable",
        ),
        (
            "programs = ['/a']\nenvironment = ['LD_*']",
            6,
            "would match LD_AUDIT",
        ),
        (
            "programs = ['/a']\nenvironment = ['*']",
            6,
            "would match BASH_ENV",
        ),
        (
            "programs = ['/a']\narguments = ['../*']",
            6,
            ".. beside a *",
        ),
        ("programs = ['/a']\nforce.user = 'x'", 6, "\"x\" is no user"),
        (
            "programs = ['/a']\nforce.working_directory = 'x'",
            6,
            "is no absolute path",
        ),
        (
            "programs = ['/a']\nat_most.cpu_time = 'x'",
            6,
            "at_most.cpu_time",
        ),
        (
            "programs = ['/a']\nat_most.open_files = 5\nforce.limits.open_files = 6",
            2,
            "above its at_most",
        ),
    ] {
        let error = error(&allow(more));
        assert!(
            error.starts_with(&format!("policy.toml:{line}: rule[0]")),
            "{more}: {error}"
        );
        assert!(error.contains(parts), "{more}: {error}");
    }
    let deny = "[[rule]]\nname = 'r'\ndecision = 'deny'\nforce.user = 'app'\n";
    assert!(error(deny).contains("a deny forces nothing"));
    let nobody = "[[rule]]\nname = 'r'\ndecision = 'allow'\nprograms = 'any'\n";
    assert!(error(nobody).contains("says whom it is for"));
    let twice = format!("{}{}", allow(""), allow(""));
    assert!(error(&twice).starts_with("policy.toml:7: rule[1].name: another rule"));
    for name in ["", "a\u{202e}b", &"x".repeat(129)] {
        let text = format!("[[rule]]\nname = \"{name}\"\ndecision = 'deny'\n");
        assert!(error(&text).contains("printable"), "{name:?}");
    }
}

#[test]
fn promise_5_an_empty_identity_is_no_rule() {
    for identity in [
        "",
        "token:",
        "token: ",
        "spiffe://",
        "unix:0",
        "*",
        "jwt*",
        "TOKEN:ci",
    ] {
        let text =
            format!("[[rule]]\nname = 'r'\ndecision = 'allow'\nidentities = ['{identity}']\n");
        assert!(
            error(&text).starts_with("policy.toml:4: rule[0].identities[0]: "),
            "{identity}"
        );
    }
    let subject = "[[rule]]\nname = 'r'\ndecision = 'allow'\nidentities = ['subject:CN=*']\n";
    assert!(error(subject).contains("write it out"));
}

#[test]
fn examples_are_held_against_their_rule() {
    let rule = |examples: &str| {
        parse(&allow(&format!(
            "programs = ['/bin/ls']\narguments = ['/srv/*']\n{examples}"
        )))
    };
    for good in [
        "match = [{ argv = ['/bin/ls', '/srv/a'] }, { as = 'token:ci', argv = ['/bin/ls', '/srv/b'] }]",
        "not_match = [{ argv = ['/bin/ls', '/srv/..'] }, { as = 'token:x', argv = ['/bin/ls', '/srv/b'] }]",
        "not_match = [{ argv = ['x'], shell = true }, { argv = ['/bin/ls', '/srv/a'], environment = ['A'] }]",
        "not_match = [{ argv = ['/bin/ls', '/srv/a'], user = 'app' }]",
        "not_match = [{ argv = ['/bin/ls', '/srv/a'], as = 'token:ci', from_execution = true }]",
        "match = [{ rpc = 'List', as = 'token:ci' }]",
    ] {
        rule(good).unwrap_or_else(|error| panic!("{good}: {error}"));
    }
    for (bad, why) in [
        (
            "match = [{ argv = ['/bin/ls'] }]",
            "does not match this example",
        ),
        (
            "not_match = [{ argv = ['/bin/ls', '/srv/a'] }]",
            "matches this example",
        ),
        ("match = [{}]", "it has no argv"),
        (
            "match = [{ argv = ['/bin/ls'], as = 'ci' }]",
            "neither unix:USER",
        ),
        ("match = [{ arv = ['/bin/ls'] }]", "unknown key `arv`"),
    ] {
        let error = rule(bad).unwrap_err().to_string();
        assert!(
            error.starts_with("policy.toml:7: rule[0]."),
            "{bad}: {error}"
        );
        assert!(error.contains(why), "{bad}: {error}");
    }
}
