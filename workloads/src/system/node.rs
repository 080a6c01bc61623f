//! How a node is started, when it is ready, and how it is stopped.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;

use super::operation::CallTemplate;
use super::template::{Bindings, JsonTemplate, Template};
use super::{Answer, Pointer, StatusPattern};

/// How one node is started.
///
/// Placeholders in all of its texts: `{program}`, `{node}`, `{address}`, `{index}`, `{data}`, `{members}`,
/// `{first}`, `{nodes}` and the system's own `params`.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// A cargo package of this workspace that provides `{program}`.
    pub cargo: Option<String>,
    /// A program on `PATH` that provides `{program}`.
    pub program: Option<PathBuf>,
    /// Program and arguments of a node.
    pub command: Vec<Template>,
    /// How one member is written in `{members}`; placeholders: `{node}`, `{address}`, `{index}`.
    pub member: Option<Template>,
    /// What stands between the members.
    #[serde(default = "comma")]
    pub separator: String,
    /// The TCP port on which a node serves clients.
    #[serde(default)]
    pub port: u16,
    /// Environment of the node.
    #[serde(default)]
    pub env: BTreeMap<String, Template>,
    /// Files written into the node's folder before its first start, by their names.
    #[serde(default)]
    pub files: BTreeMap<String, Template>,
    /// A command that asks the node to stop when the cluster is taken down; what still runs after it is killed.
    pub stop: Option<Vec<Template>>,
}

fn comma() -> String {
    ",".to_owned()
}

/// What tells that a node can serve.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ready {
    /// Path of the GET request, where the store speaks HTTP.
    pub path: Option<Template>,
    /// The command of a native client, where it does not.
    pub command: Option<Vec<Template>>,
    /// The port, where it is not that of the clients.
    pub port: Option<u16>,
    /// The status that means ready.
    #[serde(default)]
    pub status: StatusPattern,
    /// What the answer must hold besides.
    #[serde(default)]
    pub json: BTreeMap<Pointer, JsonTemplate>,
    /// A text that the answer must hold.
    pub contains: Option<String>,
    /// How long a node may take, in seconds.
    #[serde(default = "default_within_s")]
    pub within_s: u64,
}

fn default_within_s() -> u64 {
    30
}

impl Ready {
    /// The request.
    #[must_use]
    pub fn call(&self) -> Option<CallTemplate> {
        match (&self.path, &self.command) {
            (Some(path), _) => Some(CallTemplate::get(path.clone())),
            (None, Some(words)) => Some(CallTemplate::Command(words.clone())),
            (None, None) => None,
        }
    }

    /// Whether an answer to it means that the node can serve.
    #[must_use]
    pub fn is_met(&self, answer: &Answer) -> bool {
        let nothing = Bindings::new();
        self.status.matches(answer.status)
            && self
                .json
                .iter()
                .all(|(pointer, wanted)| pointer.find(&answer.json) == Some(wanted.fill(&nothing)))
            && self
                .contains
                .as_ref()
                .is_none_or(|text| answer.text.contains(text.as_str()))
    }
}

/// Where a node shows a digest of its replicated state.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StateProbe {
    /// Path of the GET request.
    pub path: String,
    /// JSON pointer to the index up to which the log was applied.
    pub applied: String,
    /// JSON pointer to the digest of the state at that index.
    pub hash: String,
}
