//! What is applied of an isolation, or why it cannot be. Pure.

use std::io;

use super::{
    super::error::{StartError, words},
    confine::Confinement,
    landlock::{self, BIND_TCP, CONNECT_TCP, FILES_ABI, Handled, PORTS_ABI},
    sockets::{self, Sockets},
    spec::{IsolationSpec, NetworkSpec},
    support::Support,
};

/// What holds of an isolation.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AppliedParts {
    /// The version of Landlock that applies it; 0: it needs none.
    pub landlock_abi: u32,
    /// The fields of `remex.v1.Isolation` that could not be applied.
    pub not_applied: Vec<String>,
}

/// What is to be done for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Decision {
    pub(in super::super) confinement: Confinement,
    /// The ruleset, if there is to be one.
    pub(in super::super) handled: Option<Handled>,
    pub(in super::super) applied: AppliedParts,
}

impl Decision {
    /// Whether files are reached by grants alone.
    pub(super) fn handles_files(&self) -> bool {
        self.handled.is_some_and(|handled| handled.files != 0)
    }

    /// Whether ports are.
    pub(super) fn handles_ports(&self) -> bool {
        self.handled.is_some_and(|handled| handled.ports != 0)
    }
}

/// What comes of `spec` on a machine that can do `support`. What cannot be applied is an error, or, with `best_effort`, among
/// [`AppliedParts::not_applied`].
pub(in super::super) fn decide(
    spec: &IsolationSpec,
    support: &Support,
) -> Result<Decision, StartError> {
    let abi = support.landlock.unwrap_or(0);
    let mut missing = Missing::default();
    let mut handled = Handled::default();
    if spec.limits_files() {
        handled.files = if abi > 0 { landlock::files_of(abi) } else { 0 };
        let lists = [
            ("read_paths", &spec.read_paths),
            ("write_paths", &spec.write_paths),
            ("execute_paths", &spec.execute_paths),
        ];
        for (field, list) in lists {
            let is_missing = match abi {
                0 => !list.is_empty(),
                // It denies all but truncation, whatever is listed.
                abi => abi < FILES_ABI && field == "write_paths",
            };
            if is_missing {
                missing.add(field, landlock_lacks(support, FILES_ABI));
            }
        }
    }
    let sockets = match &spec.network {
        NetworkSpec::Any => None,
        NetworkSpec::None => Some(Sockets::OfNamespace),
        NetworkSpec::Ports { bind, .. } => Some(Sockets::Tcp {
            listens: !bind.is_empty(),
        }),
    };
    if sockets.is_some() {
        if abi >= PORTS_ABI {
            handled.ports = BIND_TCP | CONNECT_TCP;
        } else if matches!(spec.network, NetworkSpec::Ports { .. }) {
            missing.add("network", landlock_lacks(support, PORTS_ABI));
        }
    }
    let own_network = spec.network == NetworkSpec::None;
    if let (true, Err(errno)) = (own_network, support.namespace) {
        let why = format!(
            "remexd cannot make a network namespace: {} (it takes root, or CAP_SYS_ADMIN)",
            said(errno)
        );
        missing.add("network", why);
    }
    let mut filter = Vec::new();
    if let Some(sockets) = sockets {
        match (support.filter, sockets::program(sockets)) {
            (Ok(()), Some(program)) => filter = program,
            (Err(errno), _) => {
                let why = format!("seccomp filters cannot be set here: {}", said(errno));
                missing.add("network", why);
            }
            (Ok(()), None) => missing.add("network", "there is no filter for this machine".into()),
        }
    }
    handled.scope = landlock::scope_of(abi);
    let handled = (handled != Handled::default()).then_some(handled);
    let not_applied = missing.end(spec.best_effort)?;
    Ok(Decision {
        confinement: Confinement {
            has_ruleset: handled.is_some(),
            own_network: own_network && support.namespace.is_ok(),
            filter,
        },
        applied: AppliedParts {
            landlock_abi: handled.map_or(0, |_| abi),
            not_applied,
        },
        handled,
    })
}

/// What cannot be applied, and why.
#[derive(Default)]
struct Missing(Vec<(&'static str, String)>);

impl Missing {
    fn add(&mut self, field: &'static str, why: String) {
        if self.0.iter().all(|(other, _)| *other != field) {
            self.0.push((field, why));
        }
    }

    fn end(self, is_allowed: bool) -> Result<Vec<String>, StartError> {
        if let (Some((field, why)), false) = (self.0.first(), is_allowed) {
            return Err(StartError::IsolationUnavailable {
                field,
                why: format!("{why}; with best_effort it would run without"),
            });
        }
        let fields = self.0.into_iter().map(|(field, _)| field.to_owned());
        Ok(fields.collect())
    }
}

fn landlock_lacks(support: &Support, needed: u32) -> String {
    match support.landlock {
        Ok(abi) => format!("the kernel's Landlock has version {abi}, and this needs {needed}"),
        Err(libc::ENOSYS | libc::EOPNOTSUPP) => {
            "the kernel has no Landlock, or it is turned off".into()
        }
        Err(errno) => format!("Landlock cannot be used here: {}", said(errno)),
    }
}

fn said(errno: i32) -> String {
    words(&io::Error::from_raw_os_error(errno))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: Support = Support {
        landlock: Ok(7),
        namespace: Ok(()),
        filter: Ok(()),
    };

    fn files() -> IsolationSpec {
        IsolationSpec {
            read_paths: vec!["/etc".into()],
            ..IsolationSpec::default()
        }
    }

    fn network(network: NetworkSpec) -> IsolationSpec {
        IsolationSpec {
            network,
            ..IsolationSpec::default()
        }
    }

    fn ports(bind: &[u16]) -> IsolationSpec {
        network(NetworkSpec::Ports {
            connect: vec![1],
            bind: bind.to_vec(),
        })
    }

    #[test]
    fn each_part_is_applied_if_it_is_asked_for() {
        let nothing = decide(&IsolationSpec::default(), &ALL).unwrap();
        assert!(!nothing.handles_files() && !nothing.handles_ports());
        assert!(!nothing.confinement.own_network && nothing.confinement.filter.is_empty());
        let files = decide(&files(), &ALL).unwrap();
        assert!(files.handles_files() && !files.handles_ports());
        assert!(files.confinement.has_ruleset && files.confinement.filter.is_empty());
        assert_eq!(files.applied.landlock_abi, 7);
        let none = decide(&network(NetworkSpec::None), &ALL).unwrap();
        assert!(none.confinement.own_network && !none.confinement.filter.is_empty());
        assert!(none.handles_ports() && !none.handles_files());
        let ports = decide(&ports(&[]), &ALL).unwrap();
        assert!(!ports.confinement.own_network && ports.handles_ports());
        assert_ne!(ports.confinement.filter, none.confinement.filter);
    }

    /// The field that is refused, and all that are not applied with best effort.
    fn lacking(spec: &IsolationSpec, support: &Support) -> (String, Vec<String>) {
        let refused = match decide(spec, support).unwrap_err() {
            StartError::IsolationUnavailable { field, .. } => field.to_owned(),
            other => panic!("{other}"),
        };
        let spec = IsolationSpec {
            best_effort: true,
            ..spec.clone()
        };
        let decision = decide(&spec, support).unwrap();
        (refused, decision.applied.not_applied)
    }

    #[test]
    fn promise_6_what_cannot_be_applied_is_refused_or_named() {
        let landlock = |landlock| Support { landlock, ..ALL };
        let expect = |field: &str, fields: &[&str]| {
            let fields = fields.iter().map(ToString::to_string);
            (field.to_owned(), fields.collect::<Vec<_>>())
        };
        let without = landlock(Err(libc::ENOSYS));
        let read = expect("read_paths", &["read_paths"]);
        assert_eq!(lacking(&files(), &without), read);
        let write = expect("write_paths", &["write_paths"]);
        assert_eq!(lacking(&files(), &landlock(Ok(FILES_ABI - 1))), write);
        assert!(decide(&files(), &landlock(Ok(FILES_ABI))).is_ok());
        let network_alone = expect("network", &["network"]);
        assert_eq!(
            lacking(&ports(&[2]), &landlock(Ok(PORTS_ABI - 1))),
            network_alone
        );
        assert!(decide(&ports(&[2]), &landlock(Ok(PORTS_ABI))).is_ok());
        let none = network(NetworkSpec::None);
        // A namespace does not need Landlock.
        assert!(decide(&none, &without).is_ok());
        for support in [
            Support {
                namespace: Err(libc::EPERM),
                ..ALL
            },
            Support {
                filter: Err(libc::EPERM),
                ..ALL
            },
        ] {
            assert_eq!(lacking(&none, &support), network_alone);
        }
        let support = Support {
            filter: Err(libc::EPERM),
            ..ALL
        };
        assert_eq!(lacking(&ports(&[]), &support), network_alone);
        // What is not asked for is not missed.
        let nothing = Support {
            landlock: Err(libc::ENOSYS),
            namespace: Err(libc::EPERM),
            filter: Err(libc::EPERM),
        };
        let decision = decide(&IsolationSpec::default(), &nothing).unwrap();
        assert_eq!(decision.applied, AppliedParts::default());
        assert!(!decision.confinement.has_ruleset);
    }
}
