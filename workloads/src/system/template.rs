//! Texts with `{placeholders}`.

use checker::history::Value;
use serde::Deserialize;
use serde_json::Value as Json;

use super::Encoding;
use super::pointer::{Filter, plain};

/// A text with `{placeholders}`; `{{` and `}}` stand for the braces themselves.
///
/// A placeholder may have filters: `{key|base64}`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Placeholder(String, Vec<Filter>),
}

/// Why a text is not a template.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum TemplateError {
    /// A `{` without its `}`.
    #[error("`{0}` has a {{ that is never closed (write {{{{ for the brace itself)")]
    Unclosed(String),
    /// A `}` without its `{`.
    #[error("`{0}` has a }} that was never opened (write }}}} for the brace itself)")]
    Unopened(String),
    /// A filter that does not exist.
    #[error("{0}")]
    Filter(String),
}

/// What placeholders stand for.
#[derive(Debug, Clone, Default)]
pub struct Bindings<'a>(Vec<(&'a str, Json)>);

impl<'a> Bindings<'a> {
    /// Nothing is bound.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Binds `name` to a text.
    #[must_use]
    pub fn text(self, name: &'a str, text: impl Into<String>) -> Self {
        self.json(name, Json::String(text.into()))
    }

    /// Binds `name` to a value of the history in its wire form.
    #[must_use]
    pub fn value(self, name: &'a str, value: &Value, encoding: Encoding) -> Self {
        self.json(name, encoding.encode(value))
    }

    /// Binds `name` to what an answer held.
    #[must_use]
    pub fn json(mut self, name: &'a str, json: Json) -> Self {
        self.0.push((name, json));
        self
    }

    /// What `name` stands for; of several the last that was bound.
    fn get(&self, name: &str) -> Option<&Json> {
        self.0
            .iter()
            .rev()
            .find(|(n, _)| *n == name)
            .map(|(_, json)| json)
    }

    /// The whole number that `name` stands for; none where it stands for none.
    pub(crate) fn number(&self, name: &str) -> Option<i64> {
        self.get(name)?.as_i64()
    }

    fn filled(&self, name: &str, filters: &[Filter]) -> Json {
        let json = self.get(name).cloned().unwrap_or_default();
        filters.iter().fold(json, |json, filter| filter.encode(json))
    }
}

impl Template {
    /// Parses a text.
    ///
    /// # Errors
    /// When a brace has no partner.
    pub fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            match c {
                '{' | '}' if rest.peek() == Some(&c) => {
                    rest.next();
                    plain.push(c);
                }
                '{' => {
                    let mut name = String::new();
                    loop {
                        match rest.next() {
                            Some('}') => break,
                            Some(c) => name.push(c),
                            None => return Err(TemplateError::Unclosed(text.to_owned())),
                        }
                    }
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain)));
                    }
                    let (name, filters) = Filter::split(&name).map_err(TemplateError::Filter)?;
                    parts.push(Part::Placeholder(name.to_owned(), filters));
                }
                '}' => return Err(TemplateError::Unopened(text.to_owned())),
                c => plain.push(c),
            }
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(parts))
    }

    /// The text with everything filled in.
    #[must_use]
    pub fn fill(&self, bindings: &Bindings<'_>) -> String {
        self.0
            .iter()
            .map(|part| match part {
                Part::Text(text) => text.clone(),
                Part::Placeholder(name, filters) => match bindings.get(name) {
                    Some(Json::String(text)) if filters.is_empty() => text.clone(),
                    Some(_) => plain(&bindings.filled(name, filters)),
                    None => String::new(),
                },
            })
            .collect()
    }

    /// As JSON: a template that is one placeholder and nothing else keeps the type of its value.
    #[must_use]
    pub fn fill_json(&self, bindings: &Bindings<'_>) -> Json {
        match &self.0[..] {
            [Part::Placeholder(name, filters)] => bindings.filled(name, filters),
            _ => Json::String(self.fill(bindings)),
        }
    }

    /// Whether the placeholder `name` occurs.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|part| matches!(part, Part::Placeholder(n, _) if n == name))
    }

    /// The first placeholder that is none of `known`.
    #[must_use]
    pub fn unknown_placeholder(&self, known: &[&str]) -> Option<&str> {
        self.placeholders().find(|name| !known.contains(name))
    }

    /// The names of its placeholders.
    pub fn placeholders(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|part| match part {
            Part::Placeholder(name, _) => Some(name.as_str()),
            Part::Text(_) => None,
        })
    }
}

impl TryFrom<String> for Template {
    type Error = TemplateError;

    fn try_from(text: String) -> Result<Self, TemplateError> {
        Self::parse(&text)
    }
}

/// A JSON value whose strings are templates; a string that is one placeholder and nothing else keeps the
/// type of what it stands for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(try_from = "Json")]
pub enum JsonTemplate {
    /// A string.
    Text(Template),
    /// Anything without a placeholder.
    Plain(Json),
    /// A list.
    List(Vec<JsonTemplate>),
    /// An object; its keys are no templates.
    Object(Vec<(String, JsonTemplate)>),
}

impl TryFrom<Json> for JsonTemplate {
    type Error = TemplateError;

    fn try_from(json: Json) -> Result<Self, TemplateError> {
        Ok(match json {
            Json::String(text) => Self::Text(Template::parse(&text)?),
            Json::Array(items) => {
                Self::List(items.into_iter().map(Self::try_from).collect::<Result<_, _>>()?)
            }
            Json::Object(map) => {
                let entries = map
                    .into_iter()
                    .map(|(name, value)| Ok((name, Self::try_from(value)?)));
                Self::Object(entries.collect::<Result<_, _>>()?)
            }
            other => Self::Plain(other),
        })
    }
}

impl JsonTemplate {
    /// The value with everything filled in.
    #[must_use]
    pub fn fill(&self, bindings: &Bindings<'_>) -> Json {
        match self {
            Self::Text(template) => template.fill_json(bindings),
            Self::Plain(json) => json.clone(),
            Self::List(items) => items.iter().map(|item| item.fill(bindings)).collect(),
            Self::Object(entries) => entries
                .iter()
                .map(|(name, value)| (name.clone(), value.fill(bindings)))
                .collect(),
        }
    }

    /// All templates in it.
    pub(super) fn templates(&self) -> Vec<&Template> {
        match self {
            Self::Text(template) => vec![template],
            Self::Plain(_) => Vec::new(),
            Self::List(items) => items.iter().flat_map(Self::templates).collect(),
            Self::Object(entries) => entries.iter().flat_map(|(_, value)| value.templates()).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_filled_and_braces_escaped() {
        let bindings = Bindings::new()
            .text("key", "k1")
            .value("old", &Value::Nil, Encoding::String)
            .value("new", &Value::Int(7), Encoding::String);
        let fill = |text: &str| Template::parse(text).expect("a template").fill_json(&bindings);
        assert_eq!(fill("{old}"), serde_json::Value::Null);
        assert_eq!(fill("{new}"), serde_json::json!("7"));
        assert_eq!(fill("{{{key}}}-{new}"), serde_json::json!("{k1}-7"));
        assert_eq!(fill("{new|int}"), serde_json::json!(7));
        assert_eq!(fill("{key|base64}"), serde_json::json!("azE="));
        assert_eq!(fill("/{key|base64}"), serde_json::json!("/azE="));
    }

    #[test]
    fn lonely_braces_are_refused() {
        assert_eq!(Template::parse("a{b"), Err(TemplateError::Unclosed("a{b".into())));
        assert!(matches!(Template::parse("{a|b}"), Err(TemplateError::Filter(_))));
        assert_eq!(Template::parse("a}b"), Err(TemplateError::Unopened("a}b".into())));
    }
}
