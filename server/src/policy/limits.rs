//! Limits under rules: what may be asked for, and what is forced. Pure.

use remex_supervisor::process::ResourceLimits;

use super::rule::Rule;

/// Whether `asked` is nowhere above `most`. A priority that nobody has named is not above the usual one.
pub(super) fn is_within(asked: &ResourceLimits, most: &ResourceLimits) -> bool {
    let within = |asked: Option<u64>, most: Option<u64>| match (asked, most) {
        (Some(asked), Some(most)) => asked <= most,
        _ => true,
    };
    within(asked.cpu_seconds, most.cpu_seconds)
        && within(asked.address_space_bytes, most.address_space_bytes)
        && within(asked.open_files, most.open_files)
        && within(asked.file_size_bytes, most.file_size_bytes)
        && within(asked.core_bytes, most.core_bytes)
        && within(asked.user_processes, most.user_processes)
        && within(asked.tree.memory_bytes, most.tree.memory_bytes)
        && within(asked.tree.processes, most.tree.processes)
        && asked
            .niceness
            .is_none_or(|asked| asked >= most.niceness.unwrap_or(0))
}

impl Rule {
    /// The limits of a command that asks for `asked`: what is forced, else what it asks for, else the most that it may.
    pub fn limits(&self, asked: &ResourceLimits) -> ResourceLimits {
        let (forced, most) = (&self.forces.limits, &self.what.at_most);
        let mut limits = *asked;
        limits.cpu_seconds = forced
            .cpu_seconds
            .or(asked.cpu_seconds)
            .or(most.cpu_seconds);
        limits.address_space_bytes = forced
            .address_space_bytes
            .or(asked.address_space_bytes)
            .or(most.address_space_bytes);
        limits.open_files = forced.open_files.or(asked.open_files).or(most.open_files);
        limits.file_size_bytes = forced
            .file_size_bytes
            .or(asked.file_size_bytes)
            .or(most.file_size_bytes);
        limits.core_bytes = forced.core_bytes.or(asked.core_bytes).or(most.core_bytes);
        limits.user_processes = forced
            .user_processes
            .or(asked.user_processes)
            .or(most.user_processes);
        limits.niceness = forced.niceness.or(asked.niceness).or(most.niceness);
        let (forced, asked, most) = (&forced.tree, &asked.tree, &most.tree);
        limits.tree.memory_bytes = forced
            .memory_bytes
            .or(asked.memory_bytes)
            .or(most.memory_bytes);
        limits.tree.processes = forced.processes.or(asked.processes).or(most.processes);
        limits
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::parse, *};

    /// One of those that count upwards.
    type Field = fn(&mut ResourceLimits) -> &mut Option<u64>;

    const FIELDS: [(&str, Field); 8] = [
        ("cpu_seconds", |limits| &mut limits.cpu_seconds),
        ("address_space_bytes", |limits| {
            &mut limits.address_space_bytes
        }),
        ("open_files", |limits| &mut limits.open_files),
        ("file_size_bytes", |limits| &mut limits.file_size_bytes),
        ("core_bytes", |limits| &mut limits.core_bytes),
        ("user_processes", |limits| &mut limits.user_processes),
        ("tree.memory_bytes", |limits| &mut limits.tree.memory_bytes),
        ("tree.processes", |limits| &mut limits.tree.processes),
    ];

    fn one(field: Field, value: Option<u64>) -> ResourceLimits {
        let mut limits = ResourceLimits::default();
        *field(&mut limits) = value;
        limits
    }

    fn nice(niceness: Option<i32>) -> ResourceLimits {
        ResourceLimits {
            niceness,
            ..ResourceLimits::default()
        }
    }

    #[test]
    fn each_limit_is_held_against_the_most_by_itself() {
        for (name, field) in FIELDS {
            for (asked, most, within) in [
                (None, None, true),
                (Some(5), None, true),
                (None, Some(5), true),
                (Some(4), Some(5), true),
                (Some(5), Some(5), true),
                (Some(6), Some(5), false),
            ] {
                let (asked, most) = (one(field, asked), one(field, most));
                assert_eq!(is_within(&asked, &most), within, "{name} {asked:?}");
            }
        }
        for (asked, most, within) in [
            (None, None, true),
            (None, Some(-5), true),
            (Some(0), None, true),
            (Some(-1), None, false),
            (Some(4), Some(5), false),
            (Some(5), Some(5), true),
            (Some(6), Some(5), true),
        ] {
            assert_eq!(is_within(&nice(asked), &nice(most)), within, "{asked:?}");
        }
    }

    #[test]
    fn what_is_forced_comes_before_what_is_asked_for_and_that_before_the_most() {
        let rule = "[[rule]]\nname = 'r'\ndecision = 'allow'\nanyone = true\n";
        let rule = parse(rule).unwrap().rules.remove(0);
        let of = |forced: ResourceLimits, asked: ResourceLimits, most: ResourceLimits| {
            let mut rule = rule.clone();
            rule.forces.limits = forced;
            rule.what.at_most = most;
            rule.limits(&asked)
        };
        for (forced, asked, most, expected) in [
            (Some(1), Some(2), Some(3), Some(1)),
            (None, Some(2), Some(3), Some(2)),
            (None, None, Some(3), Some(3)),
            (None, None, None, None),
        ] {
            for (name, field) in FIELDS {
                let found = of(one(field, forced), one(field, asked), one(field, most));
                assert_eq!(found, one(field, expected), "{name}");
            }
            let nice = |value: Option<u64>| nice(value.map(|value| i32::try_from(value).unwrap()));
            assert_eq!(of(nice(forced), nice(asked), nice(most)), nice(expected));
        }
    }
}
