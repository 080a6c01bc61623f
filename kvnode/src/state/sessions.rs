//! What clients' requests answered, so that a repetition gets the same answer and is
//! not executed again (Ongaro 2014, §6.3).
//!
//! Answers are kept per request, not "the highest number per client": independent
//! requests of one client may arrive in any order, and `number > last` would drop the
//! late ones. They are part of the replicated state and of snapshots, and expire by
//! values that are in the log: the replicated clock, and how many there are.
//!
//! Invariants:
//! - when an answer is dropped, its client's `forgotten` rises to at least its number,
//!   and a request at or below that with no answer kept is refused: whether it was
//!   executed is no longer known;
//! - a client is dropped only to make room for another, and only after it was silent for
//!   [`CLIENT_MS`]; its name is then among the departed, and whatever comes under it is
//!   refused for ever;
//! - so no request is ever executed twice, however late it is repeated.

use std::sync::Arc;

use imbl::OrdMap;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use super::departed::Departed;
use crate::command::{Operation, Outcome, RequestId, Versioned};

/// How long an answer is kept, by the replicated clock.
pub const ANSWER_MS: u64 = 60 * 60 * 1000;
/// How long a silent client is remembered at least, by the replicated clock; longer
/// while there is room.
pub const CLIENT_MS: u64 = 24 * 60 * 60 * 1000;
/// Most answers kept, of all clients.
pub const MAX_ANSWERS: usize = 100_000;
/// Most bytes of answers kept.
pub const MAX_ANSWER_BYTES: u64 = 64 << 20;
/// Most clients remembered; further ones are refused unless one has been silent long
/// enough to make room.
pub const MAX_CLIENTS: usize = 200_000;

/// An answer that is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// Term of the entry that applied the request.
    pub term: u64,
    /// Its log index.
    pub index: u64,
    /// Hash of the operation: the same name for another operation is an error.
    pub fingerprint: u128,
    /// The replicated clock then.
    pub clock_ms: u64,
    /// What it answered.
    pub outcome: Outcome,
}

impl Answer {
    /// Bytes it takes, roughly.
    pub fn weight(&self) -> u64 {
        fn of(outcome: &Outcome) -> usize {
            let value = |entry: &Option<Versioned>| entry.as_ref().map_or(0, |entry| entry.value.len());
            match outcome {
                Outcome::Read(entry) | Outcome::Mismatch { current: entry } => value(entry),
                Outcome::Txn { steps, .. } => steps.iter().map(|step| 32 + of(step)).sum(),
                _ => 0,
            }
        }
        of(&self.outcome) as u64 + 128
    }
}

/// What is remembered of a client.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// The highest number of which the answer was dropped.
    pub forgotten: Option<u64>,
    /// The replicated clock at its last request.
    pub heard_ms: u64,
}

/// All that is remembered.
#[derive(Debug, Clone, Default)]
pub struct Sessions {
    answers: OrdMap<RequestId, Answer>,
    /// The same by log index, oldest first.
    order: OrdMap<u64, RequestId>,
    clients: OrdMap<Arc<str>, Client>,
    /// Clients by when they were last heard of.
    silent: OrdMap<(u64, Arc<str>), ()>,
    departed: Departed,
    bytes: u64,
    digest: u128,
}

impl Sessions {
    /// What these answers, clients and names make.
    pub fn from_parts(
        answers: impl IntoIterator<Item = (RequestId, Answer)>,
        clients: impl IntoIterator<Item = (Arc<str>, Client)>,
        departed: Departed,
    ) -> Sessions {
        let mut sessions = Sessions {
            departed,
            ..Sessions::default()
        };
        for (name, client) in clients {
            sessions.put_client(name, client);
        }
        for (request, answer) in answers {
            sessions.put_answer(request, answer);
        }
        sessions
    }

    /// All answers, by client and number.
    pub fn answers(&self) -> impl Iterator<Item = (&RequestId, &Answer)> {
        self.answers.iter()
    }

    /// All clients, by name.
    pub fn clients(&self) -> impl Iterator<Item = (&Arc<str>, &Client)> {
        self.clients.iter()
    }

    /// The clients that were dropped.
    pub fn departed(&self) -> &Departed {
        &self.departed
    }

    /// How many answers are kept.
    pub fn len(&self) -> usize {
        self.answers.len()
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.answers.is_empty()
    }

    /// A hash of all that is remembered.
    pub fn digest(&self) -> u128 {
        self.digest.wrapping_add(self.departed.digest())
    }

    /// What a request must answer instead of being executed at this replicated clock, if
    /// it must not be.
    pub fn verdict(&self, request: &RequestId, operation: &Operation, clock_ms: u64) -> Option<Outcome> {
        if let Some(answer) = self.answers.get(request) {
            return Some(if answer.fingerprint == fingerprint(operation) {
                let outcome = Box::new(answer.outcome.clone());
                Outcome::Repeated {
                    term: answer.term,
                    index: answer.index,
                    outcome,
                }
            } else {
                Outcome::Reused
            });
        }
        match self.clients.get(&request.client) {
            Some(client)
                if client
                    .forgotten
                    .is_some_and(|forgotten| request.number <= forgotten) =>
            {
                Some(Outcome::Forgotten)
            }
            None if self.departed.may_hold(&request.client) => Some(Outcome::Forgotten),
            None if self.clients.len() >= MAX_CLIENTS && self.leaving(clock_ms).is_none() => {
                Some(Outcome::TooManyClients)
            }
            _ => None,
        }
    }

    /// Keeps what a request answered.
    pub fn keep(
        &mut self,
        request: &RequestId,
        operation: &Operation,
        at: (u64, u64, u64),
        outcome: &Outcome,
    ) {
        let (term, index, clock_ms) = at;
        if !self.clients.contains_key(&request.client) && self.clients.len() >= MAX_CLIENTS {
            let leaving = self.leaving(clock_ms).expect("the verdict found one");
            self.drop_client(leaving);
        }
        let forgotten = self
            .clients
            .get(&request.client)
            .and_then(|client| client.forgotten);
        self.put_client(
            request.client.clone(),
            Client {
                forgotten,
                heard_ms: clock_ms,
            },
        );
        let fingerprint = fingerprint(operation);
        let answer = Answer {
            term,
            index,
            fingerprint,
            clock_ms,
            outcome: outcome.clone(),
        };
        self.put_answer(request.clone(), answer);
    }

    /// Drops what is older than it need be at this replicated clock.
    pub fn expire(&mut self, clock_ms: u64) {
        while let Some((index, request)) = self.order.get_min().cloned() {
            let old = self.answers[&request].clock_ms + ANSWER_MS <= clock_ms;
            if !old && self.answers.len() <= MAX_ANSWERS && self.bytes <= MAX_ANSWER_BYTES {
                break;
            }
            self.order.remove(&index);
            self.drop_answer(&request);
        }
    }

    /// The client that was silent longest, if that was long enough to be dropped.
    fn leaving(&self, clock_ms: u64) -> Option<(u64, Arc<str>)> {
        let ((heard_ms, name), ()) = self.silent.get_min()?;
        (heard_ms + CLIENT_MS <= clock_ms).then(|| (*heard_ms, name.clone()))
    }

    fn drop_client(&mut self, leaving: (u64, Arc<str>)) {
        self.silent.remove(&leaving);
        let (_, name) = leaving;
        if let Some(client) = self.clients.remove(&name) {
            self.digest = self.digest.wrapping_sub(digest_of(&(&name, &client)));
        }
        self.departed.add(&name);
    }

    fn drop_answer(&mut self, request: &RequestId) {
        let Some(answer) = self.answers.remove(request) else {
            return;
        };
        self.digest = self.digest.wrapping_sub(digest_of(&(request, &answer)));
        self.bytes -= answer.weight();
        if let Some(mut client) = self.clients.get(&request.client).cloned() {
            client.forgotten = client.forgotten.max(Some(request.number));
            self.put_client(request.client.clone(), client);
        }
    }

    fn put_answer(&mut self, request: RequestId, answer: Answer) {
        self.digest = self.digest.wrapping_add(digest_of(&(&request, &answer)));
        self.bytes += answer.weight();
        self.order.insert(answer.index, request.clone());
        self.answers.insert(request, answer);
    }

    fn put_client(&mut self, name: Arc<str>, client: Client) {
        self.digest = self.digest.wrapping_add(digest_of(&(&name, &client)));
        self.silent.insert((client.heard_ms, name.clone()), ());
        let heard_ms = client.heard_ms;
        if let Some(old) = self.clients.insert(name.clone(), client) {
            self.digest = self.digest.wrapping_sub(digest_of(&(&name, &old)));
            if old.heard_ms != heard_ms {
                self.silent.remove(&(old.heard_ms, name));
            }
        }
    }
}

fn fingerprint(operation: &Operation) -> u128 {
    digest_of(operation)
}

fn digest_of<T: Serialize>(value: &T) -> u128 {
    xxh3_128(&postcard::to_stdvec(value).expect("our types encode"))
}
