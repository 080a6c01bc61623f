//! Watches: what is told to whoever listens is what happened, in order, once, and nothing is left out.

use std::collections::{BTreeMap, VecDeque};

use checker::history::Value;
use rand::rngs::ChaCha12Rng;
use rand::{RngExt, SeedableRng};

use super::{Load, LoadOptions, Say, Workload, get};
use crate::generator::{Context, Generator, Invocation, Next, Window};
use crate::system::Outcome;

/// `set`, `cas` and `get` of keys, and `watch` of all of them from a revision on.
pub(super) static WATCH: Workload = Workload {
    name: "watch",
    about: "a few clients listen to all changes, cut off again and again, while others write and read",
    finds: "changes that are told out of order, twice or not at all, above all when a watch goes on at another \
            node or after a restart; changes that no write made; reads older than what a watch had told; lost writes",
    often: "every change to watches, the log or snapshots, 30 s; nightly",
    model: "watch",
    header: &[],
    needs: &["get", "set", "cas", "watch"],
    faults: None,
    load: |options| Box::new(Listen::new(options)),
    speak,
};

/// What the names of all keys begin with.
const PREFIX: &str = "k";
/// How many streams of changes are followed at once, each by whichever worker is free: so they go on at other
/// nodes than those that they were cut off from.
const STREAMS: usize = 4;
/// Share of watches, 0 to 1, as long as a stream is free.
const WATCHES: f64 = 0.05;
/// Share of reads, 0 to 1.
const READS: f64 = 0.4;
/// Share of compare-and-sets among the writes, 0 to 1.
const CAS: f64 = 0.4;
/// After so many watches of one stream that told nothing, although there was something, it begins anew: the nodes
/// may no longer keep what it has missed.
const FRUITLESS: u32 = 8;

fn speak(invocation: &Invocation, answers: &[Outcome]) -> Say {
    match (invocation.f, answers.last()) {
        (_, None) => Say::Ask(invocation.clone()),
        // The store no longer keeps what comes after that revision: nothing was told.
        ("watch", Some(Outcome::Ok { value, .. })) if value.as_ref().is_none_or(Value::is_nil) => {
            Say::Over(Outcome::told(Value::List(Vec::new())))
        }
        (_, Some(outcome)) => Say::Over(outcome.clone()),
    }
}

/// Some stream of changes.
#[derive(Debug, Clone, Default)]
struct Stream {
    /// The revision that it goes on from.
    at: i64,
    /// Watches in a row that told nothing although there was something.
    fruitless: u32,
}

/// A key as the generator knows it.
#[derive(Debug, Default)]
struct Known {
    last: i64,
    /// What somebody saw last.
    seen: Value,
}

struct Listen {
    rng: ChaCha12Rng,
    lives: u32,
    window: Window<Known>,
    /// Streams that nobody listens to right now, the one that waits longest first.
    free: VecDeque<Stream>,
    /// By worker, the stream that it listens to.
    followed: BTreeMap<usize, Stream>,
    /// The highest revision that a write was told.
    newest: i64,
}

impl Listen {
    fn new(options: &LoadOptions) -> Self {
        let lives = options.operations_per_key;
        Self {
            rng: ChaCha12Rng::seed_from_u64(options.seed),
            lives,
            window: Window::new(options.keys, options.choice, || (Known::default(), lives)),
            free: vec![Stream::default(); STREAMS].into(),
            followed: BTreeMap::new(),
            newest: 0,
        }
    }

    fn change_or_read(&mut self) -> Invocation {
        let place = self.window.draw(&mut self.rng);
        let (dice, cas): (f64, bool) = (self.rng.random(), self.rng.random_bool(CAS));
        let lives = self.lives;
        let (name, key) = self.window.take(place, || (Known::default(), lives));
        if dice < READS {
            return get(name);
        }
        key.last += 1;
        let new = Value::Int(key.last);
        if cas {
            Invocation::new("cas", name, Value::List(vec![key.seen.clone(), new]))
        } else {
            Invocation::new("set", name, new)
        }
    }
}

fn watch(from: i64, to: Option<i64>) -> Invocation {
    let to = to.map(|to| (Value::from("to"), Value::Int(to)));
    let asked = [
        (Value::from("prefix"), Value::from(PREFIX)),
        (Value::from("from"), Value::Int(from)),
    ];
    Invocation::new("watch", "", Value::map(asked.into_iter().chain(to)))
}

/// The last revision of those that were told.
fn last_told(outcome: &Outcome) -> Option<i64> {
    let Outcome::Ok {
        value: Some(value), ..
    } = outcome
    else {
        return None;
    };
    let revisions = value
        .as_list()?
        .iter()
        .filter_map(|change| change.as_list()?.first()?.as_int());
    revisions.max()
}

impl Generator for Listen {
    fn next(&mut self, context: Context) -> Next {
        let listens = self.rng.random_bool(WATCHES);
        let stream = if listens { self.free.pop_front() } else { None };
        let invocation = match stream {
            Some(stream) => {
                let asked = watch(stream.at, None);
                self.followed.insert(context.worker, stream);
                asked
            }
            None => self.change_or_read(),
        };
        Next::Invoke {
            at: context.now,
            intended: None,
            invocation,
        }
    }

    fn update(&mut self, context: Context, invocation: &Invocation, outcome: &Outcome) {
        if invocation.f == "watch" {
            let Some(mut stream) = self.followed.remove(&context.worker) else {
                return;
            };
            match last_told(outcome) {
                Some(last) => {
                    stream.at = stream.at.max(last);
                    stream.fruitless = 0;
                }
                None if stream.at < self.newest => stream.fruitless += 1,
                None => {}
            }
            if stream.fruitless >= FRUITLESS {
                stream = Stream {
                    at: self.newest,
                    fruitless: 0,
                };
            }
            self.free.push_back(stream);
            return;
        }
        if let Outcome::Ok { rev: Some(rev), .. } = outcome {
            self.newest = self.newest.max(*rev);
        }
        let seen = match (outcome, invocation.value.as_list()) {
            (
                Outcome::Ok {
                    value: Some(value), ..
                },
                _,
            ) => value.clone(),
            (Outcome::Ok { value: None, .. }, Some([_, new])) => new.clone(),
            (Outcome::Ok { value: None, .. }, _) => invocation.value.clone(),
            (Outcome::Mismatch { current: Some(value) }, _) => value.clone(),
            _ => return,
        };
        if let Some(key) = self.window.known(&invocation.key) {
            key.seen = seen;
        }
    }
}

impl Load for Listen {
    fn final_reads(&self, node: usize) -> Vec<Invocation> {
        // Each node tells the rest to some stream, up to the last write that was acknowledged.
        let streams: Vec<&Stream> = self.free.iter().chain(self.followed.values()).collect();
        let from = streams.get(node % STREAMS).map_or(0, |stream| stream.at);
        let last = (self.newest > 0).then_some(self.newest);
        let reads = self.window.used().into_iter().map(get);
        // At least that last one, also where the stream has had it already: it will not be told again otherwise.
        let from = from.min((self.newest - 1).max(0));
        std::iter::once(watch(from, last)).chain(reads).collect()
    }

    fn shares(&self) -> Vec<(&'static str, f64)> {
        let rest = 1.0 - WATCHES;
        vec![
            ("watch", WATCHES),
            ("get", rest * READS),
            ("set", rest * (1.0 - READS) * (1.0 - CAS)),
            ("cas", rest * (1.0 - READS) * CAS),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use checker::history::Nanos;

    fn listening() -> Listen {
        Listen::new(&LoadOptions {
            seed: 3,
            keys: 2,
            choice: crate::generator::KeyChoice::Uniform,
            operations_per_key: 30,
            appends: false,
            deletes: false,
            repeats: false,
            transactions: false,
        })
    }

    /// One that knows of a write at this revision.
    fn after_a_write_at(rev: i64) -> Listen {
        let mut listen = listening();
        let set = Invocation::new("set", "k0", Value::Int(1));
        let done = Outcome::Ok {
            value: None,
            rev: Some(rev),
        };
        listen.update(context(), &set, &done);
        listen
    }

    /// The next watch of worker 0 that the generator asks for.
    fn next_watch(listen: &mut Listen) -> Invocation {
        let context = context();
        loop {
            let Next::Invoke { invocation, .. } = listen.next(context) else {
                panic!("endless")
            };
            if invocation.f == "watch" {
                return invocation;
            }
        }
    }

    fn context() -> Context {
        Context {
            now: Nanos(0),
            worker: 0,
            node: 0,
        }
    }

    fn from(invocation: &Invocation) -> i64 {
        invocation.value.to_json()["from"].as_i64().expect("a revision")
    }

    fn told(revisions: &[i64]) -> Outcome {
        let change = |rev: &i64| Value::List(vec![Value::Int(*rev), Value::from("k0"), Value::Int(1)]);
        Outcome::told(Value::List(revisions.iter().map(change).collect()))
    }

    #[test]
    fn a_stream_goes_on_after_the_last_change_that_it_told_and_stays_where_it_failed() {
        let mut listen = listening();
        for _ in 0..STREAMS {
            let watch = next_watch(&mut listen);
            assert_eq!(from(&watch), 0);
            listen.update(context(), &watch, &told(&[3, 7]));
        }
        for round in 0..3 * STREAMS {
            let watch = next_watch(&mut listen);
            assert_eq!(from(&watch), 7, "round {round}");
            let error = "refused".to_owned();
            listen.update(context(), &watch, &Outcome::Fail { error });
        }
    }

    #[test]
    fn a_stream_that_nobody_can_go_on_with_begins_anew() {
        let mut listen = after_a_write_at(40);
        for _ in 0..FRUITLESS as usize * STREAMS {
            let watch = next_watch(&mut listen);
            assert_eq!(from(&watch), 0);
            listen.update(context(), &watch, &told(&[]));
        }
        assert_eq!(from(&next_watch(&mut listen)), 40);
    }

    #[test]
    fn at_the_end_every_node_has_something_to_tell() {
        let mut listen = after_a_write_at(40);
        for at in [12, 40, 41] {
            for _ in 0..STREAMS {
                let watch = next_watch(&mut listen);
                listen.update(context(), &watch, &told(&[at]));
            }
            let last = &listen.final_reads(1)[0];
            assert_eq!((last.f, from(last)), ("watch", at.min(39)));
            assert_eq!(last.value.to_json()["to"], 40);
        }
    }

    #[test]
    fn what_a_store_no_longer_keeps_is_told_as_nothing() {
        let asked = watch(3, None);
        let gone = speak(&asked, &[Outcome::told(Value::Nil)]);
        assert_eq!(gone, Say::Over(told(&[])));
    }
}
