//! What a policy says, in sentences. It decides nothing: [`judge`](super::judge()) does.

use std::fmt::Write as _;

use super::{
    breadth::{breadth, broad},
    judge::{Decision, Denial, judge},
    question::Question,
    rule::{AccessPolicy, Effect, Forces},
};

/// The answer of `policy` to `question`, a sentence a line.
pub fn decision(policy: &AccessPolicy, question: &Question) -> String {
    match judge(policy, question) {
        Decision::Allowed(grant) => {
            let rule = grant.rule;
            let mut text = format!(
                "allowed by the rule {:?} (line {}).\n",
                rule.name, rule.line
            );
            text += &forces(rule.forces());
            if let Some(why) = breadth(rule) {
                let _ = writeln!(text, "This rule allows everything: {why}.");
            }
            text
        }
        Decision::Denied(denial @ Denial::ByRule(_)) => {
            let line = policy
                .rules
                .iter()
                .find(|rule| rule.name == denial.rule())
                .map_or(0, |rule| rule.line);
            format!("denied by the rule {:?} (line {line}).\n", denial.rule())
        }
        Decision::Denied(denial) => format!("denied: {denial}.\n"),
    }
}

fn forces(forces: &Forces) -> String {
    let mut text = String::new();
    if let Some(user) = &forces.user {
        let _ = writeln!(text, "It runs as the user {} ({}).", user.text, user.uid);
    }
    if let Some(folder) = &forces.working_directory {
        let _ = writeln!(text, "It runs in {}.", folder.display());
    }
    text
}

/// What `policy` is, for `--check` and start-up: how many rules, and which of them allow everything.
pub fn summary(policy: &AccessPolicy) -> String {
    let rules = policy.rules.len();
    let denies = policy
        .rules
        .iter()
        .filter(|rule| rule.effect == Effect::Deny);
    let mut text = format!(
        "A policy of {rules} rules, {} of which deny; what none allows is denied.\n",
        denies.count()
    );
    for (rule, why) in broad(policy) {
        let _ = writeln!(
            text,
            "The rule {:?} (line {}) allows everything that the user may do whom its commands run as: {why}.",
            rule.name, rule.line
        );
    }
    text
}
