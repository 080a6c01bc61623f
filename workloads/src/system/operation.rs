//! How an operation is spoken: one request, or several of which later ones use what earlier ones told.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::rules::{OutcomeKind, Rule};
use super::stream::Stream;
use super::template::{Bindings, JsonTemplate, Template};

/// The placeholder for the name that all attempts of one operation share.
pub(super) const REQUEST: &str = "request";

/// HTTP methods that operations use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[allow(missing_docs)]
pub enum Method {
    Get,
    Put,
    Post,
    Delete,
}

/// How one operation is spoken and understood.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawRequest")]
pub struct Operation {
    /// Its requests, in order. All but the last must have a rule with outcome `next`.
    pub steps: Vec<Step>,
}

/// One request of an operation, and the rules that read its answer.
#[derive(Debug, Clone)]
pub struct Step {
    /// What is sent.
    pub call: CallTemplate,
    /// Whether the request changes nothing, so that losing its answer loses nothing.
    pub reads_only: bool,
    /// The rules that classify the answer, first match wins.
    pub rules: Vec<Rule>,
    /// How an answer that goes on tells changes; its rules are then for answers of another status than 200.
    pub stream: Option<Stream>,
}

/// A request with placeholders.
#[derive(Debug, Clone)]
pub enum CallTemplate {
    /// For stores that speak HTTP.
    Http {
        /// The method.
        method: Method,
        /// The path.
        path: Template,
        /// The query, percent-encoded when sent.
        query: BTreeMap<String, Template>,
        /// The headers; one that holds `{request}` is sent only with operations that may be sent again.
        headers: BTreeMap<String, Template>,
        /// The body.
        body: Option<BodyTemplate>,
    },
    /// For the native clients: the words of a command.
    Command(Vec<Template>),
}

/// The body of a request.
#[derive(Debug, Clone)]
pub enum BodyTemplate {
    /// Sent as `application/json`.
    Json(JsonTemplate),
    /// Sent as it is.
    Text(Template),
}

/// A request whose placeholders are filled in.
#[derive(Debug, Clone, PartialEq)]
pub enum Call {
    /// Over HTTP.
    Http {
        /// The method.
        method: Method,
        /// The path.
        path: String,
        /// Names and values of the query.
        query: Vec<(String, String)>,
        /// Names and values of the headers.
        headers: Vec<(String, String)>,
        /// The body.
        body: Option<Body>,
    },
    /// The words of a command for a native client.
    Command(Vec<String>),
}

/// A filled body.
#[derive(Debug, Clone, PartialEq)]
pub enum Body {
    /// Sent as `application/json`.
    Json(serde_json::Value),
    /// Sent as it is.
    Text(String),
}

impl Operation {
    /// Whether the store can be told that two requests are one, so that it may be sent again.
    #[must_use]
    pub fn can_repeat(&self) -> bool {
        self.steps.iter().any(|step| match &step.call {
            CallTemplate::Http { headers, .. } => headers.values().any(|template| template.names(REQUEST)),
            CallTemplate::Command(_) => false,
        })
    }
}

impl CallTemplate {
    /// A GET request.
    pub(super) fn get(path: Template) -> Self {
        Self::Http {
            method: Method::Get,
            path,
            query: BTreeMap::new(),
            headers: BTreeMap::new(),
            body: None,
        }
    }

    /// The request with its placeholders filled in; `named` says whether the operation may be sent again.
    #[must_use]
    pub fn fill(&self, bindings: &Bindings<'_>, named: bool) -> Call {
        let fill = |(name, template): (&String, &Template)| (name.clone(), template.fill(bindings));
        match self {
            Self::Http {
                method,
                path,
                query,
                headers,
                body,
            } => Call::Http {
                method: *method,
                path: path.fill(bindings),
                query: query.iter().map(fill).collect(),
                headers: headers
                    .iter()
                    .filter(|(_, template)| named || !template.names(REQUEST))
                    .map(fill)
                    .collect(),
                body: body.as_ref().map(|body| match body {
                    BodyTemplate::Json(json) => Body::Json(json.fill(bindings)),
                    BodyTemplate::Text(text) => Body::Text(text.fill(bindings)),
                }),
            },
            Self::Command(words) => Call::Command(words.iter().map(|word| word.fill(bindings)).collect()),
        }
    }

    /// All templates in it.
    pub(super) fn templates(&self) -> Vec<&Template> {
        match self {
            Self::Http {
                path,
                query,
                headers,
                body,
                ..
            } => {
                let body = match body {
                    Some(BodyTemplate::Json(json)) => json.templates(),
                    Some(BodyTemplate::Text(text)) => vec![text],
                    None => Vec::new(),
                };
                let rest = query.values().chain(headers.values()).chain(body);
                std::iter::once(path).chain(rest).collect()
            }
            Self::Command(words) => words.iter().collect(),
        }
    }
}

/// An operation or one of its steps, as the file has it: the fields of a request, or `steps`.
///
/// One type for both, since flattening one into the other would lose the line of a mistake: serde then reads
/// everything before it can refuse a field.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRequest {
    method: Option<Method>,
    path: Option<Template>,
    #[serde(default)]
    query: BTreeMap<String, Template>,
    #[serde(default)]
    headers: BTreeMap<String, Template>,
    json: Option<JsonTemplate>,
    body: Option<Template>,
    command: Option<Vec<Template>>,
    stream: Option<Stream>,
    #[serde(default)]
    reads_only: bool,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    steps: Vec<RawRequest>,
}

impl TryFrom<RawRequest> for Operation {
    type Error = String;

    fn try_from(mut raw: RawRequest) -> Result<Self, String> {
        let steps = std::mem::take(&mut raw.steps);
        let steps = if steps.is_empty() {
            vec![Step::try_from(raw)?]
        } else {
            if raw.path.is_some() || raw.command.is_some() || !raw.rules.is_empty() {
                return Err("an operation with `steps` has its path, command and rules in them".to_owned());
            }
            steps.into_iter().map(Step::try_from).collect::<Result<_, _>>()?
        };
        Ok(Self { steps })
    }
}

impl TryFrom<RawRequest> for Step {
    type Error = String;

    fn try_from(raw: RawRequest) -> Result<Self, String> {
        if !raw.steps.is_empty() {
            return Err("a step has no `steps` of its own".to_owned());
        }
        Ok(Self {
            reads_only: raw.reads_only,
            rules: raw.rules,
            stream: raw.stream,
            call: CallTemplate::try_from(RawCall {
                method: raw.method,
                path: raw.path,
                query: raw.query,
                headers: raw.headers,
                json: raw.json,
                body: raw.body,
                command: raw.command,
            })?,
        })
    }
}

/// The fields that make a call, over HTTP or native.
#[derive(Debug, Default)]
struct RawCall {
    method: Option<Method>,
    path: Option<Template>,
    query: BTreeMap<String, Template>,
    headers: BTreeMap<String, Template>,
    json: Option<JsonTemplate>,
    body: Option<Template>,
    command: Option<Vec<Template>>,
}

impl TryFrom<RawCall> for CallTemplate {
    type Error = String;

    fn try_from(raw: RawCall) -> Result<Self, String> {
        match (raw.path, raw.command) {
            (Some(path), None) => {
                let body = match (raw.json, raw.body) {
                    (Some(_), Some(_)) => return Err("a request has `json` or `body`, not both".to_owned()),
                    (json, body) => json.map(BodyTemplate::Json).or(body.map(BodyTemplate::Text)),
                };
                Ok(Self::Http {
                    method: raw.method.unwrap_or(Method::Get),
                    path,
                    query: raw.query,
                    headers: raw.headers,
                    body,
                })
            }
            (None, Some(words)) if words.is_empty() => Err("`command` has no words".to_owned()),
            (None, Some(words)) => Ok(Self::Command(words)),
            (Some(_), Some(_)) => {
                Err("a request has `path` (over HTTP) or `command` (native), not both".to_owned())
            }
            (None, None) => {
                Err("a request needs `path` (over HTTP) or `command` (for a native client)".to_owned())
            }
        }
    }
}

/// Who leads, asked of each node; also what it says of its term.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "RawLeader")]
pub struct LeaderProbe {
    /// The request.
    pub call: CallTemplate,
    /// An `ok` rule that matches means that the node asked leads, or, with `value`, who does.
    pub rules: Vec<Rule>,
    /// The term or epoch that the node is in.
    pub term: Option<super::Pointer>,
}

impl LeaderProbe {
    /// The same question in our own terms; none where it is no GET of the node itself.
    pub(super) fn from_query(query: &nemesis::requests::LeaderQuery) -> Option<Self> {
        let path = query.request.url.strip_prefix("{url}")?;
        if query.request.method != "GET" || query.request.body.is_some() {
            return None;
        }
        let pointer = super::Pointer::try_from(query.pointer.clone()).ok()?;
        let mut rule = Rule::plain(OutcomeKind::Ok);
        match &query.equals {
            Some(wanted) => {
                let wanted = JsonTemplate::Plain(wanted.clone());
                rule.json.insert(pointer, wanted);
            }
            None => rule.value = Some(pointer),
        }
        let term = query.term_pointer.clone().map(super::Pointer::try_from);
        Some(Self {
            call: CallTemplate::get(Template::parse(path).ok()?),
            rules: vec![rule],
            term: term.transpose().ok()?,
        })
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLeader {
    method: Option<Method>,
    path: Option<Template>,
    json: Option<JsonTemplate>,
    command: Option<Vec<Template>>,
    rules: Vec<Rule>,
    term: Option<super::Pointer>,
}

impl TryFrom<RawLeader> for LeaderProbe {
    type Error = String;

    fn try_from(raw: RawLeader) -> Result<Self, String> {
        Ok(Self {
            call: CallTemplate::try_from(RawCall {
                method: raw.method,
                path: raw.path,
                json: raw.json,
                command: raw.command,
                ..RawCall::default()
            })?,
            rules: raw.rules,
            term: raw.term,
        })
    }
}
