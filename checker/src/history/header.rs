//! The first line of a history: what was run.

use serde::{Deserialize, Serialize};

use super::Value;

/// The version of the history form that this crate writes, and the newest that it reads.
pub const FORM_VERSION: u64 = 1;

/// What the first line of a history says about the run. Everything is optional but the form's version.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// The model that the history is to be judged by, such as `kv`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model: Option<String>,
    /// The seed that decided what the generator and the fault schedule chose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u64>,
    /// When the run began, as RFC 3339; for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<String>,
    /// The store under test.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub system: Option<String>,
    /// The nodes of the cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub nodes: Vec<String>,
    /// The value of every key before the run. `None` leaves it to the form's default; `Some(Value::Nil)` says
    /// that there is none.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "present"
    )]
    pub init: Option<Value>,
    /// Everything else that the line said.
    #[serde(flatten)]
    pub other: serde_json::Map<String, serde_json::Value>,
}

impl Header {
    /// A header that names its model.
    pub fn for_model(model: impl Into<String>) -> Header {
        Header {
            model: Some(model.into()),
            ..Header::default()
        }
    }
}

/// An explicit `null` is a value here, not an absence.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}
