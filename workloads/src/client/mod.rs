//! The client under test: speaks one operation to one node and says what came of it.
//!
//! It never retries and never follows a redirect, since either would hide what the store did. An error
//! before the connection stood is `fail`, since nothing was sent; any later one leaves the outcome open.
//!
//! What differs between stores is the `Transport`: it carries one request to one node and brings back one
//! whole answer. What an operation is made of and what its answers mean stands in the system file.

mod http;
mod nats;
mod pool;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "redis")]
mod redis;
mod stdin_json;
mod zookeeper;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use checker::history::Value;
use serde_json::Value as Json;
use tokio::time::Instant;

use crate::cluster::Network;
use crate::generator::Invocation;
use crate::system::{
    Answer, Bindings, Call, DriverKind, LeaderProbe, Operation, Outcome, Ruling, Step, Stream, System,
    classify, is_read, unmatched,
};
use http::Heard;

/// How long a watch listens before it says what it heard; the next one goes on from there.
const LISTENS: Duration = Duration::from_millis(700);

/// Carries requests to nodes.
pub(crate) trait Transport {
    /// Sends one request to the node at `node` and returns its whole answer, however long that takes: whoever asks
    /// decides how long to wait, and drops the exchange then.
    ///
    /// # Errors
    /// When there was none; says whether the request may have reached the node.
    fn exchange(&self, node: SocketAddr, call: Call) -> impl Future<Output = Result<Answer, Lost>> + Send;
}

/// There was no whole answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lost {
    /// Whether anything of the request may have reached the node.
    pub(crate) sent: bool,
    /// What happened.
    pub(crate) error: String,
}

impl Lost {
    /// The request was never written.
    pub(crate) fn unsent(error: impl ToString) -> Self {
        Self {
            sent: false,
            error: error.to_string(),
        }
    }

    /// The request was written, or part of it.
    pub(crate) fn underway(error: impl ToString) -> Self {
        Self {
            sent: true,
            error: error.to_string(),
        }
    }
}

/// A system that this build cannot speak to.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// The HTTP client cannot be set up.
    #[error("the HTTP client cannot be set up: {0}")]
    Http(#[from] reqwest::Error),
    /// The native client was left out of this build.
    #[error("this build has no {name} client: build workloads with `--features {name}`")]
    LeftOut {
        /// The feature.
        name: &'static str,
    },
}

/// A client of one store.
#[derive(Debug, Clone)]
pub struct Client {
    wire: Arc<Wire>,
    http: http::Http,
    patience: Duration,
}

/// The transport of a store.
#[derive(Debug)]
enum Wire {
    Http,
    #[cfg(feature = "redis")]
    Redis(redis::Redis),
    #[cfg(feature = "postgres")]
    Postgres(postgres::Postgres),
    Zookeeper(zookeeper::Zookeeper),
    Nats(nats::Nats),
    StdinJson(stdin_json::Inside),
}

/// Says that a native client was left out, where it was.
#[allow(unused_macros)]
macro_rules! left_out {
    ($name:literal) => {
        return Err(ClientError::LeftOut { name: $name })
    };
}

impl Client {
    /// A client of stores that speak HTTP, which gives up on an operation after `patience`.
    ///
    /// # Errors
    /// When the HTTP client cannot be set up.
    pub fn new(patience: Duration) -> Result<Self, ClientError> {
        Self::speaking(DriverKind::Http, patience)
    }

    /// A client that speaks what `driver` says and gives up on an operation after `patience`.
    ///
    /// # Errors
    /// When it was left out of this build or cannot be set up.
    pub fn speaking(driver: DriverKind, patience: Duration) -> Result<Self, ClientError> {
        let wire = match driver {
            DriverKind::Http | DriverKind::StdinJson => Wire::Http,
            #[cfg(feature = "redis")]
            DriverKind::Redis => Wire::Redis(redis::Redis::default()),
            #[cfg(not(feature = "redis"))]
            DriverKind::Redis => left_out!("redis"),
            #[cfg(feature = "postgres")]
            DriverKind::Postgres => Wire::Postgres(postgres::Postgres::default()),
            #[cfg(not(feature = "postgres"))]
            DriverKind::Postgres => left_out!("postgres"),
            DriverKind::Zookeeper => Wire::Zookeeper(zookeeper::Zookeeper::default()),
            DriverKind::Nats => Wire::Nats(nats::Nats::default()),
        };
        Self::over(wire, patience)
    }

    /// A client of nodes whose network is in the runner.
    pub(crate) fn inside(network: Arc<Network>, patience: Duration) -> Result<Self, ClientError> {
        Self::over(Wire::StdinJson(stdin_json::Inside(network)), patience)
    }

    fn over(wire: Wire, patience: Duration) -> Result<Self, ClientError> {
        Ok(Self {
            wire: Arc::new(wire),
            http: http::Http::new(patience)?,
            patience,
        })
    }

    /// Speaks `invocation` to the node at `address`.
    pub async fn invoke(&self, system: &System, address: SocketAddr, invocation: &Invocation) -> Outcome {
        let Some(operation) = system.speaks(invocation.f, &invocation.value) else {
            let error = format!("system `{}` has no operation `{}`", system.name, invocation.f);
            return Outcome::Fail { error };
        };
        let said = Said {
            reads_only: is_read(invocation.f),
            named: invocation.repeat.is_some(),
        };
        self.perform(system, address, operation, said, bind(system, invocation))
            .await
    }

    /// Goes through the steps of `operation`.
    async fn perform(
        &self,
        system: &System,
        address: SocketAddr,
        operation: &Operation,
        said: Said,
        mut bindings: Bindings<'_>,
    ) -> Outcome {
        let deadline = Instant::now() + self.patience;
        // Whether a request that may have changed something has been answered already.
        let mut wrote = false;
        for step in &operation.steps {
            let reads_only = said.reads_only || step.reads_only;
            let call = step.call.fill(&bindings, said.named);
            if let Some(stream) = &step.stream {
                return self.follow(system, address, step, stream, call, &bindings).await;
            }
            let answer = match tokio::time::timeout_at(deadline, self.exchange(address, call)).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(lost)) => return lost_outcome(wrote || (lost.sent && !reads_only), lost.error),
                Err(_) => return lost_outcome(wrote || !reads_only, "timeout".to_owned()),
            };
            match classify(&step.rules, &answer, system.values.encode, &bindings) {
                Some(Ruling::Done(outcome)) => return outcome,
                Some(Ruling::Next(found)) => {
                    // What was captured belongs to the answer; its names belong to the file.
                    for (name, json) in found {
                        bindings = bindings.json(name_in(operation, name), json);
                    }
                    wrote |= !reads_only;
                }
                None => return unmatched(reads_only && !wrote, &answer),
            }
        }
        lost_outcome(wrote, "the last step went on to nowhere".to_owned())
    }

    /// Hears what a stream tells, for a while, or until it told a revision that the watch asks for.
    async fn follow(
        &self,
        system: &System,
        node: SocketAddr,
        step: &Step,
        stream: &Stream,
        call: Call,
        bindings: &Bindings<'_>,
    ) -> Outcome {
        let wanted = bindings.number("to");
        let until = Instant::now() + self.patience.min(LISTENS);
        let heard = self
            .http
            .follow(node, call, stream, system.values.encode, until, wanted)
            .await;
        let told = match heard {
            Ok(Heard::Changes(told)) => told,
            Ok(Heard::Other(answer)) => {
                return match classify(&step.rules, &answer, system.values.encode, bindings) {
                    Some(Ruling::Done(outcome)) => outcome,
                    _ => unmatched(true, &answer),
                };
            }
            Err(lost) => return lost_outcome(false, lost.error),
        };
        let last = told.iter().map(|(rev, ..)| *rev).max();
        if let Some(wanted) = wanted
            && last < Some(wanted)
        {
            let error = format!("revision {wanted} was not told within {LISTENS:?}");
            return Outcome::Fail { error };
        }
        let told = told
            .into_iter()
            .map(|(rev, key, value)| Value::List(vec![Value::Int(rev), key, value]));
        Outcome::told(Value::List(told.collect()))
    }

    /// Whether the node says that it can serve; else what it says.
    ///
    /// # Errors
    /// What it said, or why it said nothing; none where nobody listens.
    pub async fn is_ready(&self, system: &System, mut node: SocketAddr) -> Result<(), Option<String>> {
        if let Wire::StdinJson(inside) = &*self.wire {
            let quiet = || Some("it has not answered its init".to_owned());
            return if inside.0.is_ready(node) {
                Ok(())
            } else {
                Err(quiet())
            };
        }
        let Some(ready) = &system.ready else { return Ok(()) };
        let Some(call) = ready.call() else { return Ok(()) };
        if let Some(port) = ready.port {
            node.set_port(port);
        }
        let asked = tokio::time::timeout(
            self.patience,
            self.exchange(node, call.fill(&bind_params(system), false)),
        );
        let answer = match asked.await {
            Ok(Ok(answer)) => answer,
            Ok(Err(lost)) => return Err(lost.sent.then_some(lost.error)),
            Err(_) => return Err(Some(format!("no answer within {:?}", self.patience))),
        };
        if ready.is_met(&answer) {
            return Ok(());
        }
        Err(Some(format!("it says {answer}")))
    }

    /// Sends the request that sets up a store of so many nodes.
    ///
    /// # Errors
    /// What the store said.
    pub async fn set_up(
        &self,
        system: &System,
        setup: &Operation,
        node: SocketAddr,
        nodes: usize,
    ) -> Result<(), String> {
        let bindings = bind_params(system).text("nodes", nodes.to_string());
        let said = Said {
            reads_only: false,
            named: false,
        };
        match self.perform(system, node, setup, said, bindings).await {
            Outcome::Ok { .. } => Ok(()),
            Outcome::Mismatch { .. } => Err("mismatch".to_owned()),
            Outcome::Fail { error } | Outcome::Info { error } => Err(error),
        }
    }

    /// What the node at `node` says about who leads; none where it says nothing that can be understood.
    pub(crate) async fn standing(
        &self,
        system: &System,
        probe: &LeaderProbe,
        node: SocketAddr,
    ) -> Option<Standing> {
        let call = probe.call.fill(&bind_params(system), false);
        let asked = tokio::time::timeout(self.patience, self.exchange(node, call));
        let answer = asked.await.ok()?.ok()?;
        let ruled = classify(
            &probe.rules,
            &answer,
            crate::system::Encoding::String,
            &Bindings::new(),
        );
        let leader = match ruled {
            Some(Ruling::Done(Outcome::Ok { value: None, .. })) => Leader::Itself,
            Some(Ruling::Done(Outcome::Ok {
                value: Some(Value::Str(name)),
                ..
            })) => Leader::Named(name.to_string()),
            _ => Leader::Another,
        };
        let term = probe.term.as_ref().and_then(|pointer| answer.number_at(pointer));
        Some(Standing { leader, term })
    }

    /// GETs `path` from the node at `address`.
    ///
    /// # Errors
    /// When there was no whole answer.
    pub async fn get(&self, address: SocketAddr, path: &str) -> reqwest::Result<(u16, Json)> {
        self.http.get(address, path).await
    }

    async fn exchange(&self, node: SocketAddr, call: Call) -> Result<Answer, Lost> {
        match &*self.wire {
            Wire::Http => self.http.exchange(node, call).await,
            #[cfg(feature = "redis")]
            Wire::Redis(wire) => wire.exchange(node, call).await,
            #[cfg(feature = "postgres")]
            Wire::Postgres(wire) => wire.exchange(node, call).await,
            Wire::Zookeeper(wire) => wire.exchange(node, call).await,
            Wire::Nats(wire) => wire.exchange(node, call).await,
            Wire::StdinJson(wire) => wire.exchange(node, call).await,
        }
    }
}

/// How an operation is said.
#[derive(Debug, Clone, Copy)]
struct Said {
    /// It changes nothing, so that losing an answer loses nothing.
    reads_only: bool,
    /// It has a name that all its attempts share.
    named: bool,
}

/// What a node says about who leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Standing {
    /// Who leads, as this node has it.
    pub(crate) leader: Leader,
    /// The term or epoch that it is in, where it tells.
    pub(crate) term: Option<u64>,
}

/// Who leads, as a node has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Leader {
    /// The node asked.
    Itself,
    /// The node of this name.
    Named(String),
    /// Not the node asked; it does not say who.
    Another,
}

/// The name as the operation holds it, which outlives the answer.
fn name_in<'a>(operation: &'a Operation, name: &str) -> &'a str {
    operation
        .steps
        .iter()
        .flat_map(|step| &step.rules)
        .flat_map(|rule| rule.capture.keys())
        .find(|known| *known == name)
        .map_or("", String::as_str)
}

fn bind_params(system: &System) -> Bindings<'_> {
    system
        .params
        .iter()
        .fold(Bindings::new(), |bindings, (name, text)| {
            bindings.text(name, text)
        })
}

fn bind<'a>(system: &'a System, invocation: &'a Invocation) -> Bindings<'a> {
    let encoding = system.values.encode;
    let name = invocation.repeat.as_ref().map(|repeat| repeat.name.as_str());
    let bindings = bind_params(system)
        .text("key", invocation.key.as_str())
        .text("request", name.unwrap_or_default());
    match &invocation.value {
        Value::List(pair) if invocation.f == "cas" && pair.len() == 2 => bindings
            .value("old", &pair[0], encoding)
            .value("new", &pair[1], encoding)
            .value("value", &pair[1], encoding),
        Value::Map(asked) if invocation.f == "watch" => bind_watch(bindings, asked),
        value => bindings.value("value", value, encoding),
    }
}

/// What a watch asks for: the keys that begin with `prefix`, changes after revision `from`, up to `to`.
fn bind_watch<'a>(bindings: Bindings<'a>, asked: &'a [(Value, Value)]) -> Bindings<'a> {
    asked.iter().fold(bindings, |bindings, (name, asked)| {
        match (name.as_str().unwrap_or_default(), asked) {
            ("from", Value::Int(from)) => bindings
                .json("from", Json::from(*from))
                .json("next", Json::from(from + 1)),
            ("to", Value::Int(to)) => bindings.json("to", Json::from(*to)),
            ("prefix", Value::Str(prefix)) => {
                // One that ends in the last of all characters has nothing after it: the keys of loads are ASCII.
                let mut after = prefix.to_string();
                let last = after.pop().and_then(|last| char::from_u32(u32::from(last) + 1));
                after.extend(last);
                bindings.text("prefix", prefix.to_string()).text("after", after)
            }
            _ => bindings,
        }
    })
}

/// The outcome of an operation that got no whole answer.
fn lost_outcome(may_have_happened: bool, error: String) -> Outcome {
    if may_have_happened {
        Outcome::Info { error }
    } else {
        Outcome::Fail { error }
    }
}
