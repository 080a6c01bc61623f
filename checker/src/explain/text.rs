//! Keys that are only appended to: a text says which appends it has seen, how often, in which order.

use std::collections::BTreeMap;

use super::cause::{Fate, Sight};
use super::facts::Fact;
use super::sentence::{Teller, Told};
use crate::history::{NEVER, Value};
use crate::verdict::Anomaly;

/// The pieces that were ever asked to be appended to a key, with the operations that did.
struct Pieces<'f, 'a> {
    by: BTreeMap<&'f str, Vec<&'f Fact<'a>>>,
    longest: usize,
}

impl<'f, 'a> Pieces<'f, 'a> {
    /// None where something else than `append` changes the key.
    fn of(teller: &'f Teller<'a>) -> Option<Self> {
        let mut by: BTreeMap<&'f str, Vec<&'f Fact<'a>>> = BTreeMap::new();
        for fact in teller.facts.iter().filter(|fact| fact.changes()) {
            by.entry(fact.added.as_ref()?.as_str()?).or_default().push(fact);
        }
        let longest = by.keys().map(|piece| piece.len()).max()?;
        Some(Self { by, longest })
    }

    /// A text as the pieces that it is made of, the longest that fits first; what nobody appended is given whole,
    /// up to the next comma.
    fn split<'t>(&self, text: &'t str) -> Vec<&'t str> {
        let mut pieces = Vec::new();
        let mut rest = text;
        while !rest.is_empty() {
            let known = (1..=self.longest.min(rest.len())).rev();
            let known = known
                .filter_map(|length| rest.get(..length))
                .find(|piece| self.by.contains_key(piece));
            let piece = known.unwrap_or_else(|| {
                let end = rest.find(',').map_or(rest.len(), |comma| comma + 1);
                &rest[..end]
            });
            pieces.push(piece);
            rest = &rest[piece.len()..];
        }
        pieces
    }
}

impl<'a> Teller<'a> {
    /// What is wrong with texts, where a key is only appended to.
    pub(super) fn text(&self, victim: &Fact<'a>) -> Option<Told> {
        let texts = self.facts.iter().filter_map(|fact| fact.saw.as_ref()?.as_str());
        if texts.map(str::len).sum::<usize>() > LONGEST {
            return None;
        }
        let pieces = Pieces::of(self)?;
        let start = self.init_text()?;
        let split = |value: &Value| -> Option<Vec<String>> {
            let text = whole(value)?;
            let grown = text.strip_prefix(start)?;
            Some(pieces.split(grown).into_iter().map(str::to_owned).collect())
        };
        let seen = split(victim.saw.as_ref()?)?;
        self.unasked(victim, &seen, &pieces)
            .or_else(|| self.lacking(victim, &seen, &split))
            .or_else(|| self.disordered(victim, &seen, &split))
    }

    fn init_text(&self) -> Option<&str> {
        match self.init() {
            Value::Nil => Some(""),
            other => other.as_str(),
        }
    }

    /// A piece that stands there more often than it was appended.
    fn unasked(&self, victim: &Fact<'a>, seen: &[String], pieces: &Pieces<'_, 'a>) -> Option<Told> {
        let end = victim.operation.record().completed;
        for piece in seen {
            let times = seen.iter().filter(|other| *other == piece).count();
            let asked = pieces.by.get(piece.as_str()).into_iter().flatten();
            let asked: Vec<&Fact<'a>> = asked
                .filter(|fact| fact.operation.record().invoked < end)
                .copied()
                .collect();
            let what = self.did(victim);
            let told = match (&asked[..], self.facts.refused(&Value::from(piece.as_str()))) {
                (several, _) if several.len() >= times => continue,
                ([], Some(refused)) => Told {
                    sentence: format!(
                        "{what}, in which {piece} stands, but process {} was told {} that it had not been appended",
                        refused.operation.process(),
                        self.when(refused.operation)
                    ),
                    anomaly: Anomaly::FailedWriteVisible,
                    concerned: vec![refused.operation.id()],
                },
                ([], None) => Told {
                    sentence: format!(
                        "{what}, in which {piece} stands, but nobody had appended {piece} by then"
                    ),
                    anomaly: Anomaly::PhantomValue,
                    concerned: Vec::new(),
                },
                (several, _) => Told {
                    sentence: format!(
                        "{what}, in which {piece} stands {}, but it was appended {}, {}: the write took effect again",
                        times_in_words(times),
                        times_in_words(several.len()),
                        several
                            .iter()
                            .map(|fact| format!("by {}", self.who(fact)))
                            .collect::<Vec<_>>()
                            .join(" and ")
                    ),
                    anomaly: Anomaly::Duplicate,
                    concerned: several.iter().map(|fact| fact.operation.id()).collect(),
                },
            };
            return Some(told);
        }
        None
    }

    /// A text lacks what had been appended, or read, before it was read.
    fn lacking(
        &self,
        victim: &Fact<'a>,
        seen: &[String],
        split: &impl Fn(&Value) -> Option<Vec<String>>,
    ) -> Option<Told> {
        // The one that lacks something is the later of the two, or a core of two reads that overlap may be told
        // either way.
        let earlier = self
            .core
            .iter()
            .filter(|fact| fact.operation.id() != victim.operation.id() && fact.before(victim));
        let evidence = earlier.filter_map(|fact| {
            let had = match (&fact.added, &fact.saw) {
                (Some(piece), _) => vec![piece.as_str()?.to_owned()],
                (None, Some(text)) => split(text)?,
                _ => return None,
            };
            let missing = had.into_iter().find(|piece| !seen.contains(piece))?;
            Some((fact, missing))
        });
        let (fact, missing) =
            evidence.max_by_key(|(fact, _)| (fact.added.is_some(), fact.operation.record().completed))?;
        let again = self.facts.iter().filter(|fact| {
            fact.added.as_ref().and_then(Value::as_str) == Some(&missing)
                && fact.operation.record().invoked > victim.operation.record().completed
        });
        let until = again
            .map(|fact| fact.operation.record().invoked)
            .min()
            .unwrap_or(NEVER);
        let fate = self.facts.fate(fact, victim, until, |text| {
            let there = split(text)?.contains(&missing);
            Some(if there { Sight::There } else { Sight::Missing })
        });
        // Whatever stands behind the missing piece elsewhere stands here without it: no moment of the past.
        let gap = self.facts.iter().find(|other| {
            let text = other.saw.as_ref().and_then(split).unwrap_or_default();
            text.iter()
                .skip_while(|piece| **piece != missing)
                .any(|piece| seen.contains(piece))
        });
        let looked_before = self.facts.iter().any(|other| {
            other.before(victim)
                && other
                    .saw
                    .as_ref()
                    .and_then(split)
                    .is_some_and(|text| text.contains(&missing))
        });
        let named = named(&missing);
        let (anomaly, meaning) = match (fate, gap) {
            (Fate::Apart(one, other), _) => (Anomaly::Divergence, self.apart(one, other)),
            (Fate::Gone { looked, last }, _) => (Anomaly::LostWrite, self.gone(named, looked, last)),
            (Fate::Shown(_) | Fate::Outrun(_) | Fate::Untold, Some(other)) => (
                Anomaly::Divergence,
                format!(
                    "; but {}, where {named} comes before what was read here without it: the nodes went through different changes",
                    self.did(other)
                ),
            ),
            (Fate::Shown(later) | Fate::Outrun(later), None) => {
                (Anomaly::StaleRead, self.shown(named, later))
            }
            (Fate::Untold, None) if looked_before => (Anomaly::ReadsGoBackwards, String::new()),
            (Fate::Untold, None) => (Anomaly::LostWrite, format!("; nobody ever saw {named}")),
        };
        let longer = match fact.added {
            Some(_) => "",
            None => ", with it,",
        };
        Some(Told {
            sentence: format!(
                "{}, which lacks {named}, but {}{longer} before that began{meaning}",
                self.did(victim),
                self.did(fact)
            ),
            anomaly,
            concerned: Vec::new(),
        })
    }

    /// Two texts of which neither can have grown into the other.
    fn disordered(
        &self,
        victim: &Fact<'a>,
        seen: &[String],
        split: &impl Fn(&Value) -> Option<Vec<String>>,
    ) -> Option<Told> {
        let others = self
            .facts
            .iter()
            .filter(|fact| fact.operation.id() != victim.operation.id() && fact.added.is_none());
        let (other, text) = others
            .filter_map(|fact| Some((fact, split(fact.saw.as_ref()?)?)))
            .find(|(_, text)| !seen.starts_with(text) && !text.starts_with(seen))?;
        let at = seen.iter().zip(&text).take_while(|(one, two)| one == two).count();
        let (here, there) = (&seen[at], &text[at]);
        let (anomaly, meaning) = match (seen.contains(there), text.contains(here)) {
            // Each has what the other lacks, or both have both, in another order.
            (false, false) | (true, true) => (Anomaly::Divergence, String::new()),
            // The one that lacks something is told apart by what is seen later.
            (has_theirs, _) => {
                let lost = if has_theirs { here } else { there };
                let (first, last) = match victim.before(other) {
                    true => (victim, other),
                    false => (other, victim),
                };
                let fate = self.facts.fate(first, last, NEVER, |text| {
                    let there = split(text)?.contains(lost);
                    Some(if there { Sight::There } else { Sight::Missing })
                });
                match fate {
                    Fate::Apart(one, other) => (Anomaly::Divergence, self.apart(one, other)),
                    Fate::Gone { looked, last } => (Anomaly::LostWrite, self.gone(named(lost), looked, last)),
                    Fate::Shown(_) | Fate::Outrun(_) | Fate::Untold => (Anomaly::Divergence, String::new()),
                }
            }
        };
        let meaning = match meaning.is_empty() {
            true => ": the nodes went through different changes".to_owned(),
            false => meaning,
        };
        Some(Told {
            sentence: format!(
                "{}, but {}, and neither can have grown into the other by appending: behind the same beginning \
                 comes {} here and {} there{meaning}",
                self.did(victim),
                self.did(other),
                named(here),
                named(there)
            ),
            anomaly,
            concerned: Vec::new(),
        })
    }
}

/// Texts of more bytes in all are not taken apart.
const LONGEST: usize = 4 << 20;

/// A value as a text; nothing is the empty one.
fn whole(value: &Value) -> Option<&str> {
    match value {
        Value::Nil => Some(""),
        other => other.as_str(),
    }
}

fn times_in_words(times: usize) -> String {
    match times {
        1 => "once".to_owned(),
        2 => "twice".to_owned(),
        more => format!("{more} times"),
    }
}

/// A piece of a text as sentences name it: without a comma that ends it, which would read as one of the sentence.
pub(super) fn named(piece: &str) -> &str {
    piece
        .strip_suffix(',')
        .filter(|rest| !rest.is_empty())
        .unwrap_or(piece)
}
