//! Where in an answer something stands, and how it is to be read.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::Value as Json;

/// How a text is turned into another on its way to the store or back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Filter {
    /// Base64 (RFC 4648, with padding): encodes in templates, decodes in pointers.
    Base64,
    /// A whole number in decimal: becomes a JSON number.
    Int,
    /// Without the white space around it.
    Trim,
}

impl Filter {
    /// Every filter by its name.
    pub const ALL: [(&'static str, Filter); 3] = [
        ("base64", Filter::Base64),
        ("int", Filter::Int),
        ("trim", Filter::Trim),
    ];

    /// Reads `name|filter|filter`: the name and its filters.
    ///
    /// # Errors
    /// Names the filter that does not exist, and those that do.
    pub(super) fn split(text: &str) -> Result<(&str, Vec<Filter>), String> {
        let mut parts = text.split('|').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let filters = parts.map(|part| {
            let known = Self::ALL.iter().find(|(name, _)| *name == part);
            known.map(|(_, filter)| *filter).ok_or_else(|| {
                let names: Vec<&str> = Self::ALL.iter().map(|(name, _)| *name).collect();
                format!("unknown filter `{part}` in `{text}`; known: {}", names.join(", "))
            })
        });
        Ok((name, filters.collect::<Result<_, _>>()?))
    }

    /// What is sent for `json`.
    pub(super) fn encode(self, json: Json) -> Json {
        match self {
            Self::Base64 => Json::String(STANDARD.encode(plain(&json))),
            Self::Int => number(&json).unwrap_or(json),
            Self::Trim => Json::String(plain(&json).trim().to_owned()),
        }
    }

    /// What was meant by `json`; none where it cannot be read so.
    fn decode(self, json: Json) -> Option<Json> {
        match self {
            Self::Base64 => {
                let bytes = STANDARD.decode(json.as_str()?).ok()?;
                String::from_utf8(bytes).ok().map(Json::String)
            }
            Self::Int => number(&json),
            Self::Trim => Some(Json::String(plain(&json).trim().to_owned())),
        }
    }
}

/// A value as text: a string without its quotes.
pub(super) fn plain(json: &Json) -> String {
    match json {
        Json::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn number(json: &Json) -> Option<Json> {
    match json {
        Json::Number(_) => Some(json.clone()),
        Json::String(text) => text.trim().parse::<i64>().ok().map(Json::from),
        _ => None,
    }
}

/// A JSON pointer (RFC 6901) and the filters behind it: `/kvs/0/value|base64`.
///
/// The empty pointer is the whole answer; an answer that is no JSON is then one string.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct Pointer {
    path: String,
    filters: Vec<Filter>,
}

impl TryFrom<String> for Pointer {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let (path, filters) = Filter::split(&text)?;
        if !path.is_empty() && !path.starts_with('/') {
            return Err(format!(
                "`{text}` is no JSON pointer: it must begin with /, as in \"/value\", or be empty for the whole answer"
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            filters,
        })
    }
}

impl Pointer {
    /// What it leads to in `answer`, its filters applied; none where it leads nowhere.
    pub(super) fn find(&self, answer: &Json) -> Option<Json> {
        let found = answer.pointer(&self.path)?.clone();
        self.filters
            .iter()
            .try_fold(found, |json, filter| filter.decode(json))
    }
}

impl fmt::Display for Pointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        for filter in &self.filters {
            let name = Filter::ALL.iter().find(|(_, known)| known == filter);
            write!(f, "|{}", name.map_or("", |(name, _)| name))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn filters_read_what_they_wrote() {
        let answer = json!({"kvs": [{"value": "Nw==", "mod_revision": "12"}], "text": " 7\n"});
        let find = |text: &str| {
            Pointer::try_from(text.to_owned())
                .expect("a pointer")
                .find(&answer)
        };
        assert_eq!(find("/kvs/0/value|base64"), Some(json!("7")));
        assert_eq!(find("/kvs/0/value | base64 | int"), Some(json!(7)));
        assert_eq!(find("/kvs/0/mod_revision|int"), Some(json!(12)));
        assert_eq!(find("/text|trim"), Some(json!("7")));
        assert_eq!(find("/kvs/1/value|base64"), None);
        assert_eq!(find("/kvs/0/mod_revision|base64"), None, "no base64");
        assert_eq!(find(""), Some(answer.clone()));
        assert_eq!(Filter::Base64.encode(json!(7)), json!("Nw=="));
    }

    #[test]
    fn what_is_no_pointer_is_refused() {
        let refused = |text: &str| Pointer::try_from(text.to_owned()).expect_err("refused");
        assert!(refused("value").contains("must begin with /"));
        assert!(refused("/value|rot13").contains("known: base64, int, trim"));
    }
}
