//! What it costs to judge a command by 1,000 rules, of which the last one allows it.

use std::{hint::black_box, path::Path, time::Instant};

use remex_daemon::File;
use remex_server::policy::{
    AccessPolicy, Act, Decision, Question, Rpc,
    examples::asker,
    judge,
    machine::ThisMachine,
    question::{AskedCommand, Directory, Program, RunAs},
};
use remex_supervisor::process::ResourceLimits;

const RULES: usize = 1000;
const ROUNDS: u32 = 10_000;

/// One rule for each of so many callers, or all of them for one.
fn policy(caller: impl Fn(usize) -> usize) -> AccessPolicy {
    let rule = |index: usize| {
        format!(
            "[[rule]]\nname = 'r{index}'\ndecision = 'allow'\nidentities = ['token:t{}']\nprograms = ['/bin/p{index}']\n\
             arguments = ['restart', 'app-*']\n",
            caller(index)
        )
    };
    let text: String = (0..RULES).map(rule).collect();
    let file = File::new(Path::new("policy.toml"), text);
    AccessPolicy::parse(&file, &ThisMachine).expect("a policy")
}

/// Prints it.
pub(crate) fn measure() {
    let last = RULES - 1;
    let path = format!("/bin/p{last}").into_bytes();
    for (what, policy) in [
        ("a caller each", policy(|index| index)),
        ("one caller", policy(|_| last)),
    ] {
        let question = Question {
            asker: asker(&format!("token:t{last}"), &ThisMachine).expect("a caller"),
            act: Act::Command(
                Rpc::Run,
                Box::new(AskedCommand {
                    shell: false,
                    program: Program::File {
                        named: path.clone(),
                        real: path.clone(),
                    },
                    arguments: vec![b"restart".to_vec(), b"app-1".to_vec()],
                    directory: Directory::Unset,
                    environment: Vec::new(),
                    user: RunAs::Unset,
                    limits: ResourceLimits::default(),
                }),
            ),
        };
        let begun = Instant::now();
        for _ in 0..ROUNDS {
            let decision = judge(black_box(&policy), black_box(&question));
            assert!(matches!(decision, Decision::Allowed(_)));
        }
        let each = begun.elapsed() / ROUNDS;
        println!("judged by {RULES} rules, {what}: {each:.1?} (goal 100 us)");
    }
}
