//! What of a request has to be the same for its request id to stand for the same execution, in a form that stays the same from
//! version to version: it is compared with what an earlier one has written down.

use std::time::Duration;

use remex_supervisor::{
    journal::{OnFull, RequestDigest},
    lifecycle::presence::OnDisconnect,
    process::{
        CommandSpec, IsolationOrigin, IsolationSpec, NetworkSpec, ResourceLimits, TreeLimits,
    },
};

use crate::execution::{Durability, NewExecution};

/// The compared fields, by their numbers in StartRequest, with their names.
const FIELDS: [(u8, &str); 7] = [
    (1, "command"),
    (2, "stdin_data"),
    (5, "labels"),
    (6, "on_disconnect"),
    (7, "disconnect_grace"),
    (8, "keep"),
    (11, "stdin_open"),
];

/// The name of the field with this number.
pub(super) fn field_name(number: u8) -> &'static str {
    let field = FIELDS.iter().find(|&&(other, _)| other == number);
    field.map_or("command", |&(_, name)| name)
}

/// The compared fields of a request.
#[derive(Debug)]
pub(super) struct Compared([Vec<u8>; FIELDS.len()]);

impl Compared {
    /// Of `new`, that is to be kept as `durability` says.
    pub(super) fn of(new: &NewExecution, durability: &Durability) -> Self {
        let mut command = Canonical::default();
        command.command(&new.spec, new.until_end);
        let mut labels = Canonical::default();
        for (key, value) in &new.labels {
            labels.bytes(key.as_bytes());
            labels.bytes(value.as_bytes());
        }
        let (policy, grace) = match durability.on_disconnect {
            OnDisconnect::Kill => (1, Duration::ZERO),
            OnDisconnect::Grace(grace) => (2, grace),
            OnDisconnect::Detach => (3, Duration::ZERO),
        };
        let mut on_grace = Canonical::default();
        on_grace.duration(Some(grace));
        let mut keep = Canonical::default();
        keep.number(durability.keep.max_bytes);
        keep.flag(durability.keep.on_full == OnFull::DropOldest);
        keep.flag(durability.keep.no_output);
        Self([
            command.0,
            new.stdin.to_vec(),
            labels.0,
            vec![policy],
            on_grace.0,
            keep.0,
            vec![u8::from(new.stdin_open)],
        ])
    }

    fn fields(&self) -> Vec<(u8, &[u8])> {
        let fields = FIELDS.iter().zip(&self.0);
        fields
            .map(|(&(number, _), value)| (number, &value[..]))
            .collect()
    }

    /// Their digest.
    pub(super) fn digest(&self, salt: [u8; 16]) -> RequestDigest {
        RequestDigest::new(salt, &self.fields())
    }

    /// The first field in which the request of `digest` was another.
    pub(super) fn first_difference(&self, digest: &RequestDigest) -> Option<&'static str> {
        digest.first_difference(&self.fields()).map(field_name)
    }
}

/// Parts one behind the other, each with its length or its presence, so that no two requests are the same bytes.
#[derive(Debug, Default)]
struct Canonical(Vec<u8>);

impl Canonical {
    fn bytes(&mut self, bytes: &[u8]) {
        self.number(bytes.len() as u64);
        self.0.extend_from_slice(bytes);
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn flag(&mut self, flag: bool) {
        self.0.push(u8::from(flag));
    }

    fn optional(&mut self, number: Option<u64>) {
        self.flag(number.is_some());
        self.number(number.unwrap_or_default());
    }

    fn duration(&mut self, duration: Option<Duration>) {
        self.optional(duration.map(|duration| duration.as_secs()));
        self.number(duration.map_or(0, |duration| duration.subsec_nanos().into()));
    }

    fn command(&mut self, spec: &CommandSpec, until_end: bool) {
        self.flag(spec.shell);
        for strings in [&spec.argv, &spec.environment] {
            self.number(strings.len() as u64);
            for string in strings {
                self.bytes(string.as_bytes());
            }
        }
        let directory = spec.working_directory.as_deref();
        self.bytes(directory.map_or(&[], |path| path.as_os_str().as_encoded_bytes()));
        self.flag(spec.clear_environment);
        self.bytes(spec.user.as_deref().unwrap_or_default().as_bytes());
        self.duration(spec.timeout);
        self.duration(Some(spec.kill_after));
        self.flag(spec.terminal.is_some());
        if let Some(terminal) = &spec.terminal {
            self.number(terminal.size.rows.into());
            self.number(terminal.size.columns.into());
            self.bytes(terminal.term.as_bytes());
        }
        self.limits(spec.limits);
        self.flag(until_end);
        // Without one, what an earlier version has made of the request stays.
        if let Some(isolation) = &spec.isolation {
            self.isolation(isolation);
        }
    }

    fn isolation(&mut self, isolation: &IsolationSpec) {
        let IsolationSpec {
            read_paths,
            write_paths,
            execute_paths,
            network,
            best_effort,
            origin,
        } = isolation;
        for paths in [read_paths, write_paths, execute_paths] {
            self.number(paths.len() as u64);
            for path in paths {
                self.bytes(path.as_os_str().as_encoded_bytes());
            }
        }
        let (kind, connect, bind): (_, &[u16], &[u16]) = match network {
            NetworkSpec::Any => (0, &[], &[]),
            NetworkSpec::None => (1, &[], &[]),
            NetworkSpec::Ports { connect, bind } => (2, connect, bind),
        };
        self.number(kind);
        for ports in [connect, bind] {
            self.number(ports.len() as u64);
            for &port in ports {
                self.number(port.into());
            }
        }
        self.flag(*best_effort);
        self.flag(*origin == IsolationOrigin::Default);
    }

    fn limits(&mut self, limits: ResourceLimits) {
        let ResourceLimits {
            cpu_seconds,
            address_space_bytes,
            open_files,
            file_size_bytes,
            core_bytes,
            user_processes,
            niceness,
            tree:
                TreeLimits {
                    memory_bytes,
                    processes,
                },
        } = limits;
        for limit in [
            cpu_seconds,
            address_space_bytes,
            open_files,
            file_size_bytes,
            core_bytes,
            user_processes,
            niceness.map(|niceness| u64::from(niceness.cast_unsigned())),
            memory_bytes,
            processes,
        ] {
            self.optional(limit);
        }
    }
}
