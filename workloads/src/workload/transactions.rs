//! Several keys at once: what the operation `txn` of a store's file takes, and what it answers.

use checker::history::Value;
use serde_json::json;

use crate::generator::Invocation;

/// One step of a transaction.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    /// Read a key.
    Get(String),
    /// Give it a value.
    Set(String, Value),
    /// Add to its end.
    Append(String, Value),
}

/// A transaction that does `steps` if each key of `compare` holds its value (nothing: does not exist).
pub(crate) fn transaction(compare: &[(String, Value)], steps: &[Step]) -> Invocation {
    let text = |value: &Value| match value {
        Value::Int(number) => json!(number.to_string()),
        other => other.to_json(),
    };
    let compare = compare
        .iter()
        .map(|(key, expected)| json!({ "key": key, "expected": text(expected) }));
    let steps = steps.iter().map(|step| match step {
        Step::Get(key) => json!({ "op": "get", "key": key }),
        Step::Set(key, value) => json!({ "op": "set", "key": key, "value": text(value) }),
        Step::Append(key, value) => json!({ "op": "append", "key": key, "value": text(value) }),
    });
    let body = json!({ "compare": compare.collect::<Vec<_>>(), "then": steps.collect::<Vec<_>>() });
    Invocation::new("txn", "", Value::from(body))
}

/// A transaction that only reads.
pub(super) fn reads(keys: impl IntoIterator<Item = String>) -> Invocation {
    let steps: Vec<Step> = keys.into_iter().map(Step::Get).collect();
    transaction(&[], &steps)
}

/// What the steps of a transaction read, one value a step; nothing for steps that wrote.
pub(super) fn results(answer: &Value) -> Vec<Value> {
    let steps = answer.as_list().unwrap_or_default();
    steps
        .iter()
        .map(|step| match step.to_json().get("value") {
            Some(serde_json::Value::String(text)) => text
                .parse::<i64>()
                .map_or_else(|_| Value::from(text.as_str()), Value::Int),
            Some(other) => Value::from(other.clone()),
            None => Value::Nil,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_is_spoken_as_the_store_takes_it() {
        let steps = [Step::Get("a".into()), Step::Set("b".into(), Value::Int(3))];
        let asked = transaction(&[("b".into(), Value::Nil)], &steps);
        assert_eq!(
            asked.value.to_json(),
            json!({
                "compare": [{ "key": "b", "expected": null }],
                "then": [{ "op": "get", "key": "a" }, { "op": "set", "key": "b", "value": "3" }],
            })
        );
        let answer =
            Value::from(json!([{ "value": "3", "version": 4 }, { "version": 5 }, { "value": null }]));
        assert_eq!(results(&answer), [Value::Int(3), Value::Nil, Value::Nil]);
    }
}
