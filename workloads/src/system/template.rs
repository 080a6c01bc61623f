//! Texts with `{placeholders}`.

use checker::history::Value;
use serde::Deserialize;

use super::Encoding;

/// A text with `{placeholders}`; `{{` and `}}` stand for the braces themselves.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Placeholder(String),
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
}

/// What placeholders stand for.
#[derive(Debug, Clone, Default)]
pub struct Bindings<'a> {
    texts: Vec<(&'a str, String)>,
    values: Vec<(&'a str, serde_json::Value)>,
}

impl<'a> Bindings<'a> {
    /// Nothing is bound.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Binds `name` to a text.
    #[must_use]
    pub fn text(mut self, name: &'a str, text: impl Into<String>) -> Self {
        self.texts.push((name, text.into()));
        self
    }

    /// Binds `name` to a value of the history in its wire form.
    #[must_use]
    pub fn value(mut self, name: &'a str, value: &Value, encoding: Encoding) -> Self {
        self.values.push((name, encoding.encode(value)));
        self
    }

    fn as_text(&self, name: &str) -> String {
        if let Some((_, text)) = self.texts.iter().find(|(n, _)| *n == name) {
            return text.clone();
        }
        match self.values.iter().find(|(n, _)| *n == name) {
            Some((_, serde_json::Value::String(text))) => text.clone(),
            Some((_, json)) => json.to_string(),
            None => String::new(),
        }
    }

    fn as_json(&self, name: &str) -> serde_json::Value {
        match self.values.iter().find(|(n, _)| *n == name) {
            Some((_, json)) => json.clone(),
            None => serde_json::Value::String(self.as_text(name)),
        }
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
                    parts.push(Part::Placeholder(name));
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
                Part::Placeholder(name) => bindings.as_text(name),
            })
            .collect()
    }

    /// As JSON: a template that is one placeholder and nothing else keeps the type of its value.
    #[must_use]
    pub fn fill_json(&self, bindings: &Bindings<'_>) -> serde_json::Value {
        match &self.0[..] {
            [Part::Placeholder(name)] => bindings.as_json(name),
            _ => serde_json::Value::String(self.fill(bindings)),
        }
    }

    /// Whether the placeholder `name` occurs.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        self.0
            .iter()
            .any(|part| matches!(part, Part::Placeholder(n) if n == name))
    }

    /// The first placeholder that is none of `known`.
    #[must_use]
    pub fn unknown_placeholder(&self, known: &[&str]) -> Option<&str> {
        self.0.iter().find_map(|part| match part {
            Part::Placeholder(name) if !known.contains(&name.as_str()) => Some(name.as_str()),
            _ => None,
        })
    }
}

impl TryFrom<String> for Template {
    type Error = TemplateError;

    fn try_from(text: String) -> Result<Self, TemplateError> {
        Self::parse(&text)
    }
}

/// All strings inside a JSON value, keys left out.
pub(super) fn strings_in(json: &serde_json::Value) -> Vec<&str> {
    match json {
        serde_json::Value::String(text) => vec![text],
        serde_json::Value::Array(items) => items.iter().flat_map(strings_in).collect(),
        serde_json::Value::Object(map) => map.values().flat_map(strings_in).collect(),
        _ => Vec::new(),
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
    }

    #[test]
    fn lonely_braces_are_refused() {
        assert_eq!(Template::parse("a{b"), Err(TemplateError::Unclosed("a{b".into())));
        assert_eq!(Template::parse("a}b"), Err(TemplateError::Unopened("a}b".into())));
    }
}
