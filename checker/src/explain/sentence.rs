//! Says in a sentence what is wrong, for somebody who has not seen the history.

use super::{Story, Words, collections, phrase};
use crate::history::{History, NEVER, OpId, Operation, Value};
use crate::model::{Domain, Effect, Invocation};
use crate::verdict::Anomaly;

/// A sentence, and which operations it concerns besides the core.
pub(crate) struct Told {
    pub(crate) sentence: String,
    pub(crate) anomaly: Anomaly,
    pub(crate) concerned: Vec<OpId>,
}

/// One operation with what it saw and what it made.
struct Fact<'a> {
    operation: Operation<'a>,
    call: Invocation,
    /// The value that it saw.
    saw: Option<Value>,
    /// A value that it was told not to be there.
    missed: Option<Value>,
    /// The value that it left behind.
    made: Option<Value>,
}

/// Says what is wrong with a core.
pub(crate) fn tell<D: Domain>(history: &History, domain: &D, story: &Story<'_>) -> Told {
    if let Some(told) = collections::tell(history, domain, story) {
        return told;
    }
    let teller = Teller::new(history, domain, story);
    let told = teller.victim().and_then(|victim| {
        teller
            .two_cas()
            .or_else(|| teller.torn_cas())
            .or_else(|| teller.alone(victim))
            .or_else(|| teller.appended(victim))
            .or_else(|| teller.overwritten(victim))
            .or_else(|| teller.seen_later(victim))
    });
    told.unwrap_or_else(|| teller.list())
}

struct Teller<'a> {
    core: Vec<Fact<'a>>,
    /// Every operation of the subhistory that leaves a value behind.
    writers: Vec<Fact<'a>>,
    /// Values that were read somewhere in the subhistory.
    readers: Vec<Fact<'a>>,
    init: Value,
    /// The operations of the cycle, if there is one.
    cycle: Vec<OpId>,
    stuck: OpId,
    words: Words,
    /// Whether anything is appended.
    appends: bool,
}

impl<'a> Teller<'a> {
    fn new<D: Domain>(history: &'a History, domain: &D, story: &Story<'_>) -> Teller<'a> {
        let fact = |op: OpId| {
            let operation = history.operation(op);
            domain
                .call(operation, operation.record().completed != NEVER)
                .ok()
                .flatten()
                .map(|call| {
                    let effect = Effect::of(domain.name(), &call);
                    Fact {
                        operation,
                        call,
                        saw: effect.saw,
                        missed: effect.missed,
                        made: effect.made,
                    }
                })
        };
        let mut core: Vec<Fact<'a>> = story.core.iter().copied().filter_map(fact).collect();
        core.sort_by_key(|fact| fact.operation.record().invoked);
        let values: Vec<Value> = core
            .iter()
            .flat_map(|fact| [&fact.saw, &fact.missed, &fact.made])
            .filter_map(Clone::clone)
            .collect();
        let concerns = |value: &Option<Value>| value.as_ref().is_some_and(|value| values.contains(value));
        let facts: Vec<Fact<'a>> = story.moments.invoked().filter_map(fact).collect();
        let (writers, rest): (Vec<_>, Vec<_>) = facts.into_iter().partition(|fact| concerns(&fact.made));
        let readers = rest.into_iter().filter(|fact| concerns(&fact.saw)).collect();
        Teller {
            core,
            writers,
            readers,
            init: domain.init_value(),
            cycle: story.cycle.iter().map(|edge| edge.from).collect(),
            stuck: story.stuck,
            words: Words::of(history),
            appends: history.knows("append"),
        }
    }

    /// The observation that cannot be: the last of the core to complete that saw anything.
    fn victim(&self) -> Option<&Fact<'a>> {
        let observers = self
            .core
            .iter()
            .filter(|fact| fact.saw.is_some() || fact.missed.is_some());
        observers.max_by_key(|fact| {
            (
                fact.operation.id() == self.stuck,
                fact.operation.record().completed,
            )
        })
    }

    /// Two cas took the same value away, although it was there once.
    fn two_cas(&self) -> Option<Told> {
        let cas = |fact: &&Fact<'a>| fact.saw.is_some() && fact.made.is_some();
        for (at, second) in self.core.iter().enumerate().filter(|(_, fact)| cas(fact)) {
            let Some(first) = self.core[..at]
                .iter()
                .filter(cas)
                .find(|first| first.saw == second.saw)
            else {
                continue;
            };
            let value = second.saw.as_ref()?;
            let makers: Vec<&Fact<'a>> = self.makers(value).collect();
            let times = makers.len() + usize::from(*value == self.init);
            if times != 1 {
                continue;
            }
            let once = match makers.first() {
                None => format!("{value} was the initial value and nobody wrote it again"),
                Some(maker) => format!("{value} was written only once, by {}", self.who(maker)),
            };
            let sentence = format!(
                "{} and {} both succeeded on one value: {once}",
                self.did(first),
                self.did(second)
            );
            let concerned = makers.iter().map(|maker| maker.operation.id()).collect();
            return Some(Told {
                sentence,
                anomaly: Anomaly::NonAtomicCas,
                concerned,
            });
        }
        None
    }

    /// A cas and a write that each would have to come before the other: the value that the cas found had been
    /// replaced when it wrote.
    fn torn_cas(&self) -> Option<Told> {
        let [one, two] = self.cycle[..] else { return None };
        let fact = |op: OpId| {
            let mut facts = self.core.iter().chain(&self.writers);
            facts.find(|fact| fact.operation.id() == op)
        };
        let (one, two) = (fact(one)?, fact(two)?);
        let is_cas = |fact: &Fact<'a>| fact.saw.is_some() && fact.made.is_some() && fact.saw != fact.made;
        let (cas, other) = match (is_cas(one), is_cas(two)) {
            (true, _) if two.made.is_some() && two.saw != one.saw => (one, two),
            (_, true) if one.made.is_some() && one.saw != two.saw => (two, one),
            _ => return None,
        };
        // One after the other they would be a stale read, or a cas that found what was gone.
        let (a, b) = (cas.operation.record(), other.operation.record());
        if a.completed < b.invoked || b.completed < a.invoked {
            return None;
        }
        let (saw, made) = (cas.saw.as_ref()?, cas.made.as_ref()?);
        let sentence = format!(
            "{}, but {}: {saw} had been there before that and {made} was seen after it, so the cas found {saw} and \
             wrote {made} when {saw} had been replaced already",
            self.did(cas),
            self.did(other)
        );
        Some(Told {
            sentence,
            anomaly: Anomaly::NonAtomicCas,
            concerned: Vec::new(),
        })
    }

    /// One observation that is impossible by itself.
    fn alone(&self, victim: &Fact<'a>) -> Option<Told> {
        if self.core.len() > 1 {
            return None;
        }
        let what = self.did(victim);
        if let Some(missed) = &victim.missed {
            let sentence = format!("{what}, but nothing had written anything but {missed} by then");
            return Some(Told {
                sentence,
                anomaly: Anomaly::WrongMismatch,
                concerned: Vec::new(),
            });
        }
        let value = victim.saw.as_ref()?;
        let first = self
            .makers(value)
            .min_by_key(|maker| maker.operation.record().invoked);
        Some(match first {
            None => {
                let sentence = format!(
                    "{what}, but nobody ever wrote {value}; the initial value was {}",
                    self.init
                );
                Told {
                    sentence,
                    anomaly: Anomaly::PhantomValue,
                    concerned: Vec::new(),
                }
            }
            Some(maker) if maker.operation.record().invoked > victim.operation.record().completed => {
                let sentence = format!(
                    "{what}, but the first to ask for {value} to be written was process {}, {}",
                    maker.operation.process(),
                    self.words.earliest(maker.operation)
                );
                Told {
                    sentence,
                    anomaly: Anomaly::ReadFromTheFuture,
                    concerned: vec![maker.operation.id()],
                }
            }
            Some(_) => return None,
        })
    }

    /// A text that was read lacks what had been appended, or does not begin with what had been read.
    fn appended(&self, victim: &Fact<'a>) -> Option<Told> {
        let text = |value: &Value| match value {
            Value::Nil => Some(String::new()),
            other => other.as_str().map(str::to_owned),
        };
        let began = victim.operation.record().invoked;
        let seen = text(victim.saw.as_ref()?)?;
        let earlier = |fact: &&Fact<'a>| fact.operation.record().completed < began;
        let lost = self
            .core
            .iter()
            .filter(earlier)
            .filter(|fact| fact.call.f == "append");
        let lost = lost.filter(|fact| text(&fact.call.input).is_some_and(|piece| !seen.contains(&piece)));
        if let Some(lost) = lost.max_by_key(|fact| fact.operation.record().completed) {
            let piece = &lost.call.input;
            let sentence = format!(
                "{}, which lacks {piece}, but {}, before that began",
                self.did(victim),
                self.did(lost)
            );
            return Some(Told {
                sentence,
                anomaly: Anomaly::LostWrite,
                concerned: Vec::new(),
            });
        }
        let other = self
            .core
            .iter()
            .filter(|fact| fact.operation.id() != victim.operation.id());
        let other = other.filter(|fact| self.core.len() == 2 || fact.operation.record().completed < began);
        let other = other
            .filter(|fact| fact.call.f == "get" && self.appends)
            .find(|fact| {
                fact.saw
                    .as_ref()
                    .and_then(text)
                    .is_some_and(|before| !seen.starts_with(&before))
            })?;
        let sentence = format!(
            "{}, but {}, and neither can have grown into the other by appending",
            self.did(victim),
            self.did(other)
        );
        let first = other.saw.as_ref().and_then(text)?;
        let anomaly = if first.starts_with(&seen) {
            Anomaly::ReadsGoBackwards
        } else {
            Anomaly::NoOrder
        };
        let sentence = match anomaly {
            Anomaly::ReadsGoBackwards => {
                format!(
                    "{}, but {}, which is longer, before that began",
                    self.did(victim),
                    self.did(other)
                )
            }
            _ => sentence,
        };
        Some(Told {
            sentence,
            anomaly,
            concerned: Vec::new(),
        })
    }

    /// Something else was there before the observation began, and nothing brought the value back.
    fn overwritten(&self, victim: &Fact<'a>) -> Option<Told> {
        let began = victim.operation.record().invoked;
        let earlier = |fact: &&Fact<'a>| fact.operation.record().completed < began;
        let Some(value) = &victim.saw else {
            return self.never_another(victim);
        };
        let blockers = self.core.iter().filter(earlier);
        let blocker = blockers
            .filter(|fact| fact.left().is_some_and(|left| left != value))
            .max_by_key(|fact| (fact.made.is_some(), fact.operation.record().completed))?;
        // The sentence is true only if nobody could have brought the value back.
        let back =
            |maker: &&Fact<'a>| maker.operation.record().completed > blocker.operation.record().invoked;
        if self
            .makers(value)
            .filter(back)
            .any(|maker| maker.operation.record().invoked < victim.operation.record().completed)
        {
            return None;
        }
        let (what, other) = (self.did(victim), self.did(blocker));
        let before = self.before(value);
        let Some(made) = &blocker.made else {
            let sentence =
                format!("{what}, but {other}, before that began, and nothing wrote {value} after it{before}");
            return Some(Told {
                sentence,
                anomaly: Anomaly::ReadsGoBackwards,
                concerned: self.ids_of_makers(value),
            });
        };
        let seen = self
            .readers
            .iter()
            .chain(&self.writers)
            .any(|fact| fact.saw.as_ref() == Some(made));
        let anomaly = match (&victim.made, seen) {
            (Some(_), _) => Anomaly::WrongCas,
            (None, true) => Anomaly::StaleRead,
            (None, false) => Anomaly::LostWrite,
        };
        let lost = if anomaly == Anomaly::LostWrite {
            format!("; nobody ever saw {made}")
        } else {
            String::new()
        };
        let sentence = format!(
            "{what}, but {other}, before that began, and nothing wrote {value} after it{before}{lost}"
        );
        Some(Told {
            sentence,
            anomaly,
            concerned: self.ids_of_makers(value),
        })
    }

    /// A cas was told that the value is another, but it can only have been that one.
    fn never_another(&self, victim: &Fact<'a>) -> Option<Told> {
        let missed = victim.missed.as_ref()?;
        let began = victim.operation.record().invoked;
        let before = self
            .core
            .iter()
            .filter(|fact| fact.operation.record().completed < began);
        let maker = before
            .filter(|fact| fact.left() == Some(missed))
            .max_by_key(|fact| fact.operation.record().completed)?;
        let sentence = format!(
            "{}, but {}, and nothing else can have been there since",
            self.did(victim),
            self.did(maker)
        );
        Some(Told {
            sentence,
            anomaly: Anomaly::WrongMismatch,
            concerned: Vec::new(),
        })
    }

    /// The value of an observation was replaced by one that was seen, whatever the order of what overlapped.
    fn seen_later(&self, victim: &Fact<'a>) -> Option<Told> {
        let value = victim.saw.as_ref()?;
        let began = victim.operation.record().invoked;
        let between = self.core.iter().filter(|fact| {
            fact.operation.record().completed < began && fact.left().is_some_and(|left| left != value)
        });
        let witness = between.max_by_key(|fact| (fact.made.is_none(), fact.operation.record().completed))?;
        let others: Vec<String> = self
            .core
            .iter()
            .filter(|fact| {
                fact.operation.id() != victim.operation.id() && fact.operation.id() != witness.operation.id()
            })
            .map(|fact| self.did(fact))
            .collect();
        let given = if others.is_empty() {
            String::new()
        } else {
            format!(", given that {}", others.join(", and that "))
        };
        let sentence = format!(
            "{}, but {}, before that began, and {value} cannot have come back{given}",
            self.did(victim),
            self.did(witness)
        );
        let anomaly = if victim.made.is_some() {
            Anomaly::WrongCas
        } else {
            Anomaly::StaleRead
        };
        Some(Told {
            sentence,
            anomaly,
            concerned: self.ids_of_makers(value),
        })
    }

    /// When nothing simpler fits.
    fn list(&self) -> Told {
        let all: Vec<String> = self
            .core
            .iter()
            .take(LONGEST_LIST)
            .map(|fact| self.did(fact))
            .collect();
        let more = self.core.len().saturating_sub(LONGEST_LIST);
        let more = if more > 0 {
            format!("; and {more} more")
        } else {
            String::new()
        };
        let sentence = match all.len() {
            1 => format!("{}, which nothing explains", all[0]),
            count => format!(
                "no order explains what these {} operations saw: {}{more}",
                count.max(self.core.len()),
                all.join("; ")
            ),
        };
        Told {
            sentence,
            anomaly: Anomaly::NoOrder,
            concerned: Vec::new(),
        }
    }

    /// How the value was there before.
    fn before(&self, value: &Value) -> String {
        let known = self.core.iter().filter(|fact| fact.made.as_ref() == Some(value));
        match known.max_by_key(|fact| fact.operation.record().completed) {
            Some(maker) => format!(" ({value} had been written by {})", self.who(maker)),
            None if *value == self.init => format!(" ({value} was the initial value)"),
            None => String::new(),
        }
    }

    fn makers(&self, value: &Value) -> impl Iterator<Item = &Fact<'a>> {
        self.writers
            .iter()
            .filter(move |fact| fact.made.as_ref() == Some(value))
    }

    /// Who wrote the value that an operation saw, while that could still be seen.
    fn ids_of_makers(&self, value: &Value) -> Vec<OpId> {
        let seen = self.core.iter().filter(|fact| fact.saw.as_ref() == Some(value));
        let last = seen.map(|fact| fact.operation.record().completed).max();
        self.makers(value)
            .filter(|maker| last.is_none_or(|last| maker.operation.record().invoked < last))
            .map(|maker| maker.operation.id())
            .take(MAKERS_SHOWN)
            .collect()
    }

    /// `process 3 from 12.100 s to 12.200 s`.
    fn who(&self, fact: &Fact<'_>) -> String {
        format!(
            "process {} {}",
            fact.operation.process(),
            self.words.when(fact.operation)
        )
    }

    /// `process 3 read k=4 through n2 from 12.310 s to 12.350 s`.
    fn did(&self, fact: &Fact<'_>) -> String {
        did(&fact.call, fact.operation, &self.words)
    }
}

/// `process 3 read k=4 through n2 from 12.310 s to 12.350 s`.
pub(super) fn did(call: &Invocation, operation: Operation<'_>, words: &Words) -> String {
    let key = operation.key();
    let node = operation
        .node()
        .map(|node| format!(" through {node}"))
        .unwrap_or_default();
    let what = phrase(call, key.as_ref());
    format!(
        "process {} {what}{node} {}",
        operation.process(),
        words.when(operation)
    )
}

impl Fact<'_> {
    /// What is there after it: what it made, or else what it saw.
    fn left(&self) -> Option<&Value> {
        self.made.as_ref().or(self.saw.as_ref())
    }
}

/// Longer lists are cut in sentences; the counterexample has them whole.
const LONGEST_LIST: usize = 8;
/// How many writes of the same value are listed beside the core.
const MAKERS_SHOWN: usize = 16;
