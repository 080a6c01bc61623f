//! `/watch`: changes as server-sent events, one event per log entry.
//!
//! An event's id is the log index, so that a client that was cut off goes on from
//! there (`Last-Event-ID`, or `from=`): it misses nothing and gets nothing twice. All
//! changes of one entry stand in one event for the same reason. Where changes are no
//! longer kept, the answer is 410, or a last event `gap`: never silence.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::{Method, Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::body::Body;
use super::reply::{Failure, Reply};
use super::request::checked_key;
use super::routes::Ask;
use crate::env::clock;
use crate::node::Node;
use crate::service::Service;

/// Silence after which a comment is sent, so that both sides notice a dead connection.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// Events that may wait for a slow client; it is not waited for beyond that by
/// anyone but its own task.
const QUEUE: usize = 16;
/// Entries looked through at once.
const BATCH: usize = 512;

/// Which keys are watched.
enum Which {
    Key(Arc<str>),
    Prefix(String),
}

impl Which {
    fn has(&self, key: &str) -> bool {
        match self {
            Which::Key(wanted) => **wanted == *key,
            Which::Prefix(prefix) => key.starts_with(prefix.as_str()),
        }
    }
}

/// Answers with a stream of events.
///
/// # Errors
/// Whatever is to be told the client.
pub async fn watch<S: Service>(ask: &Ask<'_, S>) -> Result<Reply, Failure> {
    ask.only(&[Method::GET], "GET")?;
    let mut fields = ask.fields(&["key", "prefix", "from"])?;
    let which = match (fields.text("key")?, fields.text("prefix")?) {
        (Some(key), None) => Which::Key(checked_key(&key)?),
        (None, Some(prefix)) => Which::Prefix(prefix),
        (None, None) => Which::Prefix(String::new()),
        (Some(_), Some(_)) => return Err(Failure::bad_request("give 'key' or 'prefix', not both")),
    };
    let node = ask.service.node().clone();
    let asked = fields.number("from")?.or(last_event(&ask.parts.headers)?);
    let (after, known) = node.machine().look_at_feed(|feed, applied| {
        let after = asked.unwrap_or(applied);
        (after, feed.after(after).is_some())
    });
    if !known {
        let message = format!(
            "changes after index {after} are no longer kept here: read the keys and watch from there"
        );
        return Err(Failure::new(StatusCode::GONE, "compacted", message));
    }
    let (events, pieces) = mpsc::channel(QUEUE);
    tokio::spawn(tell(node, which, after, events));
    let mut reply = Response::new(Body::Pieces(pieces));
    reply
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    reply
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(reply)
}

/// Where a client says that it was cut off. One that says it in other words must not be
/// taken for one that begins: it would miss what came since.
fn last_event(headers: &HeaderMap) -> Result<Option<u64>, Failure> {
    let Some(id) = headers.get("last-event-id").filter(|id| !id.is_empty()) else {
        return Ok(None);
    };
    let index = id.to_str().ok().and_then(|id| id.trim().parse().ok());
    let wrong = || Failure::bad_request("Last-Event-ID must be the id of an event: a whole number");
    index.map(Some).ok_or_else(wrong)
}

/// What there is to tell after an index.
enum News {
    /// Events, and the index up to which there are no others.
    Events(String, u64),
    /// Some changes are no longer kept.
    Gap,
}

async fn tell(node: Arc<Node>, which: Which, mut after: u64, events: mpsc::Sender<Bytes>) {
    if events
        .send(Bytes::from(format!(": from {after}\n\n")))
        .await
        .is_err()
    {
        return;
    }
    loop {
        let wait = async {
            tokio::select! {
                () = node.machine().wait_applied(after + 1) => true,
                () = node.work().ending() => false,
            }
        };
        let waited = clock::timeout(KEEP_ALIVE, wait).await;
        if waited == Ok(false) {
            return;
        }
        if waited.is_err() {
            if events
                .send(Bytes::from(format!(": at {after}\n\n")))
                .await
                .is_err()
            {
                return;
            }
            continue;
        }
        match news(&node, &which, after) {
            News::Events(text, until) => {
                after = until;
                if !text.is_empty() && events.send(Bytes::from(text)).await.is_err() {
                    return;
                }
            }
            News::Gap => {
                let _ = events
                    .send(Bytes::from(format!("event: gap\nid: {after}\ndata: {{}}\n\n")))
                    .await;
                return;
            }
        }
    }
}

fn news(node: &Node, which: &Which, after: u64) -> News {
    let gathered = node.machine().look_at_feed(|feed, applied| {
        let mut changes = feed.after(after)?.peekable();
        let (mut found, mut looked, mut until) = (Vec::new(), 0, after);
        while let Some((index, change)) = changes.next() {
            looked += 1;
            if which.has(&change.key) {
                found.push((*index, change.clone()));
            }
            // Stop only between entries: half an entry is a gap to whoever resumes.
            let entry_ends = changes.peek().is_none_or(|(next, _)| next != index);
            if entry_ends {
                until = *index;
                if looked >= BATCH {
                    return Some((found, until));
                }
            }
        }
        Some((found, until.max(applied)))
    });
    let Some((found, until)) = gathered else {
        return News::Gap;
    };
    let mut text = String::new();
    for entry in found.chunk_by(|(one, _), (other, _)| one == other) {
        let index = entry[0].0;
        let changes: Vec<Value> = entry
            .iter()
            .map(|(_, change)| json!({ "key": &*change.key, "value": change.value.as_deref() }))
            .collect();
        let data = json!({ "index": index, "changes": changes });
        text.push_str(&format!("id: {index}\ndata: {data}\n\n"));
    }
    News::Events(text, until)
}
