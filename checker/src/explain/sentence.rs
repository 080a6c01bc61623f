//! Says in a sentence what is wrong, for somebody who has not seen the history.

use rustc_hash::FxHashMap;

use super::cause::{Fate, Sight};
use super::facts::{Fact, Facts, Refusal};
use super::{Story, Words, collections, phrase};
use crate::history::{History, NEVER, OpId, Operation, Value};
use crate::model::{Domain, Invocation};
use crate::verdict::Anomaly;

/// A sentence, and which operations it concerns besides the core.
pub(crate) struct Told {
    pub(crate) sentence: String,
    pub(crate) anomaly: Anomaly,
    pub(crate) concerned: Vec<OpId>,
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
            .or_else(|| teller.blind_cas())
            .or_else(|| teller.text(victim))
            .or_else(|| teller.alone(victim))
            .or_else(|| teller.appended(victim))
            .or_else(|| teller.overwritten(victim))
            .or_else(|| teller.seen_later(victim))
    });
    told.unwrap_or_else(|| teller.list())
}

pub(super) struct Teller<'a> {
    pub(super) core: Vec<Fact<'a>>,
    /// Everything that was done to the key, in the whole history.
    pub(super) facts: Facts<'a>,
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
        let mut core: Vec<Fact<'a>> = story
            .core
            .iter()
            .filter_map(|&op| Fact::of(history, domain, op))
            .collect();
        core.sort_by_key(|fact| fact.operation.record().invoked);
        Teller {
            core,
            facts: Facts::of(history, domain, story.moments),
            init: domain.init_value(),
            cycle: story.cycle.iter().map(|edge| edge.from).collect(),
            stuck: story.stuck,
            words: Words::of(history),
            appends: history.knows("append"),
        }
    }

    /// The observation that cannot be: the first of the core that saw what a write in the core had replaced; else the
    /// last of the core to complete that saw anything.
    fn victim(&self) -> Option<&Fact<'a>> {
        let observers = || {
            self.core
                .iter()
                .filter(|fact| fact.saw.is_some() || fact.missed.is_some())
        };
        let replaced = |victim: &&Fact<'a>| {
            let Some(value) = &victim.saw else { return false };
            let writes = self
                .core
                .iter()
                .filter(|fact| fact.made.is_some() && fact.before(victim));
            let end = victim.operation.record().completed;
            writes
                .filter(|write| write.made.as_ref() != Some(value))
                .any(|write| {
                    let mut makers = self.facts.makers(value);
                    makers.all(|maker| maker.before(write) || maker.operation.record().invoked > end)
                })
        };
        let first = observers()
            .filter(|fact| fact.made.is_none())
            .filter(replaced)
            .min_by_key(|fact| fact.operation.record().completed);
        first.or_else(|| {
            observers().max_by_key(|fact| {
                (
                    fact.operation.id() == self.stuck,
                    fact.operation.record().completed,
                )
            })
        })
    }

    /// Two cas took the same value away, although it was there once.
    fn two_cas(&self) -> Option<Told> {
        for (at, second) in self.core.iter().enumerate().filter(|(_, fact)| fact.exchanged()) {
            let first = self.core[..at].iter().filter(|fact| fact.exchanged());
            let Some(first) = first.into_iter().find(|first| first.saw == second.saw) else {
                continue;
            };
            let value = second.saw.as_ref()?;
            let makers: Vec<&Fact<'a>> = self.facts.makers(value).collect();
            let times = makers.len() + usize::from(*value == self.init);
            if times != 1 {
                continue;
            }
            let once = match makers.first() {
                None => format!("{value} was the initial value and nobody wrote it again"),
                Some(maker) => format!("{value} was written only once, by {}", self.who(maker)),
            };
            // One after the other, the second may have compared well, with a store that had lost what the first wrote.
            let (anomaly, meaning) = match first.before(second) {
                false => (Anomaly::NonAtomicCas, String::new()),
                true => self.became(second, first, value, Anomaly::LostWrite),
            };
            let sentence = format!(
                "{} and {} both succeeded on one value: {once}{meaning}",
                self.did(first),
                self.did(second)
            );
            let concerned = makers.iter().map(|maker| maker.operation.id()).collect();
            return Some(Told {
                sentence,
                anomaly,
                concerned,
            });
        }
        None
    }

    /// A cas that overlapped another change, and everything else could be explained if it had not compared.
    fn blind_cas(&self) -> Option<Told> {
        // It need not be in the core: there it stands for whoever may have written what was seen.
        let seen = |value: &Value| self.core.iter().any(|fact| fact.saw.as_ref() == Some(value));
        let concerned = |fact: &&Fact<'a>| {
            let core = self
                .core
                .iter()
                .any(|one| one.operation.id() == fact.operation.id());
            core || fact.made.as_ref().is_some_and(seen)
        };
        let concerned: Vec<&Fact<'a>> = self.facts.iter().filter(concerned).take(CONCERNED + 1).collect();
        if concerned.len() > CONCERNED {
            return None;
        }
        let cas = concerned.iter().copied();
        let cas = cas.filter(|fact| fact.exchanged() && fact.operation.record().completed != NEVER);
        let mut pairs = cas.flat_map(|cas| {
            let others = concerned.iter().copied().filter(|other| {
                other.changes()
                    && other.operation.id() != cas.operation.id()
                    && other.made != cas.saw
                    && !other.before(cas)
                    && !cas.before(other)
            });
            others.map(move |other| (cas, other)).collect::<Vec<_>>()
        });
        let (cas, other) =
            pairs.find(|(cas, _)| self.facts.legal_without_comparing(&self.core, cas, &self.init))?;
        let rest = self
            .core
            .iter()
            .filter(|fact| ![cas.operation.id(), other.operation.id()].contains(&fact.operation.id()));
        let given = match self.given(rest) {
            given if given.is_empty() => given,
            given => format!(" (given that {given})"),
        };
        let (saw, made) = (cas.saw.as_ref()?, cas.made.as_ref()?);
        let sentence = format!(
            "{}, but {} at the same time, which must have come between: the cas found {saw} and wrote {made} when \
             {saw} had been replaced already{given}",
            self.did(cas),
            self.did(other)
        );
        Some(Told {
            sentence,
            anomaly: Anomaly::NonAtomicCas,
            concerned: Vec::new(),
        })
    }

    /// A cas and a write that each would have to come before the other: the value that the cas found had been
    /// replaced when it wrote.
    fn torn_cas(&self) -> Option<Told> {
        let [one, two] = self.cycle[..] else { return None };
        let fact = |op: OpId| {
            let mut facts = self.core.iter().chain(self.facts.iter());
            facts.find(|fact| fact.operation.id() == op)
        };
        let (one, two) = (fact(one)?, fact(two)?);
        let (cas, other) = match (one.exchanged(), two.exchanged()) {
            (true, _) if two.made.is_some() && two.saw != one.saw => (one, two),
            (_, true) if one.made.is_some() && one.saw != two.saw => (two, one),
            _ => return None,
        };
        // One after the other they would be a stale read, or a cas that found what was gone.
        if cas.before(other) || other.before(cas) {
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
        let makers = self.facts.makers(value);
        let first = makers.min_by_key(|maker| maker.operation.record().invoked);
        Some(match (first, self.facts.refused(value)) {
            (None, Some(refused)) => self.wrote_although_refused(&what, value, &refused),
            (None, None) => {
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
            (Some(maker), _) if maker.operation.record().invoked > victim.operation.record().completed => {
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
            (Some(_), _) => return None,
        })
    }

    /// A value was seen although whoever asked for it had been refused.
    fn wrote_although_refused(&self, what: &str, value: &Value, refused: &Refusal<'a>) -> Told {
        let (who, when) = (refused.operation.process(), self.when(refused.operation));
        // A cas that met its own value was carried out twice, and the second time was told. One that met another was
        // refused by a node with that value, and done by one with the expected one.
        let (sentence, anomaly) = match &refused.found {
            Some(found) if found != value => (
                format!(
                    "{what}, but nobody wrote {value}: the cas of process {who} would have and was told {when} that \
                     {found} was there instead of what it expected"
                ),
                Anomaly::Divergence,
            ),
            _ => (
                format!(
                    "{what}, but nobody wrote {value}: process {who} had asked for it and was told {when} that it was \
                     not done"
                ),
                Anomaly::FailedWriteVisible,
            ),
        };
        Told {
            sentence,
            anomaly,
            concerned: vec![refused.operation.id()],
        }
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
            let piece = text(&lost.call.input).unwrap_or_default();
            let sentence = format!(
                "{}, which lacks {}, but {}, before that began",
                self.did(victim),
                super::text::named(&piece),
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
            .facts
            .makers(value)
            .filter(back)
            .any(|maker| maker.operation.record().invoked < victim.operation.record().completed)
        {
            return None;
        }
        let (what, other) = (self.did(victim), self.did(blocker));
        let before = self.before(value);
        let seen = blocker
            .made
            .as_ref()
            .is_none_or(|made| self.facts.iter().any(|fact| fact.saw.as_ref() == Some(made)));
        let otherwise = match (&blocker.made, &victim.made, seen) {
            (None, ..) => Anomaly::ReadsGoBackwards,
            (_, Some(_), _) => Anomaly::WrongCas,
            (_, None, true) => Anomaly::StaleRead,
            (_, None, false) => Anomaly::LostWrite,
        };
        let (anomaly, meaning) = self.became(victim, blocker, value, otherwise);
        let meaning = match (&blocker.made, seen) {
            (Some(made), false) if meaning.is_empty() => format!("; nobody ever saw {made}"),
            _ => meaning,
        };
        let sentence = format!(
            "{what}, but {other}, before that began, and nothing wrote {value} after it{before}{meaning}"
        );
        Some(Told {
            sentence,
            anomaly,
            concerned: self.ids_of_makers(value),
        })
    }

    /// What became of that which `blocker` left, when `victim` still saw `old`: the name of it and what to say.
    fn became(
        &self,
        victim: &Fact<'a>,
        blocker: &Fact<'a>,
        old: &Value,
        otherwise: Anomaly,
    ) -> (Anomaly, String) {
        let Some(new) = blocker.left() else {
            return (otherwise, String::new());
        };
        let end = victim.operation.record().completed;
        let makers = self
            .facts
            .makers(old)
            .map(|maker| maker.operation.record().invoked);
        let known = makers.filter(|&invoked| invoked < end).max();
        let own = victim.operation.id();
        let mut first_made: FxHashMap<&Value, u32> = FxHashMap::default();
        for fact in self.facts.iter().filter(|fact| fact.operation.id() != own) {
            if let Some(made) = &fact.made {
                first_made.entry(made).or_insert(fact.operation.record().invoked);
            }
        }
        let again = self.facts.makers(old).chain(self.facts.makers(new));
        let again = again.map(|maker| maker.operation.record().invoked);
        let until = again.filter(|&invoked| invoked > end).min().unwrap_or(NEVER);
        // What the victim itself wrote, if it was a cas, stands on the old value.
        let ours = victim.made.as_ref();
        let fate = self.facts.fate(blocker, victim, until, |value| {
            if value == new {
                Some(Sight::There)
            } else if value == old || Some(value) == ours {
                Some(Sight::Missing)
            } else {
                let later = first_made
                    .get(value)
                    .is_some_and(|&invoked| Some(invoked) > known);
                (later && ours.is_none()).then_some(Sight::Replaced)
            }
        });
        let deleted = new.is_nil() && !old.is_nil();
        let unacknowledged = self.facts.makers(old).count() > 0
            && self
                .facts
                .makers(old)
                .all(|maker| maker.operation.record().completed == NEVER);
        match fate {
            Fate::Apart(one, other) => (Anomaly::Divergence, self.apart(one, other)),
            Fate::Gone { looked, last } if deleted || unacknowledged => (
                Anomaly::ResurrectedValue,
                format!("; {old} is back: {}", self.agree(looked, last)),
            ),
            Fate::Gone { looked, last } => (Anomaly::LostWrite, self.gone(&shown(new), looked, last)),
            Fate::Shown(later) if ours.is_none() => (Anomaly::StaleRead, self.shown(&shown(new), later)),
            Fate::Outrun(later) if ours.is_none() => (
                Anomaly::StaleRead,
                format!("; {}: the answer was old", self.did(later)),
            ),
            Fate::Shown(_) | Fate::Outrun(_) | Fate::Untold => (otherwise, String::new()),
        }
    }

    /// The value was there all the time.
    pub(super) fn shown(&self, what: &str, later: &Fact<'_>) -> String {
        format!(
            "; {what} was not lost, for {}: the answer was old",
            self.did(later)
        )
    }

    /// The value is gone for good.
    pub(super) fn gone(&self, what: &str, looked: usize, last: &Fact<'_>) -> String {
        format!("; {what} is lost: {}", self.agree(looked, last))
    }

    fn agree(&self, looked: usize, last: &Fact<'_>) -> String {
        match looked {
            1 => format!("{} as well", self.did(last)),
            _ => format!("{looked} other answers say the same, at last {}", self.did(last)),
        }
    }

    /// Two nodes hold different things for good.
    pub(super) fn apart(&self, one: &Fact<'_>, other: &Fact<'_>) -> String {
        format!(
            "; when nobody wrote any more, {}, but {}: the nodes hold different values",
            self.did(one),
            self.did(other)
        )
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
        let others = self.core.iter().filter(|fact| {
            fact.operation.id() != victim.operation.id() && fact.operation.id() != witness.operation.id()
        });
        let given = match self.given(others) {
            given if given.is_empty() => given,
            given => format!(", given that {given}"),
        };
        let otherwise = match victim.made {
            Some(_) => Anomaly::WrongCas,
            None => Anomaly::StaleRead,
        };
        let (anomaly, meaning) = self.became(victim, witness, value, otherwise);
        let sentence = format!(
            "{}, but {}, before that began, and {value} cannot have come back{given}{meaning}",
            self.did(victim),
            self.did(witness)
        );
        Some(Told {
            sentence,
            anomaly,
            concerned: self.ids_of_makers(value),
        })
    }

    /// What else must be known, joined by `and that`; of many, the first and how many more there are.
    fn given<'f>(&'f self, facts: impl Iterator<Item = &'f Fact<'a>>) -> String {
        let facts: Vec<&Fact<'a>> = facts.collect();
        let told = match facts.len() {
            0..=MOST_GIVEN => facts.len(),
            _ => MOST_GIVEN - 1,
        };
        let mut parts: Vec<String> = facts[..told].iter().map(|fact| self.did(fact)).collect();
        if facts.len() > told {
            parts.push(format!(
                "{} other operations did what is listed",
                facts.len() - told
            ));
        }
        parts.join(", and that ")
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

    /// Who wrote the value that an operation saw, while that could still be seen.
    fn ids_of_makers(&self, value: &Value) -> Vec<OpId> {
        let seen = self.core.iter().filter(|fact| fact.saw.as_ref() == Some(value));
        let last = seen.map(|fact| fact.operation.record().completed).max();
        self.facts
            .makers(value)
            .filter(|maker| last.is_none_or(|last| maker.operation.record().invoked < last))
            .map(|maker| maker.operation.id())
            .take(MAKERS_SHOWN)
            .collect()
    }

    pub(super) fn init(&self) -> &Value {
        &self.init
    }

    /// `from 12.100 s to 12.200 s`.
    pub(super) fn when(&self, operation: Operation<'_>) -> String {
        self.words.when(operation)
    }

    /// `process 3 from 12.100 s to 12.200 s`.
    pub(super) fn who(&self, fact: &Fact<'_>) -> String {
        format!(
            "process {} {}",
            fact.operation.process(),
            self.words.when(fact.operation)
        )
    }

    /// `process 3 read k=4 through n2 from 12.310 s to 12.350 s`.
    pub(super) fn did(&self, fact: &Fact<'_>) -> String {
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
        "process {} {what}{}{node} {}",
        operation.process(),
        words.revision(call),
        words.when(operation)
    )
}

/// Where more operations than this wrote what was seen, no cas is singled out.
const CONCERNED: usize = 64;
/// A sentence holds no more conditions than this.
const MOST_GIVEN: usize = 3;
/// Longer lists are cut in sentences; the counterexample has them whole.
const LONGEST_LIST: usize = 8;
/// How many writes of the same value are listed beside the core.
const MAKERS_SHOWN: usize = 16;

/// A value for a sentence; that nothing is there is a value too.
fn shown(value: &Value) -> String {
    match value {
        Value::Nil => "that it had been deleted".to_owned(),
        other => other.to_string(),
    }
}
