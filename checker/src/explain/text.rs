//! Keys that are only appended to: a text says which appends it has seen, how often, in which order.

use rustc_hash::{FxHashMap, FxHashSet};

use super::cause::{Fate, Sight};
use super::facts::Fact;
use super::sentence::{Teller, Told};
use crate::history::{NEVER, Value};
use crate::verdict::Anomaly;

/// The pieces that were ever asked to be appended to a key, with the operations that did.
struct Pieces<'f, 'a> {
    by: FxHashMap<&'f str, Vec<&'f Fact<'a>>>,
    longest: usize,
    /// What was there before anything was appended.
    start: &'f str,
    /// The longest text that was read, without the start, and what it is made of. Nearly every other one is a
    /// beginning of it, and need not be taken apart again.
    spine: &'f str,
    spine_pieces: Vec<&'f str>,
    /// Where each of those ends.
    ends: Vec<usize>,
    /// Where each piece stands first among those.
    places: FxHashMap<&'f str, usize>,
}

/// A text taken apart: so many pieces of the spine, and more behind them.
struct Parts<'t> {
    shared: usize,
    rest: Vec<&'t str>,
}

/// What was seen in a text, in order, and to be asked for.
struct Seen<'f> {
    list: Vec<&'f str>,
    all: FxHashSet<&'f str>,
    /// How many of them are those of the spine.
    shared: usize,
}

impl<'f, 'a> Pieces<'f, 'a> {
    /// None where something else than `append` changes the key.
    fn of(teller: &'f Teller<'a>) -> Option<Self> {
        let mut by: FxHashMap<&'f str, Vec<&'f Fact<'a>>> = FxHashMap::default();
        for fact in teller.facts.iter().filter(|fact| fact.changes()) {
            by.entry(fact.added.as_ref()?.as_str()?).or_default().push(fact);
        }
        let start = whole(teller.init())?;
        let texts = teller.facts.iter().filter_map(|fact| fact.saw.as_ref());
        Self::new(by, start, texts)
    }

    fn new(
        by: FxHashMap<&'f str, Vec<&'f Fact<'a>>>,
        start: &'f str,
        texts: impl Iterator<Item = &'f Value>,
    ) -> Option<Self> {
        let longest = by.keys().map(|piece| piece.len()).max()?;
        let texts = texts.filter_map(|text| whole(text)?.strip_prefix(start));
        let spine = texts.max_by_key(|text| text.len()).unwrap_or_default();
        let mut pieces = Self {
            by,
            longest,
            start,
            spine,
            spine_pieces: Vec::new(),
            ends: Vec::new(),
            places: FxHashMap::default(),
        };
        pieces.spine_pieces = pieces.greedily(spine);
        let mut end = 0;
        for (at, piece) in pieces.spine_pieces.iter().enumerate() {
            end += piece.len();
            pieces.ends.push(end);
            pieces.places.entry(*piece).or_insert(at);
        }
        Some(pieces)
    }

    /// A text as the pieces that it is made of, the longest that fits first; what nobody appended is given whole,
    /// up to the next comma.
    fn greedily<'t>(&self, text: &'t str) -> Vec<&'t str> {
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

    /// The same, of what was read, as far as possible from what is known of the spine. Nothing for what is no text,
    /// or does not begin as the key did.
    fn split<'t>(&self, text: &'t Value) -> Option<Parts<'t>> {
        let grown = whole(text)?.strip_prefix(self.start)?;
        let common = match self.spine.starts_with(grown) {
            true => grown.len(),
            false => {
                let pairs = self.spine.bytes().zip(grown.bytes());
                pairs.take_while(|(one, other)| one == other).count()
            }
        };
        // A piece is the same if all that was looked at to find it is: as much as the longest piece, and itself.
        let within = |at: usize| {
            let begins = at.checked_sub(1).map_or(0, |before| self.ends[before]);
            begins + self.longest <= common && self.ends[at] <= common
        };
        let mut shared = self.ends.partition_point(|&end| end <= common);
        while shared > 0 && !within(shared - 1) {
            shared -= 1;
        }
        let taken = shared.checked_sub(1).map_or(0, |last| self.ends[last]);
        Some(Parts {
            shared,
            rest: self.greedily(&grown[taken..]),
        })
    }

    /// All pieces of a text.
    fn list(&self, text: &'f Value) -> Option<Vec<&'f str>> {
        let parts = self.split(text)?;
        let mut list = self.spine_pieces[..parts.shared].to_vec();
        list.extend(parts.rest);
        Some(list)
    }

    fn seen(&self, text: &'f Value) -> Option<Seen<'f>> {
        let list = self.list(text)?;
        let same = list.iter().zip(&self.spine_pieces);
        Some(Seen {
            all: list.iter().copied().collect(),
            shared: same.take_while(|(one, other)| one == other).count(),
            list,
        })
    }

    /// Whether a piece stands in a text.
    fn hold(&self, parts: &Parts<'_>, piece: &str) -> bool {
        let there = self.places.get(piece).is_some_and(|&at| at < parts.shared);
        there || parts.rest.contains(&piece)
    }

    /// Whether any of what was seen stands behind a piece in a text. `behind` is where it does in the spine.
    fn follows(&self, parts: &Parts<'_>, piece: &str, behind: Option<usize>, seen: &Seen<'_>) -> bool {
        if self.places.get(piece).is_some_and(|&at| at < parts.shared) {
            return behind.is_some_and(|at| at < parts.shared)
                || parts.rest.iter().any(|piece| seen.all.contains(piece));
        }
        let mut rest = parts.rest.iter().skip_while(|other| **other != piece);
        rest.any(|piece| seen.all.contains(piece))
    }

    /// Where in the spine something stands behind a piece that was seen elsewhere.
    fn behind(&self, piece: &str, seen: &Seen<'_>) -> Option<usize> {
        let from = *self.places.get(piece)?;
        let behind = self.spine_pieces[from..].iter();
        let at = behind.enumerate().find(|(_, piece)| seen.all.contains(*piece));
        at.map(|(at, _)| from + at)
    }

    /// The first place at which what was seen and another text hold different pieces; nothing if one begins with the
    /// other.
    fn parting<'t>(&'t self, seen: &'t Seen<'_>, parts: &'t Parts<'_>) -> Option<(&'t str, &'t str)> {
        let same = seen.shared.min(parts.shared);
        let spine = self.spine_pieces[same..parts.shared].iter();
        let other = spine.chain(parts.rest.iter());
        let mut pairs = seen.list[same..].iter().zip(other);
        pairs
            .find(|(one, other)| one != other)
            .map(|(one, other)| (*one, *other))
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
        let seen = pieces.seen(victim.saw.as_ref()?)?;
        self.unasked(victim, &seen, &pieces)
            .or_else(|| self.lacking(victim, &seen, &pieces))
            .or_else(|| self.disordered(victim, &seen, &pieces))
    }

    /// A piece that stands there more often than it was appended.
    fn unasked(&self, victim: &Fact<'a>, seen: &Seen<'_>, pieces: &Pieces<'_, 'a>) -> Option<Told> {
        let end = victim.operation.record().completed;
        let mut times: FxHashMap<&str, usize> = FxHashMap::default();
        for &piece in &seen.list {
            *times.entry(piece).or_default() += 1;
        }
        for &piece in &seen.list {
            let times = times[piece];
            let asked = pieces.by.get(piece).into_iter().flatten();
            let asked: Vec<&Fact<'a>> = asked
                .filter(|fact| fact.operation.record().invoked < end)
                .copied()
                .collect();
            if asked.len() >= times {
                continue;
            }
            let what = self.did(victim);
            let told = match (&asked[..], self.facts.refused(&Value::from(piece))) {
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
    fn lacking(&self, victim: &Fact<'a>, seen: &Seen<'_>, pieces: &Pieces<'_, 'a>) -> Option<Told> {
        // The one that lacks something is the later of the two, or a core of two reads that overlap may be told
        // either way.
        let earlier = self
            .core
            .iter()
            .filter(|fact| fact.operation.id() != victim.operation.id() && fact.before(victim));
        let evidence = earlier.filter_map(|fact| {
            let had = match (&fact.added, &fact.saw) {
                (Some(piece), _) => vec![piece.as_str()?],
                (None, Some(text)) => pieces.list(text)?,
                _ => return None,
            };
            let missing = had.into_iter().find(|piece| !seen.all.contains(piece))?;
            Some((fact, missing))
        });
        let (fact, missing) =
            evidence.max_by_key(|(fact, _)| (fact.added.is_some(), fact.operation.record().completed))?;
        let again = self.facts.iter().filter(|fact| {
            fact.added.as_ref().and_then(Value::as_str) == Some(missing)
                && fact.operation.record().invoked > victim.operation.record().completed
        });
        let until = again
            .map(|fact| fact.operation.record().invoked)
            .min()
            .unwrap_or(NEVER);
        let fate = self.facts.fate(fact, victim, until, |text| {
            let there = pieces.hold(&pieces.split(text)?, missing);
            Some(if there { Sight::There } else { Sight::Missing })
        });
        // Whatever stands behind the missing piece elsewhere stands here without it: no moment of the past.
        let behind = pieces.behind(missing, seen);
        let gap = self.facts.iter().find(|other| {
            let parts = other.saw.as_ref().and_then(|text| pieces.split(text));
            parts.is_some_and(|parts| pieces.follows(&parts, missing, behind, seen))
        });
        let looked_before = self.facts.iter().any(|other| {
            let parts = other.saw.as_ref().and_then(|text| pieces.split(text));
            other.before(victim) && parts.is_some_and(|parts| pieces.hold(&parts, missing))
        });
        let named = named(missing);
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
    fn disordered(&self, victim: &Fact<'a>, seen: &Seen<'_>, pieces: &Pieces<'_, 'a>) -> Option<Told> {
        let mut others = self
            .facts
            .iter()
            .filter(|fact| fact.operation.id() != victim.operation.id() && fact.added.is_none());
        let (other, has_ours, here, there) = others.find_map(|fact| {
            let parts = pieces.split(fact.saw.as_ref()?)?;
            let (here, there) = pieces.parting(seen, &parts)?;
            let (here, there) = (here.to_owned(), there.to_owned());
            Some((fact, pieces.hold(&parts, &here), here, there))
        })?;
        let (anomaly, meaning) = match (seen.all.contains(&*there), has_ours) {
            // Each has what the other lacks, or both have both, in another order.
            (false, false) | (true, true) => (Anomaly::Divergence, String::new()),
            // The one that lacks something is told apart by what is seen later.
            (has_theirs, _) => {
                let lost = if has_theirs { &here } else { &there };
                let (first, last) = match victim.before(other) {
                    true => (victim, other),
                    false => (other, victim),
                };
                let fate = self.facts.fate(first, last, NEVER, |text| {
                    let there = pieces.hold(&pieces.split(text)?, lost);
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
                named(&here),
                named(&there)
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

#[cfg(test)]
mod tests {
    use rand::rngs::ChaCha8Rng;
    use rand::{RngExt, SeedableRng};

    use super::*;

    /// Texts of a few pieces, some of which begin with others, and of what nobody appended, are the same pieces whether
    /// they are taken from the longest text or not.
    #[test]
    fn texts_fall_apart_alike_with_the_longest_and_without() {
        let mut random = ChaCha8Rng::seed_from_u64(7);
        let mut shared = 0;
        for case in 0..100 {
            let pieces = &["a", "ab", "abc,", "b", "c,", "ü", "a,ü"][random.random_range(0..4)..];
            let by = || pieces.iter().map(|piece| (*piece, Vec::new())).collect();
            let mut text = |length: usize| -> String {
                let letters = ["a", "b", "c", ",", "ü", "x"];
                (0..length)
                    .map(|_| letters[random.random_range(0..letters.len())])
                    .collect()
            };
            let spine = text(24);
            let mut texts: Vec<Value> = Vec::new();
            for length in 0..20 {
                let beginning: String = spine.chars().take(length).collect();
                texts.push(Value::from(beginning.clone() + &text(length % 3)));
                texts.push(Value::from(beginning));
            }
            texts.push(Value::from(spine));
            let apart = Pieces::new(by(), "", texts.iter()).expect("there are pieces");
            for text in &texts {
                let whole = text.as_str().expect("it is one");
                let plain = apart.greedily(whole);
                assert_eq!(
                    apart.list(text),
                    Some(plain.clone()),
                    "case {case}: {whole:?} of {:?}",
                    apart.spine
                );
                let parts = apart.split(text).expect("it is a text");
                shared += parts.shared;
                for piece in ["a", "ab", "c,", "x", "ü"] {
                    assert_eq!(
                        apart.hold(&parts, piece),
                        plain.contains(&piece),
                        "case {case}: {piece} in {whole:?}"
                    );
                }
                for other in &texts {
                    let seen = apart.seen(other).expect("it is a text");
                    let pairs = seen.list.iter().zip(&plain);
                    let parting = pairs
                        .map(|(one, other)| (*one, *other))
                        .find(|(one, other)| one != other);
                    assert_eq!(
                        apart.parting(&seen, &parts),
                        parting,
                        "case {case}: {other:?} and {whole:?}"
                    );
                    for piece in ["a", "b", "x"] {
                        let mut behind = plain.iter().skip_while(|other| **other != piece);
                        let follows = behind.any(|piece| seen.all.contains(piece));
                        let told = apart.follows(&parts, piece, apart.behind(piece, &seen), &seen);
                        assert_eq!(told, follows, "case {case}: {piece} in {whole:?}, of {other:?}");
                    }
                }
            }
        }
        assert!(shared > 1000, "only {shared} pieces were known from the longest");
    }
}
