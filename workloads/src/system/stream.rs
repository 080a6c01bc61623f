//! Answers that go on: changes as a store tells them to whoever watches.

use checker::history::Value;
use serde::Deserialize;
use serde_json::Value as Json;

use super::Encoding;
use super::pointer::{Pointer, plain};
use super::rules::whole;

/// How the pieces of an answer that goes on tell changes.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stream {
    /// What the pieces look like.
    pub form: StreamForm,
    /// Where in a piece the list of changes stands; a piece without it tells none.
    pub changes: Pointer,
    /// Where the revision stands: in a change, else in its piece.
    pub rev: Pointer,
    /// Where in a change its key stands.
    pub key: Pointer,
    /// Where in a change the new value stands; one without it is a deletion.
    pub value: Pointer,
}

/// What the pieces of an answer look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StreamForm {
    /// Server-sent events, as the HTML standard has them; their `data` is JSON.
    Events,
    /// JSON values, each on a line of its own.
    Lines,
}

/// One change: revision, key and value.
pub(crate) type Change = (i64, Value, Value);

impl Stream {
    /// Takes the whole pieces off the front of what has arrived, and says what they tell.
    ///
    /// # Errors
    /// Names what a piece holds that is no change: nothing of it can be trusted then.
    pub(crate) fn take(&self, arrived: &mut Vec<u8>, encoding: Encoding) -> Result<Vec<Change>, String> {
        let mut changes = Vec::new();
        while let Some(piece) = self.form.piece(arrived) {
            if piece.trim().is_empty() {
                continue;
            }
            let json: Json =
                serde_json::from_str(&piece).map_err(|error| format!("no JSON in the stream: {error}"))?;
            let Some(told) = self.changes.find(&json) else {
                continue;
            };
            let told = told.as_array().ok_or("the changes in the stream are no list")?;
            for change in told {
                let rev = self.rev.find(change).or_else(|| self.rev.find(&json));
                let rev = rev.as_ref().and_then(whole);
                let key = self.key.find(change).map(|key| plain(&key));
                let (Some(rev), Some(key)) = (rev, key) else {
                    return Err(format!("a change without revision or key: {change}"));
                };
                let value = self.value.find(change).unwrap_or_default();
                changes.push((rev, Value::from(key), encoding.decode(&value)));
            }
        }
        Ok(changes)
    }
}

impl StreamForm {
    /// The first whole piece, taken off the front; one that is not whole stays.
    fn piece(self, arrived: &mut Vec<u8>) -> Option<String> {
        let ends: &[&[u8]] = match self {
            Self::Events => &[b"\n\n", b"\r\n\r\n"],
            Self::Lines => &[b"\n"],
        };
        let end = |end: &&[u8]| {
            let at = arrived.windows(end.len()).position(|window| window == *end)?;
            Some((at, end.len()))
        };
        let (at, length) = ends.iter().filter_map(end).min()?;
        let rest = arrived.split_off(at + length);
        let piece = std::mem::replace(arrived, rest);
        let text = String::from_utf8_lossy(&piece[..at]).into_owned();
        Some(match self {
            Self::Lines => text,
            Self::Events => {
                let data = text.lines().filter_map(|line| line.strip_prefix("data:"));
                data.map(str::trim_start).collect::<Vec<_>>().join("\n")
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stream(form: &str, rest: &str) -> Stream {
        toml::from_str(&format!("form = \"{form}\"\n{rest}")).expect("a stream")
    }

    #[test]
    fn pieces_are_taken_whole_and_what_is_no_change_is_passed_over() {
        let stream = stream(
            "events",
            "changes = \"/changes\"\nrev = \"/index\"\nkey = \"/key\"\nvalue = \"/value\"",
        );
        let mut arrived =
            b": from 3\n\nid: 4\ndata: {\"index\":4,\"changes\":[{\"key\":\"a\",\"value\":\"7\"},\
            {\"key\":\"b\",\"value\":null}]}\n\nevent: gap\ndata: {}\n\ndata: {\"index\":5,"
                .to_vec();
        let changes = stream.take(&mut arrived, Encoding::String).expect("changes");
        let change = |rev, key: &str, value| (rev, Value::from(key), value);
        assert_eq!(
            changes,
            [change(4, "a", Value::Int(7)), change(4, "b", Value::Nil)]
        );
        assert_eq!(arrived, b"data: {\"index\":5,", "half an event stays");
        arrived.extend_from_slice(b"\"changes\":[{\"key\":\"a\"}]}\r\n\r\n");
        let changes = stream.take(&mut arrived, Encoding::String).expect("changes");
        assert_eq!(changes, [change(5, "a", Value::Nil)]);
        assert!(arrived.is_empty());
    }

    #[test]
    fn lines_hold_the_revision_in_each_change() {
        let stream = stream(
            "lines",
            "changes = \"/result/events\"\nrev = \"/kv/mod_revision\"\nkey = \"/kv/key|base64\"\nvalue = \"/kv/value|base64\"",
        );
        let mut arrived =
            b"{\"result\":{\"created\":true}}\n{\"result\":{\"events\":[{\"kv\":{\"key\":\"YQ==\",\
            \"mod_revision\":\"9\",\"value\":\"Nw==\"}}]}}\n"
                .to_vec();
        let changes = stream.take(&mut arrived, Encoding::String).expect("changes");
        assert_eq!(changes, [(9, Value::from("a"), Value::Int(7))]);
        let mut garbage = b"<html>\n".to_vec();
        assert!(stream.take(&mut garbage, Encoding::String).is_err());
        let mut nameless = b"{\"result\":{\"events\":[{}]}}\n".to_vec();
        assert!(
            stream
                .take(&mut nameless, Encoding::String)
                .expect_err("refused")
                .contains("revision")
        );
    }
}
