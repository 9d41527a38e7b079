//! What a policy says, in sentences and for JSON. It decides nothing: [`judge`](super::judge()) does.

use std::{borrow::Cow, fmt::Write as _, path::Path};

use serde::Serialize;

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

/// The same as [`decision`], as JSON has it.
#[derive(Debug, Serialize)]
pub struct ExplainedDecision<'a> {
    allowed: bool,
    /// The rule that says so, if one does.
    rule: Option<Cow<'a, str>>,
    line: Option<usize>,
    /// What is denied, or why all is allowed.
    why: Option<String>,
    /// What the rule forces.
    user: Option<&'a str>,
    working_directory: Option<Cow<'a, str>>,
}

impl<'a> ExplainedDecision<'a> {
    /// The answer of `policy` to `question`.
    pub fn of(policy: &'a AccessPolicy, question: &Question) -> Self {
        match judge(policy, question) {
            Decision::Allowed(grant) => {
                let (rule, forces) = (grant.rule, grant.rule.forces());
                let folder = forces.working_directory.as_deref();
                Self {
                    allowed: true,
                    rule: Some(rule.name.as_str().into()),
                    line: Some(rule.line),
                    why: breadth(rule),
                    user: forces.user.as_ref().map(|user| user.text.as_str()),
                    working_directory: folder.map(Path::to_string_lossy),
                }
            }
            Decision::Denied(denial) => {
                let named = match &denial {
                    Denial::ByRule(_) => Some(denial.rule().to_owned()),
                    Denial::ByDefault(_) => None,
                };
                let rules = policy.rules.iter();
                let rule = named.as_ref().and_then(|name| {
                    let mut named = rules.filter(|rule| rule.name == *name);
                    named.next()
                });
                Self {
                    allowed: false,
                    line: rule.map(|rule| rule.line),
                    rule: named.map(Cow::Owned),
                    why: Some(denial.to_string()),
                    user: None,
                    working_directory: None,
                }
            }
        }
    }
}

/// The same as [`summary`], as JSON has it.
#[derive(Debug, Serialize)]
pub struct PolicySummary<'a> {
    rules: usize,
    deny_rules: usize,
    broad_rules: Vec<BroadRule<'a>>,
}

/// A rule that allows everything.
#[derive(Debug, Serialize)]
struct BroadRule<'a> {
    rule: &'a str,
    line: usize,
    why: String,
}

impl<'a> PolicySummary<'a> {
    /// What `policy` is.
    pub fn of(policy: &'a AccessPolicy) -> Self {
        let rules = policy.rules.iter();
        let broad = broad(policy).map(|(rule, why)| BroadRule {
            rule: &rule.name,
            line: rule.line,
            why,
        });
        Self {
            rules: policy.rules.len(),
            deny_rules: rules.filter(|rule| rule.effect == Effect::Deny).count(),
            broad_rules: broad.collect(),
        }
    }
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
