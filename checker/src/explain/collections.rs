//! Says of sets, queues and counters what is wrong, in terms of elements.

use super::Story;
use super::sentence::{Told, did};
use super::words::Words;
use crate::history::{History, OpId, Value};
use crate::model::{Domain, Invocation, Observed};
use crate::verdict::Anomaly;

/// What a core comes to, where it is one of those that [`crate::contradictions`] finds.
pub(super) fn tell<D: Domain>(history: &History, domain: &D, story: &Story<'_>) -> Option<Told> {
    let teller = Teller {
        history,
        domain,
        story,
        words: Words::of(history),
    };
    let core: Vec<(OpId, Invocation)> = story
        .core
        .iter()
        .map(|&op| Some((op, teller.call(op, true)?)))
        .collect::<Option<_>>()?;
    match domain.name() {
        "queue" => teller.dequeued(&core).or_else(|| teller.found_empty(&core)),
        "set" => teller.set(&core),
        "counter" => teller.counter(&core),
        _ => None,
    }
}

struct Teller<'t, 'h, D> {
    history: &'h History,
    domain: &'t D,
    story: &'t Story<'h>,
    words: Words,
}

fn result(call: &Invocation) -> Option<&Value> {
    match &call.result {
        Observed::Ok(result, _) => Some(result),
        _ => None,
    }
}

fn told(sentence: String, anomaly: Anomaly, concerned: Vec<OpId>) -> Option<Told> {
    Some(Told {
        sentence,
        anomaly,
        concerned,
    })
}

impl<D: Domain> Teller<'_, '_, D> {
    fn call(&self, op: OpId, complete: bool) -> Option<Invocation> {
        self.domain
            .call(self.history.operation(op), complete)
            .ok()
            .flatten()
    }

    fn did(&self, op: OpId) -> String {
        let operation = self.history.operation(op);
        let call = self.call(op, operation.record().completed != crate::history::NEVER);
        call.map_or_else(String::new, |call| did(&call, operation, &self.words))
    }

    /// Whoever may have brought a value in, the first one first.
    fn sources(&self, f: &str, value: &Value) -> Vec<OpId> {
        let may = |op: &OpId| {
            let call = self.call(*op, false);
            call.is_some_and(|call| call.f == f && call.input == *value)
        };
        self.story.moments.invoked().filter(may).collect()
    }

    /// Those that were asked for before an operation was over.
    fn by_then(&self, sources: &[OpId], op: OpId) -> usize {
        let over = self.history.operation(op).record().completed;
        let before = |source: &&OpId| self.history.operation(**source).record().invoked < over;
        sources.iter().filter(before).count()
    }

    /// What came out, or was seen, although nobody had brought it in by then.
    fn unheard_of(&self, op: OpId, f: &str, past: &str, value: &Value) -> Option<Told> {
        let sources = self.sources(f, value);
        match sources.first() {
            None => told(
                format!("{}, but nobody ever {past} {value}", self.did(op)),
                Anomaly::PhantomValue,
                Vec::new(),
            ),
            Some(&first) if self.by_then(&sources, op) == 0 => {
                let sentence = format!(
                    "{}, but the first to ask for it was process {}, {}",
                    self.did(op),
                    self.history.operation(first).process(),
                    self.words.earliest(self.history.operation(first)),
                );
                told(sentence, Anomaly::ReadFromTheFuture, vec![first])
            }
            Some(_) => None,
        }
    }

    /// One value was dequeued more often than it had been enqueued.
    fn dequeued(&self, core: &[(OpId, Invocation)]) -> Option<Told> {
        let (last, call) = core
            .iter()
            .max_by_key(|(op, _)| self.history.operation(*op).record().completed)?;
        let value = result(call).filter(|value| !value.is_nil())?;
        let same = |(_, call): &(OpId, Invocation)| call.f == "dequeue" && result(call) == Some(value);
        if !core.iter().all(same) {
            return None;
        }
        if core.len() == 1 {
            return self.unheard_of(*last, "enqueue", "enqueued", value);
        }
        let sources = self.sources("enqueue", value);
        let by_then = self.by_then(&sources, *last);
        if by_then >= core.len() {
            return None;
        }
        let did: Vec<String> = core.iter().map(|(op, _)| self.did(*op)).collect();
        let times = match by_then {
            1 => "only once".to_owned(),
            count => format!("only {count} times"),
        };
        let sentence = format!(
            "{}, but {value} had been enqueued {times} by then",
            did.join(", and ")
        );
        told(
            sentence,
            Anomaly::NoOrder,
            sources.into_iter().take(by_then).collect(),
        )
    }

    /// A value was in the queue that was found empty.
    fn found_empty(&self, core: &[(OpId, Invocation)]) -> Option<Told> {
        let of = |f: &'static str| core.iter().filter(move |(_, call)| call.f == f);
        let (put, enqueue) = of("enqueue").next()?;
        let over = self.history.operation(*put).record().completed;
        let after = |op: OpId| over < self.history.operation(op).record().invoked;
        let empty = of("dequeue").filter(|(op, call)| after(*op) && result(call).is_some_and(Value::is_nil));
        let (found, _) = empty.min_by_key(|(op, _)| self.history.operation(*op).record().completed)?;
        let others = of("dequeue").filter(|(_, call)| result(call) != Some(&enqueue.input));
        let fits = others.count() + 1 == core.len();
        let sentence = format!(
            "{}, but {}, before that began, and nobody can have taken {} by then",
            self.did(*found),
            self.did(*put),
            enqueue.input
        );
        fits.then_some(Told {
            sentence,
            anomaly: Anomaly::LostWrite,
            concerned: Vec::new(),
        })
    }

    /// A read saw what nobody had added, or missed what was there.
    fn set(&self, core: &[(OpId, Invocation)]) -> Option<Told> {
        let init = self.domain.init_value();
        let first = init.as_list().unwrap_or_default();
        let (read, call) = core.last()?;
        let seen = result(call)
            .filter(|_| call.f == "read")?
            .as_list()
            .unwrap_or_default();
        if core.len() == 1 {
            if let Some(missed) = first.iter().find(|element| !seen.contains(element)) {
                let sentence = format!("{}, but {missed} was there from the beginning", self.did(*read));
                return told(sentence, Anomaly::LostWrite, Vec::new());
            }
            let mut unknown = seen.iter().filter(|element| !first.contains(element));
            return unknown.find_map(|element| {
                let nowhere = self.unheard_of(*read, "add", "added", element)?;
                let sentence = nowhere
                    .sentence
                    .replacen(", but", &format!(", with {element}, but"), 1);
                Some(Told { sentence, ..nowhere })
            });
        }
        let [(earlier, before), _] = core else { return None };
        let over = self.history.operation(*earlier).record().completed;
        if over > self.history.operation(*read).record().invoked {
            return None;
        }
        let there = match &*before.f {
            "add" => std::slice::from_ref(&before.input),
            _ => result(before)?.as_list().unwrap_or_default(),
        };
        let missed = there.iter().find(|element| !seen.contains(element))?;
        let sentence = format!(
            "{}, without {missed}, but {}, before that began",
            self.did(*read),
            self.did(*earlier)
        );
        let anomaly = match &*before.f {
            "add" => Anomaly::LostWrite,
            _ => Anomaly::ReadsGoBackwards,
        };
        told(sentence, anomaly, Vec::new())
    }

    /// A number beyond all sums of the additions.
    fn counter(&self, core: &[(OpId, Invocation)]) -> Option<Told> {
        let mut reads = core.iter().filter(|(_, call)| call.f == "read");
        let (read, call) = reads.next().filter(|_| core.len() <= MOST_NAMED)?;
        if reads.next().is_some() {
            return None;
        }
        let seen = i128::from(result(call)?.as_int()?);
        let others = core.iter().filter(|(op, _)| op != read);
        let certain: Vec<OpId> = others.map(|(op, _)| *op).collect();
        let over = self.history.operation(*read).record().completed;
        let began = self.history.operation(*read).record().invoked;
        if certain
            .iter()
            .any(|&op| self.history.operation(op).record().completed > began)
        {
            return None;
        }
        let init = i128::from(self.domain.init_value().as_int()?);
        let (mut least, mut most) = (init, init);
        let may = self.story.moments.invoked();
        for op in may.filter(|&op| self.history.operation(op).record().invoked < over) {
            let Some(call) = self.call(op, false).filter(|call| call.f == "add") else {
                continue;
            };
            let amount = i128::from(call.input.as_int()?);
            let must = certain.contains(&op);
            most += if must { amount } else { amount.max(0) };
            least += if must { amount } else { amount.min(0) };
        }
        let given: Vec<String> = certain.iter().map(|&op| self.did(op)).collect();
        let given = match given.is_empty() {
            true => String::new(),
            false => format!(", given that {}", given.join(", and that ")),
        };
        let bound = match (seen > most, seen < least) {
            (true, _) => format!("at most {most}"),
            (_, true) => format!("at least {least}"),
            _ => return None,
        };
        let sentence = format!("{}, but by then it can have been {bound}{given}", self.did(*read));
        told(sentence, Anomaly::NoOrder, Vec::new())
    }
}

/// Cores of more operations are told as lists.
const MOST_NAMED: usize = 6;
