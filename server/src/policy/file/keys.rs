//! The keys of a policy's file, as they are written.

use std::fmt;

use remex_supervisor::process::{ResourceLimits, TreeLimits};
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};
use toml::Spanned;

use super::isolation::IsolationKey;
use crate::policy::{
    examples::ExampleKeys,
    question::{OnOthers, Rpc},
    rule::Effect,
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Keys {
    #[serde(default)]
    pub(super) rule: Vec<RuleKeys>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RuleKeys {
    pub(super) name: Spanned<String>,
    /// There is no default.
    pub(super) decision: Effect,
    #[serde(default)]
    pub(super) anyone: bool,
    #[serde(default)]
    pub(super) identities: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) users: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) groups: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) networks: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) listeners: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) from_executions: bool,
    #[serde(default)]
    pub(super) rpcs: Vec<Rpc>,
    pub(super) programs: Option<ListKey>,
    pub(super) arguments: Option<ListKey>,
    pub(super) shell: Option<bool>,
    pub(super) working_directories: Option<ListKey>,
    pub(super) environment: Option<ListKey>,
    pub(super) run_as: Option<ListKey>,
    #[serde(default)]
    pub(super) others: Vec<OnOthers>,
    pub(super) at_most: Option<LimitKeys>,
    pub(super) force: Option<ForceKeys>,
    #[serde(default, rename = "match")]
    pub(super) matching: Vec<Spanned<ExampleKeys>>,
    #[serde(default, rename = "not_match")]
    pub(super) not_matching: Vec<Spanned<ExampleKeys>>,
}

/// `"any"`, or a list.
#[derive(Debug)]
pub(super) enum ListKey {
    Any,
    These(Vec<Spanned<String>>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ForceKeys {
    pub(super) user: Option<Spanned<String>>,
    pub(super) working_directory: Option<Spanned<String>>,
    pub(super) limits: Option<LimitKeys>,
    pub(super) isolation: Option<Spanned<IsolationKey>>,
}

/// As the API has them.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LimitKeys {
    pub(super) cpu_time: Option<Spanned<String>>,
    address_space_bytes: Option<u64>,
    open_files: Option<u64>,
    file_size_bytes: Option<u64>,
    core_bytes: Option<u64>,
    user_processes: Option<u64>,
    niceness: Option<i32>,
    tree_memory_bytes: Option<u64>,
    tree_processes: Option<u64>,
}

impl LimitKeys {
    pub(super) fn with_cpu(&self, cpu_seconds: Option<u64>) -> ResourceLimits {
        ResourceLimits {
            cpu_seconds,
            address_space_bytes: self.address_space_bytes,
            open_files: self.open_files,
            file_size_bytes: self.file_size_bytes,
            core_bytes: self.core_bytes,
            user_processes: self.user_processes,
            niceness: self.niceness,
            tree: TreeLimits {
                memory_bytes: self.tree_memory_bytes,
                processes: self.tree_processes,
            },
        }
    }
}

impl<'de> Deserialize<'de> for ListKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AnyOrList;
        impl<'de> Visitor<'de> for AnyOrList {
            type Value = ListKey;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list, or \"any\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<ListKey, E> {
                match text {
                    "any" => Ok(ListKey::Any),
                    other => Err(E::invalid_value(de::Unexpected::Str(other), &self)),
                }
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<ListKey, A::Error> {
                let mut texts = Vec::new();
                while let Some(text) = seq.next_element()? {
                    texts.push(text);
                }
                Ok(ListKey::These(texts))
            }
        }
        deserializer.deserialize_any(AnyOrList)
    }
}
