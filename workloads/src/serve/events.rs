//! A run under way as server-sent events.

use std::convert::Infallible;
use std::path::PathBuf;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use hyper::{Response, StatusCode};
use tokio::sync::OwnedSemaphorePermit;

use super::answer::{Body, response};
use super::frame::Policy;
use super::live::Tail;

/// The type of event streams.
pub(super) const TYPE: &str = "text/event-stream";
/// How often a view is sent.
const EVERY: Duration = Duration::from_millis(500);
/// A history that did not grow for so long belongs to a run that was killed: the longest check, and time to heal.
const LOST: Duration = Duration::from_secs(300);

/// Sends a view twice a second until the run in `folder` has its results, was killed, or nobody listens.
pub(super) fn stream(tail: Tail, folder: PathBuf, place: OwnedSemaphorePermit) -> Response<Body> {
    let (mut sender, body) = Channel::<Bytes, Infallible>::new(2);
    tokio::spawn(async move {
        let mut tail = Some(tail);
        let mut still = Duration::ZERO;
        let mut last = None;
        while let Some(mut following) = tail.take() {
            let results = folder.join("results.json");
            let read = tokio::task::spawn_blocking(move || {
                // Asked first: what was written before the results is read for certain.
                let over = results.is_file();
                let read = following.read();
                (following, read, over)
            });
            let Ok((following, read, over)) = read.await else {
                return;
            };
            let view = following.view();
            still = if last.as_ref() == Some(&view) {
                still + EVERY
            } else {
                Duration::ZERO
            };
            let json = serde_json::to_string(&view).expect("a view is plain data");
            let mut text = format!("event: view\ndata: {json}\n\n");
            last = Some(view);
            if over {
                text.push_str("event: over\ndata: the verdict is there\n\n");
            } else if let Err(error) = &read {
                let why = error.to_string().replace(['\n', '\r'], " ");
                text.push_str(&format!(
                    "event: lost\ndata: the history cannot be followed: {why}\n\n"
                ));
            } else if still >= LOST {
                text.push_str("event: lost\ndata: nothing was added for long: the run was killed\n\n");
            }
            // Who has gone away needs no more.
            if sender.send_data(Bytes::from(text)).await.is_err() {
                break;
            }
            if !over && read.is_ok() && still < LOST {
                tail = Some(following);
                tokio::time::sleep(EVERY).await;
            }
        }
        drop(place);
    });
    response(StatusCode::OK, TYPE, Policy::File, body.boxed_unsync())
}
