//! What the model shares with the rules, and so cannot tell.

use super::{
    super::{
        judge::{Decision, judge},
        question::{Act, AskedCommand, Directory, OnOthers, Program, Question, Rpc, RunAs},
        testing::{command, parse},
    },
    base_name, is_plain,
};

const ALLOWS_ALL: &str =
    "[[rule]]\nname = 'a'\ndecision = 'allow'\nanyone = true\nothers = ['see']\n";

#[test]
fn a_deny_that_says_something_of_commands_is_about_nothing_else() {
    for (what, is_about_all) in [
        ("", true),
        ("identities = ['token:ci']", true),
        ("programs = ['/bin/x']", false),
        ("programs = 'any'", false),
        ("arguments = ['x']", false),
        ("shell = true", false),
        ("shell = false", false),
        ("working_directories = ['/x']", false),
        ("environment = ['X']", false),
        ("run_as = ['app']", false),
    ] {
        let deny = format!("[[rule]]\nname = 'd'\ndecision = 'deny'\n{what}\n");
        let policy = parse(&format!("{ALLOWS_ALL}{deny}")).unwrap();
        for act in [Act::Call(Rpc::Echo), Act::Others(OnOthers::See)] {
            let question = Question {
                act,
                ..command("token:ci", "/bin/ls", &[])
            };
            let is_denied = matches!(judge(&policy, &question), Decision::Denied(_));
            assert_eq!(is_denied, is_about_all, "{what} {:?}", question.act);
        }
    }
}

#[test]
fn an_allow_is_for_somebody_or_for_anyone() {
    let allow = |who: &str| {
        let rule = format!("[[rule]]\nname = 'a'\ndecision = 'allow'\n{who}\n");
        parse(&rule).is_ok()
    };
    assert!(allow("anyone = true") && !allow(""));
    for who in [
        "identities = ['token:ci']",
        "users = ['app']",
        "groups = ['wheel']",
        "networks = ['10.0.0.0/8']",
        "listeners = ['tcp-exec']",
    ] {
        assert!(allow(who), "{who}");
        assert!(!allow(&format!("{who}\nanyone = true")), "{who}");
    }
}

#[test]
fn an_allow_starts_programs_or_the_shell_by_calls_that_do() {
    let rule = |more: &str| {
        let rule = format!("[[rule]]\nname = 'a'\ndecision = 'allow'\nanyone = true\n{more}\n");
        Some(parse(&rule).ok()?.rules.remove(0))
    };
    for (what, starts) in [
        ("programs = ['/bin/x']", true),
        ("programs = 'any'", true),
        ("shell = true", true),
        ("shell = false", false),
        ("environment = 'any'", false),
        ("", false),
    ] {
        assert_eq!(rule(what).unwrap().may_start(), starts, "{what}");
        for (rpcs, may) in [
            ("['Run']", starts),
            ("['List', 'Interact']", starts),
            ("['List']", false),
        ] {
            let rule = rule(&format!("{what}\nrpcs = {rpcs}"));
            let may_start = rule.is_some_and(|rule| rule.may_start());
            assert_eq!(may_start, may, "{what} {rpcs}");
        }
    }
}

#[test]
fn a_plain_path_is_one_way_alone() {
    for (path, expected) in [
        ("/a", true),
        ("/a/b", true),
        ("/.a", true),
        ("/..a", true),
        ("/a..", true),
        ("", false),
        ("/", false),
        ("a", false),
        ("a/b", false),
        ("//a", false),
        ("/a/", false),
        ("/a//b", false),
        ("/.", false),
        ("/./a", false),
        ("/a/.", false),
        ("/..", false),
        ("/../a", false),
        ("/a/../b", false),
    ] {
        assert_eq!(is_plain(path.as_bytes()), expected, "{path:?}");
    }
}

#[test]
fn a_base_name_is_what_is_behind_the_last_slash() {
    for (path, expected) in [
        ("/a/b", "b"),
        ("b", "b"),
        ("/b", "b"),
        ("/a/", ""),
        ("", ""),
    ] {
        assert_eq!(base_name(path.as_bytes()), expected.as_bytes(), "{path:?}");
    }
}

/// Whether `rule`, beside which nothing else is denied, allows a command that was changed so.
fn allows(rule: &str, change: impl FnOnce(&mut AskedCommand)) -> bool {
    let policy = parse(rule).unwrap();
    let question = command("token:ci", "/bin/ls", &[]).with(change);
    matches!(judge(&policy, &question), Decision::Allowed(_))
}

fn allowing(more: &str) -> String {
    format!("[[rule]]\nname = 'a'\ndecision = 'allow'\nanyone = true\n{more}\n")
}

fn denying(more: &str) -> String {
    let all = allowing("programs = 'any'\narguments = 'any'\nshell = true\nrun_as = 'any'");
    format!("{all}[[rule]]\nname = 'd'\ndecision = 'deny'\n{more}\n")
}

#[test]
fn the_folder_that_a_rule_forces_may_be_asked_for_and_no_other() {
    let rule = allowing("programs = ['/bin/ls']\nforce.working_directory = '/srv'");
    for (folder, allowed) in [("/srv", true), ("/srv/x", false), ("/", false)] {
        for directory in [Directory::Named, Directory::Real] {
            let directory = directory(folder.into());
            let is_allowed = allows(&rule, |command| command.directory = directory);
            assert_eq!(is_allowed, allowed, "{folder}");
        }
    }
    assert!(allows(&rule, |command| command.directory = Directory::Unset));
    let forces = parse(&rule).unwrap().rules.remove(0).forces().clone();
    assert_eq!(forces.working_directory, Some("/srv".into()));
}

#[test]
fn a_deny_of_the_shell_leaves_programs_and_the_other_way_round() {
    for (shell, denied) in [(true, true), (false, false)] {
        let set = |command: &mut AskedCommand| command.shell = shell;
        assert_eq!(allows(&denying("shell = true"), set), !denied, "{shell}");
        assert_eq!(allows(&denying("shell = false"), set), denied, "{shell}");
    }
}

#[test]
fn a_deny_of_a_user_is_about_who_it_is_in_whatever_group() {
    let rule = denying("run_as = ['app']");
    let known = |uid, gid| RunAs::Known {
        text: String::new(),
        uid,
        gid,
    };
    for (user, allowed) in [
        (RunAs::Own { uid: 7 }, false),
        (RunAs::Own { uid: 8 }, true),
        (known(7, 7), false),
        (known(7, 0), false),
        (known(8, 7), true),
        // Nobody knows yet who that is.
        (RunAs::Named("app".to_owned()), true),
        (RunAs::Unset, true),
    ] {
        let is_allowed = allows(&rule, |command| command.user = user.clone());
        assert_eq!(is_allowed, allowed, "{user:?}");
    }
}

#[test]
fn a_program_that_is_not_there_is_known_by_its_name() {
    let rule = allowing("programs = ['/bin/ls', '/opt/*']");
    for (name, allowed) in [
        ("ls", true),
        ("cat", false),
        ("/bin/ls", true),
        ("/tmp/ls", false),
        ("/opt/x", true),
        ("./ls", false),
        // It could be anything below that folder, or elsewhere.
        ("x", false),
    ] {
        let absent = Program::Absent(name.into());
        let is_allowed = allows(&rule, |command| command.program = absent);
        assert_eq!(is_allowed, allowed, "{name}");
    }
}

fn file(named: &str, real: &str) -> Program {
    Program::File {
        named: named.into(),
        real: real.into(),
    }
}

#[test]
fn an_allowed_program_is_the_one_that_is_at_its_path_or_was_when_the_policy_was_read() {
    let rule = allowing("programs = ['/usr/bin/python']");
    for (named, real, allowed) in [
        ("/usr/bin/python", "/elsewhere", true),
        // By another way: what is there now, and what was.
        ("/bin/../usr/bin/python", "/usr/bin/python", true),
        ("/opt/python", "/usr/bin/python3.13", true),
        ("/opt/python", "/elsewhere", false),
        ("/opt/x", "/usr/bin/python3.13", false),
        ("/bin/../usr/bin/python", "/elsewhere", false),
    ] {
        let program = file(named, real);
        let is_allowed = allows(&rule, |command| command.program = program);
        assert_eq!(is_allowed, allowed, "{named} {real}");
    }
}

#[test]
fn a_denied_program_is_what_is_called_so_or_is_it() {
    let rule = denying("programs = ['/opt/*', '/usr/bin/python']");
    for (named, real, denied) in [
        ("/opt/x", "/elsewhere", true),
        ("/tmp/x", "/opt/x", true),
        ("/tmp/x", "/usr/bin/python3.13", true),
        ("/tmp/x", "/elsewhere", false),
    ] {
        let program = file(named, real);
        let is_allowed = allows(&rule, |command| command.program = program);
        assert_eq!(is_allowed, !denied, "{named} {real}");
    }
}
