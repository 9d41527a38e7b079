//! An isolation, from its message to what is asked for, checked, and back.

use std::path::{Path, PathBuf};

use remex::{error::Reason, v1};
use remex_supervisor::process::{
    AppliedParts, IsolationOrigin, IsolationSpec, MAX_ISOLATION_ENTRIES, NetworkSpec,
};
use tonic::Status;

type Checked<T> = Result<T, Status>;

fn invalid(field: &str, why: &str) -> Status {
    Reason::InvalidField.field(format!("command.isolation.{field}"), why)
}

/// What is asked for.
pub(super) fn checked(isolation: v1::Isolation) -> Checked<IsolationSpec> {
    let lists = [
        ("read_paths", &isolation.read_paths),
        ("write_paths", &isolation.write_paths),
        ("execute_paths", &isolation.execute_paths),
    ];
    let paths: usize = lists.iter().map(|(_, list)| list.len()).sum();
    let ports = isolation.connect_ports.len() + isolation.bind_ports.len();
    if paths > MAX_ISOLATION_ENTRIES {
        let why = format!(
            "there are {paths} paths in all, and {MAX_ISOLATION_ENTRIES} are taken; name folders"
        );
        return Err(invalid("read_paths", &why));
    }
    if ports > MAX_ISOLATION_ENTRIES {
        let why = format!("there are {ports} ports in all, and {MAX_ISOLATION_ENTRIES} are taken");
        return Err(invalid("connect_ports", &why));
    }
    for (field, list) in lists {
        for (index, path) in list.iter().enumerate() {
            self::path(&format!("{field}[{index}]"), path)?;
        }
    }
    let network = network(&isolation)?;
    let paths = |list: Vec<String>| list.into_iter().map(PathBuf::from).collect();
    Ok(IsolationSpec {
        read_paths: paths(isolation.read_paths),
        write_paths: paths(isolation.write_paths),
        execute_paths: paths(isolation.execute_paths),
        network,
        best_effort: isolation.best_effort,
        origin: IsolationOrigin::Request,
    })
}

fn path(field: &str, text: &str) -> Checked<()> {
    match text {
        "" => Err(invalid(field, "is empty")),
        text if text.contains('\0') => Err(invalid(field, "has a NUL")),
        text if Path::new(text).is_absolute() => Ok(()),
        _ => Err(invalid(field, "is relative; give an absolute path")),
    }
}

fn network(isolation: &v1::Isolation) -> Checked<NetworkSpec> {
    let number = isolation.network;
    let network = v1::isolation::Network::try_from(number)
        .map_err(|_| invalid("network", &format!("{number} is no value of this enum")))?;
    let lists = [
        ("connect_ports", &isolation.connect_ports),
        ("bind_ports", &isolation.bind_ports),
    ];
    let network = match network {
        v1::isolation::Network::Unspecified | v1::isolation::Network::Any => NetworkSpec::Any,
        v1::isolation::Network::None => NetworkSpec::None,
        v1::isolation::Network::Ports => {
            let [connect, bind] = lists;
            return Ok(NetworkSpec::Ports {
                connect: ports(connect, 1)?,
                // The kernel takes 0 for a port of its choice.
                bind: ports(bind, 0)?,
            });
        }
    };
    match lists.into_iter().find(|(_, list)| !list.is_empty()) {
        Some((field, _)) => Err(invalid(field, "is given without NETWORK_PORTS")),
        None => Ok(network),
    }
}

fn ports((field, list): (&str, &Vec<u32>), least: u16) -> Checked<Vec<u16>> {
    let ports = list.iter().enumerate().map(|(index, port)| {
        let port = u16::try_from(*port).ok().filter(|port| *port >= least);
        let why = format!("is no port: {least} to 65,535");
        port.ok_or_else(|| invalid(&format!("{field}[{index}]"), &why))
    });
    ports.collect()
}

/// As it was asked for.
pub(super) fn message(spec: &IsolationSpec) -> v1::Isolation {
    let paths = |list: &[PathBuf]| {
        let texts = list.iter().map(|path| path.to_string_lossy().into_owned());
        texts.collect()
    };
    let numbers = |ports: &[u16]| ports.iter().copied().map(u32::from).collect();
    let (network, connect, bind): (_, &[u16], &[u16]) = match &spec.network {
        NetworkSpec::Any => (v1::isolation::Network::Any, &[], &[]),
        NetworkSpec::None => (v1::isolation::Network::None, &[], &[]),
        NetworkSpec::Ports { connect, bind } => (v1::isolation::Network::Ports, connect, bind),
    };
    v1::Isolation {
        read_paths: paths(&spec.read_paths),
        write_paths: paths(&spec.write_paths),
        execute_paths: paths(&spec.execute_paths),
        network: network.into(),
        connect_ports: numbers(connect),
        bind_ports: numbers(bind),
        best_effort: spec.best_effort,
    }
}

/// What holds of it.
pub(super) fn applied(spec: &IsolationSpec, parts: &AppliedParts) -> v1::AppliedIsolation {
    v1::AppliedIsolation {
        isolation: Some(message(spec)),
        landlock_abi: parts.landlock_abi,
        not_applied: parts.not_applied.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(isolation: v1::Isolation) -> Option<String> {
        let status = checked(isolation).err()?;
        assert_eq!(Reason::of(&status), Some(Reason::InvalidField), "{status}");
        remex::error::violation(&status).map(|(field, _)| field)
    }

    fn ports(network: v1::isolation::Network, connect: &[u32], bind: &[u32]) -> v1::Isolation {
        v1::Isolation {
            network: network.into(),
            connect_ports: connect.to_vec(),
            bind_ports: bind.to_vec(),
            ..v1::Isolation::default()
        }
    }

    #[test]
    fn what_is_asked_for_comes_back_as_it_was() {
        let isolation = v1::Isolation {
            read_paths: vec!["/a".into()],
            write_paths: vec!["/b".into(), "/c".into()],
            execute_paths: vec!["/d".into()],
            best_effort: true,
            ..ports(v1::isolation::Network::Ports, &[1, 65_535], &[0, 80])
        };
        let spec = checked(isolation.clone()).unwrap();
        assert_eq!(message(&spec), isolation);
    }

    #[test]
    fn paths_are_absolute() {
        for bad in ["", "a", "./a", "/a\0b"] {
            let isolation = v1::Isolation {
                write_paths: vec!["/a".into(), bad.into()],
                ..v1::Isolation::default()
            };
            let field = refused(isolation);
            assert_eq!(field.as_deref(), Some("command.isolation.write_paths[1]"));
        }
    }

    #[test]
    fn paths_and_ports_are_256_each() {
        let with = |paths, ports| v1::Isolation {
            read_paths: vec!["/".into(); paths],
            execute_paths: vec!["/".into()],
            ..self::ports(v1::isolation::Network::Ports, &vec![1; ports], &[1])
        };
        assert_eq!(refused(with(255, 255)), None);
        let read = refused(with(256, 255));
        assert_eq!(read.as_deref(), Some("command.isolation.read_paths"));
        let connect = refused(with(255, 256));
        assert_eq!(connect.as_deref(), Some("command.isolation.connect_ports"));
    }

    #[test]
    fn ports_are_those_of_tcp_and_of_network_ports() {
        use v1::isolation::Network;
        for (isolation, field) in [
            (ports(Network::Ports, &[0], &[]), "connect_ports[0]"),
            (ports(Network::Ports, &[1, 65_536], &[]), "connect_ports[1]"),
            (ports(Network::Ports, &[], &[65_536]), "bind_ports[0]"),
            (ports(Network::None, &[1], &[]), "connect_ports"),
            (ports(Network::Any, &[], &[1]), "bind_ports"),
            (ports(Network::Unspecified, &[], &[1]), "bind_ports"),
        ] {
            let field = format!("command.isolation.{field}");
            assert_eq!(refused(isolation), Some(field));
        }
    }
}
