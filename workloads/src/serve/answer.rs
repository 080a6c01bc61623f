//! From a request to its answer.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::channel::Channel;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use tokio::sync::Semaphore;

use super::files::{Folder, content_type, is_report};
use super::frame::{Policy, sorry};
use super::live::Tail;
use super::route::{Query, Route, query, relative};
use super::shelf::{Run, Shelf};
use super::{events, guard, pages, table};

/// Event streams at once: each follows a history of its own.
const STREAMS: usize = 16;
/// How much of a file is in memory at once.
const BLOCK: usize = 64 << 10;
const HTML: &str = "text/html; charset=utf-8";

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A store that is served.
#[derive(Debug)]
pub(super) struct Server {
    root: PathBuf,
    folder: Folder,
    shelf: Shelf,
    /// Names that we go by beside addresses and `localhost`.
    names: Vec<String>,
    streams: Arc<Semaphore>,
}

/// What is sent, before any of it is.
enum Answer {
    /// A page.
    Page(StatusCode, String),
    /// A file of the store.
    File(PathBuf, File),
    /// What happens in the run of this folder.
    Events(PathBuf, File),
}

impl Server {
    pub(super) fn open(root: PathBuf, names: Vec<String>) -> io::Result<Self> {
        Ok(Self {
            folder: Folder::open(&root)?,
            shelf: Shelf::new(root.clone()),
            root,
            names,
            streams: Arc::new(Semaphore::new(STREAMS)),
        })
    }

    /// Answers; whatever is wrong is an answer, too.
    pub(super) async fn respond(self: Arc<Self>, request: Request<Incoming>) -> Response<Body> {
        let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let method = request.method().clone();
        if let Some((status, why)) = guard::refuse(&method, host, &self.names) {
            let mut refused = whole(status, HTML, Policy::Page, sorry(why));
            if status == StatusCode::METHOD_NOT_ALLOWED {
                refused
                    .headers_mut()
                    .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            }
            return refused;
        }
        let route = Route::of(request.uri().path());
        let asked = query_of(request.uri().query().unwrap_or_default());
        let server = self.clone();
        // The disk may be slow, and a page is built from many files.
        let answer = tokio::task::spawn_blocking(move || server.answer(route, &asked)).await;
        let answer = answer.unwrap_or_else(|error| {
            tracing::error!(%error, "a page could not be made");
            Answer::Page(
                StatusCode::INTERNAL_SERVER_ERROR,
                sorry("this page could not be made"),
            )
        });
        let mut response = match answer {
            Answer::Page(status, text) => whole(status, HTML, Policy::Page, text),
            Answer::File(path, file) => send(&path, file),
            Answer::Events(folder, file) => match self.streams.clone().try_acquire_owned() {
                Ok(place) if method == Method::GET => events::stream(Tail::new(file), folder, place),
                Ok(_) => whole(StatusCode::OK, events::TYPE, Policy::File, String::new()),
                Err(_) => whole(
                    StatusCode::SERVICE_UNAVAILABLE,
                    HTML,
                    Policy::Page,
                    sorry("too many live views are open; close one"),
                ),
            },
        };
        if method == Method::HEAD {
            *response.body_mut() = Full::new(Bytes::new()).boxed_unsync();
        }
        response
    }

    fn answer(&self, route: Option<Route>, query: &Asked) -> Answer {
        let found = match route {
            Some(Route::Runs) => Some(page(table::runs(self.shelf.runs(), &query.single))),
            Some(Route::Run(path)) => self
                .shelf
                .run(&path)
                .map(|run| page(pages::run(&run, &self.root.join(&run.path)))),
            Some(Route::Compare) => return self.compare(query),
            Some(Route::File(path)) => match self.folder.file(&path) {
                Ok(file) => Some(Answer::File(path, file)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => None,
                Err(error) => {
                    let text = sorry(&format!("this file cannot be read: {error}"));
                    return Answer::Page(StatusCode::FORBIDDEN, text);
                }
            },
            Some(Route::Live(path)) => self.history(&path).map(|(run, file)| {
                let mut tail = Tail::new(file);
                match tail.read() {
                    Ok(()) => page(pages::live(&run, &tail.view())),
                    Err(error) => page(sorry(&format!("the history cannot be followed: {error}"))),
                }
            }),
            Some(Route::Events(path)) => self
                .history(&path)
                .map(|(run, file)| Answer::Events(self.root.join(&run.path), file)),
            None => None,
        };
        found.unwrap_or_else(|| {
            Answer::Page(
                StatusCode::NOT_FOUND,
                sorry("nothing is here; a run that only just began has no history yet"),
            )
        })
    }

    fn history(&self, path: &Path) -> Option<(Run, File)> {
        let run = self.shelf.run(path)?;
        let file = self
            .folder
            .file(&Path::new(&run.path).join("history.jsonl"))
            .ok()?;
        Some((run, file))
    }

    fn compare(&self, query: &Asked) -> Answer {
        let [a, b] = &query.runs[..] else {
            let text = sorry("mark two runs in the table, no more and no fewer, to compare them");
            return Answer::Page(StatusCode::BAD_REQUEST, text);
        };
        let run = |name: &str| relative(name).and_then(|path| self.shelf.run(&path));
        match (run(a), run(b)) {
            (Some(a), Some(b)) => page(pages::compare(&a, &b)),
            _ => Answer::Page(StatusCode::NOT_FOUND, sorry("one of these runs is not here")),
        }
    }
}

/// A query: the last value of each name, and all values of `run`.
struct Asked {
    single: Query,
    runs: Vec<String>,
}

fn query_of(text: &str) -> Asked {
    Asked {
        single: query(text),
        runs: form_urlencoded::parse(text.as_bytes())
            .filter(|(name, _)| name == "run")
            .map(|(_, value)| value.into_owned())
            .collect(),
    }
}

fn page(text: String) -> Answer {
    Answer::Page(StatusCode::OK, text)
}

pub(super) fn response(status: StatusCode, kind: &'static str, policy: Policy, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    guard::protect(response.headers_mut(), policy.text());
    response
}

fn whole(status: StatusCode, kind: &'static str, policy: Policy, text: String) -> Response<Body> {
    let length = text.len();
    let mut response = response(status, kind, policy, Full::new(Bytes::from(text)).boxed_unsync());
    response
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}

/// Sends a file, block by block, as long as it is now: a history may grow meanwhile.
fn send(path: &Path, file: File) -> Response<Body> {
    let length = file.metadata().map_or(0, |file| file.len());
    let policy = if is_report(path) {
        Policy::Report
    } else {
        Policy::File
    };
    let (mut sender, body) = Channel::<Bytes, Infallible>::new(2);
    let mut file = Some(file.take(length));
    tokio::spawn(async move {
        while let Some(mut reader) = file.take() {
            let read = tokio::task::spawn_blocking(move || {
                let mut block = Vec::with_capacity(BLOCK);
                let read = reader.by_ref().take(BLOCK as u64).read_to_end(&mut block);
                (reader, read.map(|_| block))
            });
            match read.await {
                Ok((reader, Ok(block))) if !block.is_empty() => {
                    // Who has gone away needs no more.
                    if sender.send_data(Bytes::from(block)).await.is_err() {
                        return;
                    }
                    file = Some(reader);
                }
                // The answer ends early, and its length tells.
                _ => return,
            }
        }
    });
    let mut response = response(StatusCode::OK, content_type(path), policy, body.boxed_unsync());
    response
        .headers_mut()
        .insert(CONTENT_LENGTH, HeaderValue::from(length));
    response
}
