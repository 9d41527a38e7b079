//! The isolation that a rule forces: `"default"`, `"off"`, or a table with the fields of the API's `Isolation`.

use std::{fmt, path::PathBuf};

use remex_supervisor::process::{
    IsolationOrigin, IsolationSpec, MAX_ISOLATION_ENTRIES, NetworkSpec,
};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor, value::MapAccessDeserializer},
};
use toml::Spanned;

use super::{Read, Reader, plain_path};
use crate::policy::{machine::Machine, rule::ForcedIsolation};

#[derive(Debug)]
pub(super) enum IsolationKey {
    Default,
    Off,
    Given(Box<IsolationKeys>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IsolationKeys {
    #[serde(default)]
    read_paths: Vec<Spanned<String>>,
    #[serde(default)]
    write_paths: Vec<Spanned<String>>,
    #[serde(default)]
    execute_paths: Vec<Spanned<String>>,
    #[serde(default)]
    network: NetworkKey,
    #[serde(default)]
    connect_ports: Vec<u16>,
    #[serde(default)]
    bind_ports: Vec<u16>,
    #[serde(default)]
    best_effort: bool,
}

/// A policy that says nothing of the network means none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum NetworkKey {
    Any,
    #[default]
    None,
    Ports,
}

impl<M: Machine> Reader<'_, M> {
    pub(super) fn isolation(&self, key: &Spanned<IsolationKey>) -> Read<ForcedIsolation> {
        let keys = match key.get_ref() {
            IsolationKey::Default => return Ok(ForcedIsolation::Default),
            IsolationKey::Off => return Ok(ForcedIsolation::Off),
            IsolationKey::Given(keys) => keys,
        };
        let wrong = |why: &str| self.file.reject(&key.span(), why);
        let paths =
            |texts: &[Spanned<String>]| -> Read<Vec<PathBuf>> { self.each(texts, plain_path) };
        let spec = IsolationSpec {
            read_paths: paths(&keys.read_paths)?,
            write_paths: paths(&keys.write_paths)?,
            execute_paths: paths(&keys.execute_paths)?,
            network: keys.network().map_err(wrong)?,
            best_effort: keys.best_effort,
            origin: IsolationOrigin::Rule,
        };
        let lists = [&spec.read_paths, &spec.write_paths, &spec.execute_paths];
        let count: usize = lists.iter().map(|list| list.len()).sum();
        let ports = keys.connect_ports.len() + keys.bind_ports.len();
        if count > MAX_ISOLATION_ENTRIES || ports > MAX_ISOLATION_ENTRIES {
            let why = format!("has more than {MAX_ISOLATION_ENTRIES} paths, or ports");
            return Err(wrong(&why));
        }
        if count == 0 && spec.network == NetworkSpec::Any {
            return Err(wrong("isolates from nothing: write \"off\""));
        }
        Ok(ForcedIsolation::Given(Box::new(spec)))
    }
}

impl IsolationKeys {
    fn network(&self) -> Result<NetworkSpec, &'static str> {
        if self.network == NetworkKey::Ports {
            if self.connect_ports.contains(&0) {
                return Err("connect_ports has 0, which is no port to connect to");
            }
            return Ok(NetworkSpec::Ports {
                connect: self.connect_ports.clone(),
                bind: self.bind_ports.clone(),
            });
        }
        if !self.connect_ports.is_empty() || !self.bind_ports.is_empty() {
            return Err("has ports without network = \"ports\"");
        }
        Ok(match self.network {
            NetworkKey::Any => NetworkSpec::Any,
            NetworkKey::None | NetworkKey::Ports => NetworkSpec::None,
        })
    }
}

impl<'de> Deserialize<'de> for IsolationKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameOrTable;
        impl<'de> Visitor<'de> for NameOrTable {
            type Value = IsolationKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"default\", \"off\", or a table")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<IsolationKey, E> {
                match text {
                    "default" => Ok(IsolationKey::Default),
                    "off" => Ok(IsolationKey::Off),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<IsolationKey, A::Error> {
                let keys = IsolationKeys::deserialize(MapAccessDeserializer::new(map))?;
                Ok(IsolationKey::Given(Box::new(keys)))
            }
        }
        deserializer.deserialize_any(NameOrTable)
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::super::{rule::Rule, testing::parse},
        *,
    };

    fn read(isolation: &str) -> Result<ForcedIsolation, String> {
        let text = format!(
            "[[rule]]\nname = 'r'\ndecision = 'allow'\nidentities = ['token:ci']\nprograms = 'any'\n{isolation}\n"
        );
        let policy = parse(&text).map_err(|error| error.to_string())?;
        let [Rule { forces, .. }] = &policy.rules[..] else {
            panic!("there is one rule");
        };
        Ok(forces.isolation.clone())
    }

    fn given(isolation: &str) -> IsolationSpec {
        match read(isolation) {
            Ok(ForcedIsolation::Given(spec)) => *spec,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_rule_forces_the_default_none_or_one_of_its_own() {
        assert_eq!(read(""), Ok(ForcedIsolation::Default));
        assert_eq!(read("force.user = 'app'"), Ok(ForcedIsolation::Default));
        assert_eq!(
            read("force.isolation = 'default'"),
            Ok(ForcedIsolation::Default)
        );
        assert_eq!(read("force.isolation = 'off'"), Ok(ForcedIsolation::Off));
        let spec = given(
            "force.isolation = { read_paths = ['/a'], write_paths = ['/b', '/'], execute_paths = ['/c'], network = 'ports', \
             connect_ports = [443, 65535], bind_ports = [0], best_effort = true }",
        );
        let expected = IsolationSpec {
            read_paths: vec!["/a".into()],
            write_paths: vec!["/b".into(), "/".into()],
            execute_paths: vec!["/c".into()],
            network: NetworkSpec::Ports {
                connect: vec![443, 65535],
                bind: vec![0],
            },
            best_effort: true,
            origin: IsolationOrigin::Rule,
        };
        assert_eq!(spec, expected);
    }

    #[test]
    fn a_rule_that_says_nothing_of_the_network_means_none() {
        for (text, network) in [
            ("force.isolation = {}", NetworkSpec::None),
            ("force.isolation.read_paths = ['/a']", NetworkSpec::None),
            ("force.isolation.network = 'none'", NetworkSpec::None),
            (
                "force.isolation = { read_paths = ['/a'], network = 'any' }",
                NetworkSpec::Any,
            ),
        ] {
            let spec = given(text);
            assert_eq!(spec.network, network, "{text}");
            assert!(!spec.best_effort);
        }
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line_and_key() {
        for (text, parts) in [
            (
                "force.isolation = 'none'",
                "\"default\", \"off\", or a table",
            ),
            ("force.isolation = true", "\"default\", \"off\", or a table"),
            ("force.isolation.paths = ['/a']", "unknown key `paths`"),
            ("force.isolation.read_paths = ['a']", "is no absolute path"),
            (
                "force.isolation.write_paths = ['/a/../b']",
                "is no absolute path",
            ),
            ("force.isolation.network = 'some'", "unknown variant"),
            ("force.isolation.network = 'any'", "isolates from nothing"),
            (
                "force.isolation = { network = 'ports', connect_ports = [0] }",
                "connect_ports has 0",
            ),
            (
                "force.isolation = { network = 'ports', connect_ports = [65536] }",
                "65536",
            ),
            (
                "force.isolation = { network = 'none', bind_ports = [1] }",
                "ports without",
            ),
        ] {
            let error = read(text).unwrap_err();
            assert!(
                error.starts_with("policy.toml:6: rule[0].force.isolation"),
                "{text}: {error}"
            );
            assert!(error.contains(parts), "{text}: {error}");
        }
    }

    #[test]
    fn paths_and_ports_are_256_each() {
        let with = |paths: usize, ports: usize| {
            let (paths, ports) = (vec!["/a"; paths], vec![1; ports]);
            read(&format!(
                "force.isolation = {{ read_paths = {paths:?}, write_paths = ['/b'], network = 'ports', connect_ports = {ports:?}, bind_ports = [1] }}"
            ))
        };
        assert!(with(255, 255).is_ok());
        for (paths, ports) in [(256, 255), (255, 256)] {
            let error = with(paths, ports).unwrap_err();
            assert!(error.contains("more than 256"), "{error}");
        }
    }
}
