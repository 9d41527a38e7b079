//! The one place where a policy decides. Pure and total: every question has an answer.
//!
//! A deny that fits wins, wherever it stands. Else the first allow that fits, in the order of the file, says what is forced. Else
//! it is denied.

use super::{
    question::{Act, Asker, Question},
    rule::{AccessPolicy, Aspect, Effect, Rule},
};

/// What a policy says.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub enum Decision<'a> {
    /// It may be done, as the grant has it.
    Allowed(Grant<'a>),
    /// It may not.
    Denied(Denial),
}

/// That something may be done.
#[derive(Debug, Clone, PartialEq)]
pub struct Grant<'a> {
    /// The rule that allows it.
    pub rule: &'a Rule,
}

/// That something may not be done, and why: for the caller, whom it tells no more than names of rules, and which sides of
/// its own question they are not about.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[must_use]
pub enum Denial {
    /// By a rule.
    #[error("the policy's rule {0:?} denies it; whoever administers this server may change that")]
    ByRule(String),
    /// By none, since none allows it.
    #[error("no rule of the policy allows it{}", would_need(.0.as_ref()))]
    ByDefault(Option<NearRule>),
}

/// The rule that allows most of what was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NearRule {
    /// Its name.
    pub name: String,
    /// What it does not allow.
    pub lacks: Vec<Aspect>,
}

impl Denial {
    /// The rule that denies it, or that allows most of it; empty: there is none.
    pub fn rule(&self) -> &str {
        match self {
            Self::ByRule(name) | Self::ByDefault(Some(NearRule { name, .. })) => name,
            Self::ByDefault(None) => "",
        }
    }

    /// What a rule would have to allow, separated by commas; empty where a rule denies it, or none is about this caller.
    pub fn needed(&self) -> String {
        match self {
            Self::ByRule(_) | Self::ByDefault(None) => String::new(),
            Self::ByDefault(Some(near)) => listed(&near.lacks),
        }
    }
}

fn would_need(near: Option<&NearRule>) -> String {
    match near {
        None => " to this caller; whoever administers this server may add one".to_owned(),
        Some(NearRule { name, lacks }) => {
            format!("; the rule {name:?} would, but for: {}", listed(lacks))
        }
    }
}

fn listed(aspects: &[Aspect]) -> String {
    let names: Vec<_> = aspects.iter().map(|aspect| aspect.as_str()).collect();
    names.join(", ")
}

/// What `policy` says to `question`.
pub fn judge<'a>(policy: &'a AccessPolicy, question: &Question) -> Decision<'a> {
    let mut allowing = None;
    for rule in &policy.rules {
        let is_needed = match rule.effect {
            Effect::Deny => true,
            Effect::Allow => allowing.is_none(),
        };
        if !is_needed || !rule.fits(question) {
            continue;
        }
        match rule.effect {
            Effect::Deny => return Decision::Denied(Denial::ByRule(rule.name.clone())),
            Effect::Allow => allowing = Some(rule),
        }
    }
    match allowing {
        Some(rule) => Decision::Allowed(Grant { rule }),
        None => Decision::Denied(Denial::ByDefault(nearest(policy, question))),
    }
}

/// Whether `asker` may have what needs no rule: GetServerInfo, health, reflection. On this machine all may that are in no
/// execution; from elsewhere, those that have shown who they are.
#[must_use]
pub fn may_ask(asker: &Asker) -> bool {
    let is_near = asker
        .address
        .is_none_or(|address| address.ip().to_canonical().is_loopback());
    (is_near || asker.identity.is_some()) && !asker.is_inside
}

/// The allow for this caller that lacks least.
fn nearest(policy: &AccessPolicy, question: &Question) -> Option<NearRule> {
    let is_about_caller = |rule: &&Rule| {
        let starts = matches!(question.act, Act::Command(..));
        rule.effect == Effect::Allow
            && rule.fits_on(Aspect::Caller, question)
            && (!starts || rule.may_start())
    };
    let lacks = |rule: &Rule| -> Vec<_> {
        let missing = |aspect: &Aspect| !rule.fits_on(*aspect, question);
        Aspect::ALL.into_iter().filter(missing).collect()
    };
    let rules = policy.rules.iter().filter(is_about_caller);
    let near = rules
        .map(|rule| (rule, lacks(rule)))
        .min_by_key(|(_, lacks)| lacks.len());
    near.map(|(rule, lacks)| NearRule {
        name: rule.name.clone(),
        lacks,
    })
}

#[cfg(test)]
mod tests {
    use super::{
        super::{
            question::{Program, Rpc, RunAs},
            testing::{command, parse},
        },
        *,
    };

    fn allow(more: &str) -> AccessPolicy {
        let rule = format!(
            "[[rule]]\nname = 'r'\ndecision = 'allow'\nidentities = ['token:ci']\n{more}\n"
        );
        parse(&rule).unwrap()
    }

    fn is_allowed(policy: &AccessPolicy, question: &Question) -> bool {
        matches!(judge(policy, question), Decision::Allowed(_))
    }

    fn denial(policy: &AccessPolicy, question: &Question) -> Denial {
        match judge(policy, question) {
            Decision::Denied(denial) => denial,
            Decision::Allowed(_) => panic!("it is allowed"),
        }
    }

    #[test]
    fn pitfall_36_a_program_of_many_names_is_allowed_by_that_name_alone() {
        let policy = allow("programs = ['/bin/ls', '/bin/busybox']\narguments = ['x']");
        for (named, real, allowed) in [
            ("/bin/ls", "/bin/busybox", true),
            ("/bin/busybox", "/bin/busybox", true),
            // By another way of folders.
            ("/sbin/../bin/ls", "/bin/ls", true),
            ("/tmp/busybox", "/bin/busybox", true),
            ("/tmp/sh", "/bin/busybox", false),
            ("/tmp/ls", "/bin/busybox", false),
            ("/bin/../tmp/ls", "/tmp/ls", false),
            ("/bin/./ls", "/tmp/x", false),
        ] {
            let question = command("token:ci", named, &["x"]).with(|command| {
                command.program = Program::File {
                    named: named.into(),
                    real: real.into(),
                };
            });
            assert_eq!(is_allowed(&policy, &question), allowed, "{named} {real}");
        }
    }

    #[test]
    fn a_deny_means_the_file_by_whatever_name() {
        let deny = "[[rule]]\nname = 'd'\ndecision = 'deny'\nprograms = ['/usr/bin/python']\n";
        let all = "[[rule]]\nname = 'a'\ndecision = 'allow'\nanyone = true\nprograms = 'any'\narguments = 'any'\n";
        let policy = parse(&format!("{all}{deny}")).unwrap();
        for (named, real, allowed) in [
            ("/usr/bin/python", "/usr/bin/python3.13", false),
            ("/usr/bin/python3.13", "/usr/bin/python3.13", false),
            ("/tmp/x", "/usr/bin/python3.13", false),
            ("/usr/bin/perl", "/usr/bin/perl", true),
        ] {
            let question = command("token:ci", named, &[]).with(|command| {
                command.program = Program::File {
                    named: named.into(),
                    real: real.into(),
                };
            });
            assert_eq!(is_allowed(&policy, &question), allowed, "{named} {real}");
        }
    }

    #[test]
    fn a_user_is_who_it_is_with_its_own_group() {
        let policy = allow("programs = ['/bin/ls']\nrun_as = ['app']");
        for (uid, gid, allowed) in [(7, 7, true), (7, 0, false), (0, 7, false)] {
            let question = command("token:ci", "/bin/ls", &[]).with(|command| {
                let text = format!("{uid}:{gid}");
                command.user = RunAs::Known { text, uid, gid };
            });
            assert_eq!(is_allowed(&policy, &question), allowed, "{uid}:{gid}");
        }
    }

    #[test]
    fn whom_a_rule_is_about() {
        for (who, caller, allowed) in [
            ("users = ['app']", "unix:app", true),
            ("users = ['app']", "unix:root", false),
            ("groups = ['wheel']", "unix:ops", true),
            ("groups = ['wheel']", "unix:app", false),
            ("networks = ['10.0.0.0/8']", "ip:10.1.2.3", true),
            ("networks = ['10.0.0.0/8']", "ip:::ffff:10.1.2.3", true),
            ("networks = ['10.0.0.0/8']", "ip:11.1.2.3", false),
            ("networks = ['10.0.0.0/8']", "unix:root", false),
            (
                "users = ['app']\nnetworks = ['10.0.0.0/8']",
                "unix:app",
                false,
            ),
            (
                "identities = ['spiffe://example.org/ci/*']",
                "spiffe://example.org/ci/a",
                true,
            ),
            (
                "identities = ['spiffe://example.org/ci/*']",
                "spiffe://example.org/ci/a/b",
                false,
            ),
            (
                "identities = ['dns:*.example.org']",
                "dns:a.example.org",
                true,
            ),
            (
                "identities = ['dns:*.example.org']",
                "dns:a.b.example.org",
                false,
            ),
            ("identities = ['token:*']", "jwt:x", false),
            ("listeners = ['tcp-exec']", "unix:root", false),
            ("anyone = true", "ip:192.0.2.1", true),
        ] {
            let rule = format!(
                "[[rule]]\nname = 'r'\ndecision = 'allow'\n{who}\nprograms = ['/bin/ls']\n"
            );
            let question = command(caller, "/bin/ls", &[]);
            assert_eq!(
                is_allowed(&parse(&rule).unwrap(), &question),
                allowed,
                "{who} {caller}"
            );
        }
    }

    #[test]
    fn what_needs_no_rule_is_for_this_machine_and_for_identities() {
        for (caller, address, expected) in [
            ("unix:app", None, true),
            ("unix:app", Some("127.0.0.1:9"), true),
            ("unix:app", Some("[::ffff:127.0.0.1]:9"), true),
            ("ip:127.0.0.1", Some("127.0.0.1:9"), true),
            ("ip:::1", Some("[::1]:9"), true),
            // By an address that others reach, too, so that nobody can tell.
            ("unix:app", Some("192.0.2.1:9"), false),
            ("ip:192.0.2.7", Some("192.0.2.7:9"), false),
            ("ip:2001:db8::7", Some("[2001:db8::7]:9"), false),
            ("token:ci", Some("192.0.2.7:9"), true),
            ("dns:a.example", Some("[2001:db8::7]:9"), true),
        ] {
            let asker = Asker {
                address: address.map(|address| address.parse().unwrap()),
                ..command(caller, "/bin/ls", &[]).asker
            };
            assert_eq!(may_ask(&asker), expected, "{caller} {address:?}");
            let inside = Asker {
                is_inside: true,
                ..asker
            };
            assert!(!may_ask(&inside), "{caller} {address:?}");
        }
    }

    #[test]
    fn a_denial_says_what_would_have_to_be_allowed() {
        let policy = allow("programs = ['/bin/ls']\narguments = ['a']");
        let denied = |caller: &str, program: &str, arguments: &[&str]| {
            let denial = denial(&policy, &command(caller, program, arguments));
            (denial.rule().to_owned(), denial.needed())
        };
        let near = |needed: &str| ("r".to_owned(), needed.to_owned());
        assert_eq!(denied("token:ci", "/bin/ls", &["b"]), near("arguments"));
        assert_eq!(
            denied("token:ci", "/bin/x", &[]),
            near("program, arguments")
        );
        // Nobody is told of rules for others.
        assert_eq!(
            denied("token:x", "/bin/ls", &["a"]),
            <(String, String)>::default()
        );
    }

    #[test]
    fn a_denial_is_said_to_people() {
        let policy = allow("programs = ['/bin/ls']\narguments = ['a']");
        let said = |caller: &str| denial(&policy, &command(caller, "/bin/ls", &["b"])).to_string();
        assert_eq!(
            said("token:ci"),
            "no rule of the policy allows it; the rule \"r\" would, but for: arguments"
        );
        assert_eq!(
            said("token:x"),
            "no rule of the policy allows it to this caller; whoever administers this server may add one"
        );
    }

    #[test]
    fn a_rule_that_starts_nothing_is_near_to_calls_alone() {
        let policy = allow("rpcs = ['List']");
        let question = command("token:ci", "/bin/ls", &[]);
        assert_eq!(denial(&policy, &question).rule(), "");
        let question = Question {
            act: Act::Call(Rpc::Get),
            ..question
        };
        let denial = denial(&policy, &question);
        assert_eq!(
            (denial.rule(), &*denial.needed()),
            ("r", Aspect::Rpc.as_str())
        );
    }
}
