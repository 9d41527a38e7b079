//! The policy's decision a second time, as naively as it can be written, and both held against each other.

mod arbitrary;

use proptest::prelude::*;

use self::arbitrary::{policies, questions, rules};
use super::{
    explain,
    judge::{Decision, judge},
    pattern::Pattern,
    question::{Act, AskedCommand, Directory, Program, Question, RunAs},
    rule::{AccessPolicy, Effect, Named, NamedUser, Rule, What, base_name, is_plain},
};

/// How many questions are asked of both; `REMEX_LONG=1` asks for as many as are promised.
fn cases() -> u32 {
    let is_long = std::env::var("REMEX_LONG").is_ok_and(|value| value == "1");
    if is_long { 100_000 } else { 5_000 }
}

/// All rules that match, then what follows from them.
fn decides(policy: &AccessPolicy, question: &Question) -> Result<String, Option<String>> {
    let matching: Vec<_> = policy
        .rules
        .iter()
        .filter(|rule| matches(rule, question))
        .collect();
    if let Some(deny) = matching.iter().find(|rule| rule.effect == Effect::Deny) {
        return Err(Some(deny.name.clone()));
    }
    matching.first().map(|rule| rule.name.clone()).ok_or(None)
}

fn matches(rule: &Rule, question: &Question) -> bool {
    let who = &rule.who;
    let asker = &question.asker;
    let anybody = who.identities.is_empty() && who.users.is_empty() && who.groups.is_empty();
    let mut is_named = anybody;
    if let Some(identity) = &asker.identity {
        for pattern in &who.identities {
            is_named |= pattern.matches(identity.as_str().as_bytes());
        }
    }
    if let Some(uid) = asker.uid {
        is_named |= who.users.contains(&uid);
        for group in &asker.groups {
            is_named |= who.groups.contains(group);
        }
    }
    let is_at = who.networks.is_empty()
        || who
            .networks
            .iter()
            .any(|network| asker.address.is_some_and(|at| network.contains(at)));
    let is_through = who.listeners.is_empty()
        || who
            .listeners
            .iter()
            .any(|name| asker.listener == Some(*name));
    if !is_named || !is_at || !is_through {
        return false;
    }
    match (rule.effect, &question.act) {
        (Effect::Allow, _) if asker.is_inside && !who.from_executions => false,
        (Effect::Deny, _) if who.from_executions && !asker.is_inside => false,
        (Effect::Allow, Act::Others(what)) => rule.others.contains(what),
        (Effect::Deny, Act::Others(what)) => {
            rule.others.contains(what) && rule.rpcs.is_empty()
                || (rule.others.is_empty() && rule.rpcs.is_empty() && !rule.what.is_named())
        }
        (Effect::Allow, Act::Call(rpc)) => rule.rpcs.is_empty() || rule.rpcs.contains(rpc),
        (Effect::Deny, Act::Call(rpc)) => {
            (rule.rpcs.is_empty() || rule.rpcs.contains(rpc))
                && rule.others.is_empty()
                && !rule.what.is_named()
        }
        (Effect::Allow, Act::Command(rpc, command)) => {
            (rule.rpcs.is_empty() || rule.rpcs.contains(rpc)) && allows(rule, command)
        }
        (Effect::Deny, Act::Command(rpc, command)) => {
            (rule.rpcs.is_empty() || rule.rpcs.contains(rpc))
                && rule.others.is_empty()
                && denies(&rule.what, command)
        }
    }
}

fn allows(rule: &Rule, command: &AskedCommand) -> bool {
    let Rule { what, forces, .. } = rule;
    let program = if command.shell {
        what.shell == Some(true)
    } else {
        match (&what.programs, &command.program) {
            (None, _) => false,
            (Some(Named::Any), _) | (Some(_), Program::Unknown) => {
                !matches!(&what.programs, Some(Named::These(all)) if all.is_empty())
            }
            (Some(Named::These(all)), Program::Absent(name)) => all.iter().any(|one| {
                if name.contains(&b'/') {
                    one.path.matches(name)
                } else {
                    one.path
                        .literal()
                        .is_some_and(|text| base_name(text) == &**name)
                }
            }),
            (Some(Named::These(all)), Program::File { named, real }) => all.iter().any(|one| {
                let last = one.path.literal().unwrap_or(real);
                (is_plain(named) && one.path.matches(named))
                    || (base_name(named) == base_name(last)
                        && (one.path.matches(real) || one.real.as_deref() == Some(real)))
            }),
        }
    };
    let arguments = command.shell
        || match &what.arguments {
            None => command.arguments.is_empty(),
            Some(Named::Any) => true,
            Some(Named::These(all)) => fit(all, &command.arguments),
        };
    let directory = match &command.directory {
        Directory::Unset => true,
        Directory::Named(path) | Directory::Real(path) => {
            forces
                .working_directory
                .as_ref()
                .is_some_and(|one| one.as_os_str().as_encoded_bytes() == path)
                || any_of(what.working_directories.as_ref(), path)
        }
    };
    let mut environment = true;
    for (name, value) in &command.environment {
        environment &=
            super::question::is_harmless(name, value) || any_of(what.environment.as_ref(), name);
    }
    let user = match (&command.user, &what.run_as, &forces.user) {
        (RunAs::Unset, _, _) => true,
        (RunAs::Own { .. }, _, forced) => forced.is_none(),
        (RunAs::Named(text), listed, forced) => {
            listed.is_some() || forced.as_ref().is_some_and(|user| user.text == *text)
        }
        (RunAs::Known { uid, gid, .. }, listed, forced) => {
            let is = |user: &NamedUser| user.uid == *uid && user.gid == *gid;
            let is_listed = match listed {
                None => false,
                Some(Named::Any) => true,
                Some(Named::These(all)) => all.iter().any(is),
            };
            is_listed || forced.as_ref().is_some_and(is)
        }
    };
    let limits = command
        .limits
        .open_files
        .is_none_or(|asked| what.at_most.open_files.is_none_or(|most| asked <= most))
        && command
            .limits
            .niceness
            .is_none_or(|asked| asked >= what.at_most.niceness.unwrap_or(0));
    program && arguments && directory && environment && user && limits
}

fn denies(what: &What, command: &AskedCommand) -> bool {
    if what.shell.is_some_and(|shell| shell != command.shell) {
        return false;
    }
    if let Some(Named::These(all)) = &what.programs {
        let is_one = all.iter().any(|one| match &command.program {
            Program::Unknown => false,
            Program::Absent(name) => one.path.matches(name),
            Program::File { named, real } => {
                one.path.matches(named) || one.path.matches(real) || one.real.as_ref() == Some(real)
            }
        });
        if !is_one {
            return false;
        }
    }
    if let Some(Named::These(all)) = &what.arguments
        && !fit(all, &command.arguments)
    {
        return false;
    }
    if let Some(Named::These(_)) = &what.working_directories {
        match &command.directory {
            Directory::Unset => return false,
            Directory::Named(path) | Directory::Real(path) => {
                if !any_of(what.working_directories.as_ref(), path) {
                    return false;
                }
            }
        }
    }
    if what.environment.is_some()
        && !command
            .environment
            .iter()
            .any(|(name, _)| any_of(what.environment.as_ref(), name))
    {
        return false;
    }
    match (&what.run_as, &command.user) {
        (None | Some(Named::Any), _) => true,
        (Some(_), RunAs::Unset | RunAs::Named(_)) => false,
        (Some(Named::These(all)), RunAs::Own { uid } | RunAs::Known { uid, .. }) => {
            all.iter().any(|user| user.uid == *uid)
        }
    }
}

fn fit(patterns: &[Pattern], arguments: &[Vec<u8>]) -> bool {
    if patterns.len() != arguments.len() {
        return false;
    }
    (0..patterns.len()).all(|index| patterns[index].matches(&arguments[index]))
}

fn any_of(named: Option<&Named<Vec<Pattern>>>, text: &[u8]) -> bool {
    match named {
        None => false,
        Some(Named::Any) => true,
        Some(Named::These(all)) => all.iter().any(|pattern| pattern.matches(text)),
    }
}

fn verdict(policy: &AccessPolicy, question: &Question) -> Result<String, Option<String>> {
    match judge(policy, question) {
        Decision::Allowed(grant) => Ok(grant.rule.name.clone()),
        Decision::Denied(super::Denial::ByRule(name)) => Err(Some(name)),
        Decision::Denied(super::Denial::ByDefault(_)) => Err(None),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn a_naive_model_decides_the_same(policy in policies(), question in questions()) {
        prop_assert_eq!(verdict(&policy, &question), decides(&policy, &question));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases() / 5))]

    #[test]
    fn a_deny_that_matches_wins_whatever_the_order(
        policy in policies(),
        deny in rules(),
        at in any::<prop::sample::Index>(),
        question in questions(),
    ) {
        let deny = Rule { effect: Effect::Deny, name: "deny".into(), ..deny };
        let mut with = policy.clone();
        with.rules.insert(at.index(policy.rules.len() + 1), deny.clone());
        let decided = verdict(&with, &question);
        if deny.fits(&question) {
            prop_assert!(matches!(decided, Err(Some(_))), "{:?}", decided);
        }
        // Whatever it matches, it opens nothing.
        if verdict(&policy, &question).is_err() {
            prop_assert!(decided.is_err());
        }
        let mut backwards = with.clone();
        backwards.rules.reverse();
        prop_assert_eq!(verdict(&backwards, &question).is_ok(), decided.is_ok());
    }

    #[test]
    fn explain_and_enforce_never_disagree(policy in policies(), question in questions()) {
        let explained = explain::decision(&policy, &question);
        prop_assert_eq!(explained.starts_with("allowed"), verdict(&policy, &question).is_ok(), "{}", explained);
    }

    #[test]
    fn what_no_rule_is_about_is_denied(question in questions()) {
        let none = AccessPolicy::default();
        prop_assert_eq!(verdict(&none, &question), Err(None));
    }
}
