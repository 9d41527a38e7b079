//! Policies and questions out of few words, so that they often meet.

use proptest::{prelude::*, sample::select};
use remex_supervisor::process::ResourceLimits;

use crate::policy::{
    pattern::Pattern,
    question::{Act, AskedCommand, Asker, Directory, OnOthers, Program, Question, Rpc, RunAs},
    rule::{AccessPolicy, Effect, Forces, Named, NamedUser, ProgramPattern, Rule, What, Who},
};

fn list<T: Clone + std::fmt::Debug + 'static>(from: Vec<T>) -> BoxedStrategy<Named<Vec<T>>> {
    prop_oneof![
        1 => Just(Named::Any),
        4 => prop::collection::vec(select(from), 0..3).prop_map(Named::These),
    ]
    .boxed()
}

fn maybe<T: Clone + std::fmt::Debug + 'static>(
    from: impl Strategy<Value = T> + 'static,
) -> BoxedStrategy<Option<T>> {
    prop::option::weighted(0.6, from).boxed()
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts
        .iter()
        .map(|text| Pattern::parse(text).unwrap())
        .collect()
}

fn user(uid: u32) -> NamedUser {
    NamedUser {
        text: uid.to_string(),
        uid,
        gid: uid,
    }
}

pub(super) fn rules() -> impl Strategy<Value = Rule> {
    let who = (
        prop::collection::vec(select(patterns(&["token:ci", "token:*", "jwt:x"])), 0..3),
        prop::collection::btree_set(0_u32..3, 0..2),
        prop::collection::btree_set(0_u32..3, 0..2),
        prop::collection::vec(select(vec!["10.0.0.0/8", "127.0.0.1"]), 0..2),
        prop::collection::vec(select(vec!["tcp-exec", "udp-exec"]), 0..2),
        any::<bool>(),
    )
        .prop_map(
            |(identities, users, groups, networks, listeners, from_executions)| Who {
                identities,
                users,
                groups,
                networks: networks
                    .into_iter()
                    .map(|text| text.parse().unwrap())
                    .collect(),
                listeners,
                from_executions,
            },
        );
    let program = |path: &str, real: &str| ProgramPattern {
        path: Pattern::parse(path).unwrap(),
        real: Some(real.as_bytes().to_vec()),
    };
    let programs = vec![
        program("/bin/ls", "/bin/busybox"),
        program("/bin/sh", "/bin/dash"),
        program("/bin/busybox", "/bin/busybox"),
        program("/opt/*", "/opt/*"),
    ];
    let what = (
        maybe(list(programs)),
        maybe(list(patterns(&["a", "*", "-x", "/srv/*"]))),
        maybe(any::<bool>()),
        maybe(list(patterns(&["/srv/*", "/tmp"]))),
        maybe(list(patterns(&["A", "APP_*"]))),
        maybe(list(vec![user(0), user(1)])),
        maybe(0_u64..3),
        maybe(-1_i32..2),
    )
        .prop_map(
            |(programs, arguments, shell, folders, environment, run_as, files, niceness)| What {
                programs,
                arguments,
                shell,
                working_directories: folders,
                environment,
                run_as,
                at_most: ResourceLimits {
                    open_files: files,
                    niceness,
                    ..ResourceLimits::default()
                },
            },
        );
    let others = vec![
        OnOthers::See,
        OnOthers::Attach,
        OnOthers::Signal,
        OnOthers::Delete,
    ];
    (
        select(vec![Effect::Allow, Effect::Allow, Effect::Deny]),
        who,
        prop::collection::vec(select(Rpc::ALL.to_vec()), 0..3),
        what,
        prop::collection::vec(select(others), 0..2),
        maybe(select(vec![user(1), user(2)])),
        maybe(Just("/srv/forced".into())),
    )
        .prop_map(
            |(effect, who, rpcs, what, others, user, working_directory)| Rule {
                name: String::new(),
                line: 0,
                effect,
                who,
                rpcs,
                what,
                others,
                forces: Forces {
                    user,
                    working_directory,
                    ..Forces::default()
                },
            },
        )
}

pub(super) fn policies() -> impl Strategy<Value = AccessPolicy> {
    prop::collection::vec(rules(), 0..6).prop_map(|mut rules| {
        for (index, rule) in rules.iter_mut().enumerate() {
            rule.name = index.to_string();
        }
        AccessPolicy {
            rules,
            names_groups: true,
        }
    })
}

fn askers() -> impl Strategy<Value = Asker> {
    (
        maybe(select(vec!["token:ci", "token:x", "jwt:x", "dns:x"])),
        maybe(0_u32..4),
        prop::collection::vec(0_u32..4, 0..2),
        maybe(select(vec!["10.1.2.3:5", "127.0.0.1:5", "[::1]:5"])),
        maybe(select(vec!["tcp-exec", "unix-exec"])),
        prop::bool::weighted(0.2),
    )
        .prop_map(
            |(identity, uid, groups, address, listener, is_inside)| Asker {
                identity: identity.map(|text| text.parse().unwrap()),
                uid,
                groups,
                address: address.map(|text| text.parse().unwrap()),
                listener,
                is_inside,
            },
        )
}

fn commands() -> impl Strategy<Value = AskedCommand> {
    let bytes =
        |texts: &[&str]| -> Vec<Vec<u8>> { texts.iter().map(|text| (*text).into()).collect() };
    let paths = bytes(&[
        "/bin/ls",
        "/bin/sh",
        "/tmp/sh",
        "/bin/busybox",
        "/opt/x",
        "/opt/../bin/sh",
        "/bin/dash",
    ]);
    let program = prop_oneof![
        1 => Just(Program::Unknown),
        1 => select(bytes(&["ls", "sh", "/bin/ls", "/opt/x"])).prop_map(Program::Absent),
        6 => (select(paths.clone()), select(paths)).prop_map(|(named, real)| Program::File { named, real }),
    ];
    let folders = bytes(&["/srv/a", "/srv/a/b", "/tmp", "/srv/forced", "/srv/.."]);
    let directory = prop_oneof![
        2 => Just(Directory::Unset),
        1 => select(folders.clone()).prop_map(Directory::Named),
        1 => select(folders).prop_map(Directory::Real),
    ];
    let variables = bytes(&["A", "APP_X", "LANG", "LD_PRELOAD"]);
    let values = bytes(&["x", "/x", ""]);
    let users = prop_oneof![
        3 => Just(RunAs::Unset),
        1 => (0_u32..3).prop_map(|uid| RunAs::Own { uid }),
        1 => select(vec!["0", "1", "x"]).prop_map(|text| RunAs::Named(text.into())),
        2 => (0_u32..3, 0_u32..3).prop_map(|(uid, gid)| RunAs::Known { text: uid.to_string(), uid, gid }),
    ];
    (
        prop::bool::weighted(0.2),
        program,
        prop::collection::vec(select(bytes(&["a", "b", "-x", "/srv/a", "/srv/.."])), 0..3),
        directory,
        prop::collection::vec((select(variables), select(values)), 0..2),
        users,
        maybe(0_u64..4),
        maybe(-2_i32..3),
    )
        .prop_map(
            |(shell, program, arguments, directory, environment, user, files, niceness)| {
                AskedCommand {
                    shell,
                    program,
                    arguments,
                    directory,
                    environment,
                    user,
                    limits: ResourceLimits {
                        open_files: files,
                        niceness,
                        ..ResourceLimits::default()
                    },
                }
            },
        )
}

pub(super) fn questions() -> impl Strategy<Value = Question> {
    let others = vec![
        OnOthers::See,
        OnOthers::Attach,
        OnOthers::Signal,
        OnOthers::Delete,
    ];
    let act = prop_oneof![
        1 => select(Rpc::ALL.to_vec()).prop_map(Act::Call),
        1 => select(others).prop_map(Act::Others),
        6 => (select(vec![Rpc::Run, Rpc::Start]), commands()).prop_map(|(rpc, command)| Act::Command(rpc, Box::new(command))),
    ];
    (askers(), act).prop_map(|(asker, act)| Question { asker, act })
}
