//! Answers: JSON bodies, and errors that say what became of the request.

use std::time::Duration;

use bytes::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderValue, LOCATION, WWW_AUTHENTICATE};
use hyper::{Response, StatusCode};
use serde::Serialize;
use serde_json::{Value, json};

use super::body::Body;
use crate::service::{ReadError, WriteError};

/// An answer ready to be sent.
pub type Reply = Response<Body>;

/// What became of a request that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It had no effect and will have none.
    NotApplied,
    /// It may have taken effect, or may yet.
    Unknown,
}

/// A request that failed.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// The HTTP status.
    pub status: StatusCode,
    /// What kind of failure, one word that programs test.
    pub code: &'static str,
    /// What was wrong and what would mend it, for people.
    pub message: String,
    /// What became of the request.
    pub fate: Fate,
    /// Further fields of the body.
    pub details: Vec<(&'static str, Value)>,
    /// Methods that the path does have, when the one used is not among them.
    pub allow: Option<&'static str>,
    /// Where to go instead.
    pub location: Option<String>,
}

impl Failure {
    /// A failure that had no effect.
    pub fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Failure {
        Failure {
            status,
            code,
            message: message.into(),
            fate: Fate::NotApplied,
            details: Vec::new(),
            allow: None,
            location: None,
        }
    }

    /// 400: the request makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    /// 413: something is longer than it may be.
    pub fn too_large(message: impl Into<String>) -> Failure {
        Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", message)
    }

    /// 404: there is no such key.
    pub fn no_key(key: &str) -> Failure {
        Failure::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("there is no key '{key}'"),
        )
    }

    /// 405: the path exists, the method does not.
    pub fn method(allow: &'static str) -> Failure {
        let mut failure = Failure::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            format!("use one of: {allow}"),
        );
        failure.allow = Some(allow);
        failure
    }

    /// 504: the deadline came first.
    pub fn deadline(after: Duration, fate: Fate) -> Failure {
        let message = format!("no answer within {} ms", after.as_millis());
        Failure {
            fate,
            ..Failure::new(StatusCode::GATEWAY_TIMEOUT, "deadline", message)
        }
    }

    /// The same failure with another field in its body.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: Value) -> Failure {
        self.details.push((name, value));
        self
    }
}

impl From<WriteError> for Failure {
    fn from(error: WriteError) -> Failure {
        let message = error.to_string();
        match error {
            WriteError::NoLeader => Failure::new(StatusCode::SERVICE_UNAVAILABLE, "no_leader", message),
            WriteError::DiskFull => Failure::new(StatusCode::INSUFFICIENT_STORAGE, "disk_full", message),
            WriteError::Busy => Failure::new(StatusCode::SERVICE_UNAVAILABLE, "busy", message),
            WriteError::Timeout => Failure {
                fate: Fate::Unknown,
                ..Failure::new(StatusCode::GATEWAY_TIMEOUT, "deadline", message)
            },
            WriteError::Unknown(_) => Failure {
                fate: Fate::Unknown,
                ..Failure::new(StatusCode::SERVICE_UNAVAILABLE, "unknown", message)
            },
        }
    }
}

impl From<ReadError> for Failure {
    fn from(error: ReadError) -> Failure {
        let message = error.to_string();
        match error {
            ReadError::NoLeader => Failure::new(StatusCode::SERVICE_UNAVAILABLE, "no_leader", message),
            ReadError::Timeout => Failure::new(StatusCode::GATEWAY_TIMEOUT, "deadline", message),
        }
    }
}

impl From<Failure> for Reply {
    fn from(failure: Failure) -> Reply {
        let mut body = json!({ "error": failure.code, "message": failure.message, "outcome": failure.fate });
        for (name, value) in failure.details {
            body[name] = value;
        }
        let mut reply = json_reply(failure.status, &body);
        if let Some(allow) = failure.allow {
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static(allow));
        }
        if failure.status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            reply.headers_mut().insert(WWW_AUTHENTICATE, scheme);
        }
        if let Some(location) = failure
            .location
            .and_then(|location| HeaderValue::from_str(&location).ok())
        {
            reply.headers_mut().insert(LOCATION, location);
        }
        reply
    }
}

/// Adds where in the log an answer comes from.
pub fn at(mut reply: Reply, term: u64, index: u64) -> Reply {
    reply.headers_mut().insert("x-ordeal-term", term.into());
    reply.headers_mut().insert("x-ordeal-index", index.into());
    reply
}

/// A JSON answer.
pub fn json_reply(status: StatusCode, body: &impl Serialize) -> Reply {
    let bytes = serde_json::to_vec(body).expect("answers encode");
    typed(status, "application/json", bytes)
}

/// An answer of this type.
pub fn typed(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Reply {
    let mut reply = Response::new(Body::Whole(Some(body.into())));
    *reply.status_mut() = status;
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    reply
}
