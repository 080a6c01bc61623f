//! Holds files of a run against their published schemas.
//!
//! The schemas in `docs/schema` are open, so that a reader of today passes over what a later version adds. Here
//! they are closed: a field that they do not name fails the test, and so cannot stay undocumented.

use std::fs;
use std::path::Path;

use serde_json::Value;

/// Complains about a `results.json` that is not as its schema says.
pub(crate) fn results(path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let value = serde_json::from_str(&text).map_err(|error| format!("{}: {error}", path.display()))?;
    Validator::closed("results").check(&value, &path.display().to_string())
}

/// Complains about the first line of a `history.jsonl` that is not as its schema says.
pub(crate) fn history(path: &Path) -> Result<(), String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let validator = Validator::closed("history-line");
    for (line, number) in text.lines().zip(1..) {
        let place = format!("{}:{number}", path.display());
        let value = serde_json::from_str(line).map_err(|error| format!("{place}: {error}"))?;
        validator.check(&value, &place)?;
    }
    Ok(())
}

/// The text of a published schema.
pub(crate) fn published(name: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../docs/schema/{name}.schema.json"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).expect("a schema is JSON")
}

/// A compiled schema.
pub(crate) struct Validator {
    schemas: boon::Schemas,
    root: boon::SchemaIndex,
}

impl Validator {
    /// The published schema of this name, admitting only what it names.
    pub(crate) fn closed(name: &str) -> Self {
        let mut schema = published(name);
        close(&mut schema);
        let (mut schemas, mut compiler) = (boon::Schemas::new(), boon::Compiler::new());
        let url = format!("https://ordeal.invalid/{name}.schema.json");
        compiler
            .add_resource(&url, schema)
            .expect("the schema can be named");
        let root = compiler
            .compile(&url, &mut schemas)
            .unwrap_or_else(|error| panic!("{name} is no schema: {error:#}"));
        Self { schemas, root }
    }

    /// Says where and how `value` departs from the schema.
    pub(crate) fn check(&self, value: &Value, place: &str) -> Result<(), String> {
        self.schemas
            .validate(value, self.root)
            .map_err(|error| format!("{place}: {error:#}"))
    }
}

/// Forbids whatever the objects of a schema do not name.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.contains_key("properties") && !map.contains_key("additionalProperties") {
                map.insert("additionalProperties".into(), false.into());
            }
            map.values_mut().for_each(close);
        }
        Value::Array(list) => list.iter_mut().for_each(close),
        _ => {}
    }
}
