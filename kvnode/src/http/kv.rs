//! The keys: writing, reading, scanning.

use std::sync::Arc;

use hyper::{Method, StatusCode};
use serde_json::{Value, json};

use super::reply::{Failure, Fate, Reply, at, json_reply, typed};
use super::request::{Fields, checked_key, checked_value, percent_decoded};
use super::routes::Ask;
use crate::command::{
    Applied, Command, Expected, MAX_TXN_BYTES, MAX_TXN_STEPS, Operation, Outcome, Txn, Versioned,
};
use crate::env::clock;
use crate::node::Node;
use crate::service::{Level, Service};

/// Most entries in the answer of a scan.
const MAX_SCAN: u64 = 1000;
/// Most bytes of keys and values in it; one entry always fits.
const MAX_SCAN_BYTES: usize = 4 << 20;
/// Longest time to live: 100 years, ms.
const MAX_TTL_MS: u64 = 100 * 365 * 24 * 60 * 60 * 1000;

/// A route that writes: its fields besides the common ones, and the operation that
/// they make.
pub struct WriteRoute {
    fields: &'static [&'static str],
    operation: fn(&mut Fields) -> Result<Operation, Failure>,
}

/// `/set`
pub const SET: WriteRoute = WriteRoute {
    fields: &["key", "value", "ttl_ms", "deadline_ms", "forward"],
    operation: set,
};
/// `/cas`
pub const CAS: WriteRoute = WriteRoute {
    fields: &[
        "key",
        "value",
        "expected",
        "expected_version",
        "deadline_ms",
        "forward",
    ],
    operation: cas,
};
/// `/append`
pub const APPEND: WriteRoute = WriteRoute {
    fields: &["key", "value", "deadline_ms", "forward"],
    operation: append,
};
/// `/delete`
pub const DELETE: WriteRoute = WriteRoute {
    fields: &["key", "deadline_ms", "forward"],
    operation: delete,
};
/// `/txn`
pub const TXN: WriteRoute = WriteRoute {
    fields: &["compare", "then", "else", "deadline_ms", "forward"],
    operation: txn,
};

/// A request that writes.
///
/// # Errors
/// Whatever is to be told the client.
pub async fn write<S: Service>(ask: &Ask<'_, S>, route: WriteRoute) -> Result<Reply, Failure> {
    // HEAD asks what GET would answer, and nobody who asks that means to write.
    if ask.parts.method == Method::HEAD {
        return Err(Failure::method("GET, POST"));
    }
    ask.only(&[Method::GET, Method::POST], "GET, POST")?;
    let mut fields = ask.fields(route.fields)?;
    let request = ask.request_id()?;
    let operation = (route.operation)(&mut fields)?;
    let (_, deadline) = ask.deadline(&mut fields)?;
    ask.redirect(&mut fields)?;
    let command = Command {
        request,
        ..Command::new(operation)
    };
    let written = ask.service.write(command, deadline).await;
    let applied = written.map_err(|error| ask.service.as_told(error))?;
    let answered = told(&applied).map(|body| json_reply(StatusCode::OK, &body));
    Ok(located(answered.unwrap_or_else(Reply::from), &applied))
}

fn set(fields: &mut Fields) -> Result<Operation, Failure> {
    let ttl_ms = fields.number("ttl_ms")?;
    if ttl_ms.is_some_and(|ttl| ttl == 0 || ttl > MAX_TTL_MS) {
        return Err(Failure::bad_request(format!(
            "'ttl_ms' must be 1 to {MAX_TTL_MS}"
        )));
    }
    Ok(Operation::Set {
        key: fields.key()?,
        value: fields.value()?,
        ttl_ms,
    })
}

fn cas(fields: &mut Fields) -> Result<Operation, Failure> {
    let expected = expected(fields)?;
    Ok(Operation::Cas {
        key: fields.key()?,
        expected,
        value: fields.value()?,
    })
}

fn append(fields: &mut Fields) -> Result<Operation, Failure> {
    Ok(Operation::Append {
        key: fields.key()?,
        value: fields.value()?,
    })
}

fn delete(fields: &mut Fields) -> Result<Operation, Failure> {
    Ok(Operation::Delete { key: fields.key()? })
}

fn expected(fields: &mut Fields) -> Result<Expected, Failure> {
    if fields.has("expected") && fields.has("expected_version") {
        return Err(Failure::bad_request(
            "give 'expected' or 'expected_version', not both",
        ));
    }
    if fields.is_null("expected") {
        return Ok(Expected::Absent);
    }
    if let Some(value) = fields.text("expected")? {
        return Ok(Expected::Value(checked_value(&value)?));
    }
    match fields.number("expected_version")? {
        // No write has index 0, so nothing has version 0.
        Some(0) => Ok(Expected::Absent),
        Some(version) => Ok(Expected::Version(version)),
        None => Err(Failure::bad_request(
            "the field 'expected' (or 'expected_version') is missing",
        )),
    }
}

fn txn(fields: &mut Fields) -> Result<Operation, Failure> {
    let compare = fields.objects("compare", &["key", "expected", "expected_version"])?;
    let steps = &["op", "key", "value", "ttl_ms"];
    let (then, otherwise) = (fields.objects("then", steps)?, fields.objects("else", steps)?);
    let count = compare.len() + then.len() + otherwise.len();
    if count == 0 {
        return Err(Failure::bad_request(
            "a transaction without 'compare', 'then' or 'else' does nothing",
        ));
    }
    if count > MAX_TXN_STEPS {
        return Err(Failure::too_large(format!(
            "the transaction has {count} parts, at most {MAX_TXN_STEPS} are taken"
        )));
    }
    let compare = compare
        .into_iter()
        .map(|mut fields| Ok((fields.key()?, expected(&mut fields)?)));
    let txn = Txn {
        compare: compare.collect::<Result<_, Failure>>()?,
        then: then.into_iter().map(step).collect::<Result<_, _>>()?,
        otherwise: otherwise.into_iter().map(step).collect::<Result<_, _>>()?,
    };
    let operation = Operation::Txn(Arc::new(txn));
    if operation.weight() > MAX_TXN_BYTES {
        return Err(Failure::too_large(format!(
            "the transaction has more than {MAX_TXN_BYTES} bytes"
        )));
    }
    Ok(operation)
}

fn step(mut fields: Fields) -> Result<Operation, Failure> {
    let name = fields.text("op")?;
    let operation = match name.as_deref() {
        Some("get") => Operation::Get { key: fields.key()? },
        Some("set") => set(&mut fields)?,
        Some("append") => append(&mut fields)?,
        Some("delete") => delete(&mut fields)?,
        _ => return Err(Failure::bad_request("'op' must be get, set, append or delete")),
    };
    match fields.rest() {
        None => Ok(operation),
        Some(field) => Err(Failure::bad_request(format!(
            "the step '{}' has no field '{field}'",
            name.unwrap_or_default()
        ))),
    }
}

fn located(reply: Reply, applied: &Applied) -> Reply {
    let mut reply = at(reply, applied.term, applied.index);
    if applied.repeated {
        reply.headers_mut().insert("x-ordeal-repeated", 1.into());
    }
    reply
}

/// What to tell of an applied command.
fn told(applied: &Applied) -> Result<Value, Failure> {
    let index = applied.index;
    match &applied.outcome {
        Outcome::Written => Ok(json!({ "ok": true, "version": index, "index": index })),
        Outcome::Deleted(existed) => Ok(json!({ "ok": true, "deleted": existed, "index": index })),
        Outcome::Txn { succeeded, steps } => {
            let steps: Vec<Value> = steps.iter().map(|step| told_step(step, index)).collect();
            Ok(json!({ "ok": true, "succeeded": succeeded, "results": steps, "index": index }))
        }
        Outcome::Mismatch { current } => {
            let value = current.as_ref().map(|current| &*current.value);
            let version = current.as_ref().map(|current| current.version);
            let message = "the key is not as expected; nothing was written";
            Err(Failure::new(StatusCode::CONFLICT, "mismatch", message)
                .with("current", json!(value))
                .with("version", json!(version))
                .with("index", json!(index)))
        }
        Outcome::TooLong => Err(Failure::too_large(
            "the value would be longer than 1 MiB; nothing was written",
        )),
        Outcome::Reused => Err(Failure::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "key_reused",
            "this Idempotency-Key was used for another request; nothing was done",
        )),
        Outcome::Forgotten => Err(Failure {
            fate: Fate::Unknown,
            ..Failure::new(
                StatusCode::GONE,
                "key_expired",
                "this Idempotency-Key is older than what is remembered: whether the request was applied is not known, and it is not applied now; for a new request use another client name",
            )
        }),
        Outcome::TooManyClients => Err(Failure::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_many_clients",
            "more clients use Idempotency-Key than are remembered; nothing was done",
        )),
        Outcome::Nothing | Outcome::Read(_) | Outcome::Repeated { .. } => {
            unreachable!("no route that writes answers {:?}", applied.outcome)
        }
    }
}

fn told_step(step: &Outcome, index: u64) -> Value {
    match step {
        Outcome::Written => json!({ "version": index }),
        Outcome::Deleted(existed) => json!({ "deleted": existed }),
        Outcome::Read(entry) => {
            let version = entry.as_ref().map(|entry| entry.version);
            json!({ "value": entry.as_ref().map(|entry| &*entry.value), "version": version })
        }
        other => unreachable!("no step answers {other:?}"),
    }
}

/// A key as it was, and where in the log that was read.
struct Read {
    term: u64,
    index: u64,
    entry: Option<Versioned>,
    lag_ms: Option<u64>,
}

const GET_FIELDS: &[&str] = &["key", "level", "raw", "min_index", "deadline_ms", "forward"];

/// `/get`
///
/// # Errors
/// Whatever is to be told the client.
pub async fn get<S: Service>(ask: &Ask<'_, S>) -> Result<Reply, Failure> {
    ask.only(&[Method::GET], "GET")?;
    let mut fields = ask.fields(GET_FIELDS)?;
    let key = fields.key()?;
    let raw = fields.flag("raw", false)?;
    let read = read(ask, &key, &mut fields).await?;
    let reply = match &read.entry {
        None => Failure::no_key(&key).into(),
        Some(entry) if raw => typed(
            StatusCode::OK,
            "text/plain; charset=utf-8",
            entry.value.as_bytes().to_vec(),
        ),
        Some(entry) => {
            let body = json!({ "key": &*key, "value": &*entry.value, "version": entry.version });
            json_reply(StatusCode::OK, &body)
        }
    };
    Ok(dated(reply, &read))
}

fn dated(reply: Reply, read: &Read) -> Reply {
    lagging(at(reply, read.term, read.index), read.lag_ms)
}

/// How old the local state may be, where nothing was done to make it fresh.
fn lag_ms(node: &Node, level: Option<&str>) -> Option<u64> {
    let lag = (level == Some("stale")).then(|| node.lag()).flatten()?;
    Some(u64::try_from(lag.as_millis()).unwrap_or(u64::MAX))
}

fn lagging(mut reply: Reply, lag_ms: Option<u64>) -> Reply {
    if let Some(lag) = lag_ms {
        reply.headers_mut().insert("x-ordeal-lag-ms", lag.into());
    }
    reply
}

async fn read<S: Service>(ask: &Ask<'_, S>, key: &Arc<str>, fields: &mut Fields) -> Result<Read, Failure> {
    let node = ask.service.node();
    let level = fields.text("level")?;
    let (_, deadline) = ask.deadline(fields)?;
    freshen(ask, level.as_deref(), fields, deadline).await?;
    if level.as_deref() == Some("log") {
        let command = Command::new(Operation::Get { key: key.clone() });
        let applied = ask.service.write(command, deadline).await.map_err(|error| {
            // Whatever became of the entry, it changes nothing.
            Failure {
                fate: Fate::NotApplied,
                ..Failure::from(error)
            }
        })?;
        let Outcome::Read(entry) = applied.outcome else {
            unreachable!("a read answers with a value")
        };
        return Ok(Read {
            term: applied.term,
            index: applied.index,
            entry,
            lag_ms: None,
        });
    }
    let lag_ms = lag_ms(node, level.as_deref());
    let (index, entry) = node
        .machine()
        .look(|state| (state.applied(), state.get(key).cloned()));
    Ok(Read {
        term: node.term(),
        index,
        entry,
        lag_ms,
    })
}

/// Brings the local state to the level asked for (`log` needs nothing: the log does it).
async fn freshen<S: Service>(
    ask: &Ask<'_, S>,
    level: Option<&str>,
    fields: &mut Fields,
    deadline: clock::Instant,
) -> Result<(), Failure> {
    let level = match level {
        None | Some("linearizable") => Some(Level::Linearizable),
        Some("lease") => Some(Level::Lease),
        Some("stale") => Some(Level::Stale),
        Some("log") => None,
        Some(_) => {
            return Err(Failure::bad_request(
                "'level' must be linearizable, lease, stale or log",
            ));
        }
    };
    let min_index = fields.number("min_index")?;
    if level != Some(Level::Stale) {
        ask.redirect(fields)?;
    }
    if let Some(index) = min_index {
        let applied = ask.service.node().machine().wait_applied(index);
        clock::until(deadline, applied).await.map_err(|_| {
            let message = format!("index {index} was not applied here before the deadline");
            Failure::new(StatusCode::GATEWAY_TIMEOUT, "deadline", message)
        })?;
    }
    match level {
        Some(level) => Ok(ask.service.freshen(level, deadline).await?),
        None => Ok(()),
    }
}

/// `/scan`
///
/// # Errors
/// Whatever is to be told the client.
pub async fn scan<S: Service>(ask: &Ask<'_, S>) -> Result<Reply, Failure> {
    ask.only(&[Method::GET], "GET")?;
    let mut fields = ask.fields(&[
        "prefix",
        "after",
        "limit",
        "level",
        "min_index",
        "deadline_ms",
        "forward",
    ])?;
    let prefix = fields.text("prefix")?.unwrap_or_default();
    let after = fields.text("after")?;
    let limit = fields.number("limit")?.unwrap_or(100);
    if limit == 0 || limit > MAX_SCAN {
        return Err(Failure::bad_request(format!("'limit' must be 1 to {MAX_SCAN}")));
    }
    let level = fields.text("level")?;
    if level.as_deref() == Some("log") {
        return Err(Failure::bad_request(
            "a scan has no level 'log': use linearizable, lease or stale",
        ));
    }
    let (_, deadline) = ask.deadline(&mut fields)?;
    freshen(ask, level.as_deref(), &mut fields, deadline).await?;
    let node = ask.service.node();
    let lag_ms = lag_ms(node, level.as_deref());
    // A clone shares the map, so that the lock is not held while we gather.
    let state = node.machine().look(Clone::clone);
    let (mut entries, mut bytes, mut more) = (Vec::new(), 0, false);
    for (key, entry) in state.scan(&prefix, after.as_deref()) {
        bytes += key.len() + entry.value.len();
        if entries.len() as u64 == limit || (bytes > MAX_SCAN_BYTES && !entries.is_empty()) {
            more = true;
            break;
        }
        entries.push(json!({ "key": &**key, "value": &*entry.value, "version": entry.version }));
    }
    let body = json!({ "entries": entries, "more": more, "index": state.applied() });
    let reply = at(json_reply(StatusCode::OK, &body), node.term(), state.applied());
    Ok(lagging(reply, lag_ms))
}

/// `/kvraft/:key`
///
/// # Errors
/// Whatever is to be told the client.
pub async fn kvraft<S: Service>(ask: &Ask<'_, S>, key: &str) -> Result<Reply, Failure> {
    ask.only(&[Method::GET, Method::POST, Method::DELETE], "GET, POST, DELETE")?;
    let key = checked_key(&percent_decoded(key)?)?;
    if matches!(ask.parts.method, Method::GET | Method::HEAD) {
        let mut fields = ask.fields(&["level", "min_index", "deadline_ms", "forward"])?;
        let read = read(ask, &key, &mut fields).await?;
        let reply = match &read.entry {
            None => Failure::no_key(&key).into(),
            Some(entry) => json_reply(StatusCode::OK, &json!({ "value": &*entry.value })),
        };
        return Ok(dated(reply, &read));
    }
    let mut fields = ask.fields(&["value", "deadline_ms", "forward"])?;
    let operation = if ask.parts.method == Method::DELETE {
        Operation::Delete { key: key.clone() }
    } else {
        Operation::Set {
            key: key.clone(),
            value: fields.value()?,
            ttl_ms: None,
        }
    };
    let (_, deadline) = ask.deadline(&mut fields)?;
    ask.redirect(&mut fields)?;
    let command = Command {
        request: ask.request_id()?,
        ..Command::new(operation)
    };
    let applied = ask.service.write(command, deadline).await?;
    let reply = match (&applied.outcome, told(&applied)) {
        (Outcome::Deleted(false), _) => Failure::no_key(&key).into(),
        (_, Ok(_)) => json_reply(StatusCode::OK, &json!({ "success": true })),
        (_, Err(failure)) => failure.into(),
    };
    Ok(located(reply, &applied))
}
