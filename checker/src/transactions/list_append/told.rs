//! What was found of lists, said for people.

use crate::history::OpId;

use super::super::explain::Explain;
use super::super::finding::Finding;
use super::super::graph::Relation;
use super::super::node::{Elements, Node};
use super::super::transaction::WriteId;
use super::{Expected, List, Lists, Seen, UNREAD};

/// Sentences.
impl<'a> Lists<'_, 'a> {
    pub(super) fn internal(
        &self,
        id: OpId,
        key: u32,
        elements: Elements<'a>,
        expected: &Expected<'a>,
    ) -> Finding {
        let name = self.transactions.key(key);
        let own: Vec<String> = expected
            .own
            .iter()
            .map(|value| value.to_value().to_string())
            .collect();
        let expected = match expected.before {
            Some(before) if own.is_empty() => format!("it had read {} before", whole(before)),
            Some(before) => {
                format!(
                    "it had read {} before and then appended {}",
                    whole(before),
                    own.join(", ")
                )
            }
            None => format!("it had appended {} before", own.join(", ")),
        };
        let sentence = format!(
            "T{} read {} of key {name}, although {expected}",
            id.0,
            whole(elements)
        );
        Finding::new(Some(name.clone()), sentence, vec![id])
    }

    pub(super) fn incompatible(&self, key: u32, seen: Seen<'a>, against: OpId, common: usize) -> Finding {
        let name = self.transactions.key(key);
        let order = &self.lists[key as usize].order;
        let sentence = format!(
            "T{} read key {name} = {} and T{} read {}: they differ from place {} on, so neither continues the other",
            seen.by.0,
            around(seen.elements, common),
            against.0,
            window(order.iter().map(|element| element.value), order.len(), common),
            common + 1,
        );
        Finding::new(Some(name.clone()), sentence, vec![seen.by, against])
    }

    pub(super) fn garbage_read(&self, key: u32, seen: Seen<'a>, value: Node<'_>) -> Finding {
        let name = self.transactions.key(key);
        let sentence = format!(
            "T{} read key {name} = {} with {}, which nobody appended",
            seen.by.0,
            whole(seen.elements),
            value.to_value(),
        );
        Finding::new(Some(name.clone()), sentence, vec![seen.by])
    }

    pub(super) fn aborted_read(&self, key: u32, seen: Seen<'a>, write: WriteId) -> Finding {
        let name = self.transactions.key(key);
        let write = self.transactions.write(write);
        let sentence = format!(
            "T{} read key {name} = {} with {}, which T{} appended and which failed",
            seen.by.0,
            whole(seen.elements),
            write.value.to_value(),
            write.by.0,
        );
        Finding::new(Some(name.clone()), sentence, vec![write.by, seen.by])
    }

    pub(super) fn intermediate_read(&self, key: u32, seen: Seen<'a>, write: WriteId) -> Finding {
        let name = self.transactions.key(key);
        let write = self.transactions.write(write);
        let sentence = format!(
            "T{} read key {name} = {}, up to {}, which T{} appended before it appended more",
            seen.by.0,
            whole(seen.elements),
            write.value.to_value(),
            write.by.0,
        );
        Finding::new(Some(name.clone()), sentence, vec![write.by, seen.by])
    }

    pub(super) fn dirty_update(&self, key: u32, aborted: WriteId, committed: WriteId) -> Finding {
        let name = self.transactions.key(key);
        let list = &self.lists[key as usize];
        let (aborted, place) = (
            self.transactions.write(aborted),
            self.places[committed.0 as usize],
        );
        let committed = self.transactions.write(committed);
        let witness = list.witness.expect("a list with elements was read by somebody");
        let sentence = format!(
            "T{} appended {} to key {name} after {}, which T{} appended and which failed (T{} read {})",
            committed.by.0,
            committed.value.to_value(),
            aborted.value.to_value(),
            aborted.by.0,
            witness.0,
            list.shown(place as usize),
        );
        Finding::new(
            Some(name.clone()),
            sentence,
            vec![aborted.by, committed.by, witness],
        )
    }

    pub(super) fn future_read(&self, key: u32, seen: Seen<'a>, write: WriteId) -> Finding {
        let name = self.transactions.key(key);
        let sentence = format!(
            "T{} read key {name} = {} with {}, which it appended only afterwards",
            seen.by.0,
            whole(seen.elements),
            self.transactions.write(write).value.to_value(),
        );
        Finding::new(Some(name.clone()), sentence, vec![seen.by])
    }
}

impl Explain for Lists<'_, '_> {
    fn because(&self, from: OpId, to: OpId, relation: Relation, write: WriteId) -> (String, Vec<OpId>) {
        let what = self.transactions.write(write);
        let (name, value) = (self.transactions.key(what.key), what.value.to_value());
        let list = &self.lists[what.key as usize];
        let place = self.places[write.0 as usize];
        let shown = |place: usize| {
            let witness = list.witness.expect("a list with elements was read by somebody");
            (format!("T{} read {}", witness.0, list.shown(place)), witness)
        };
        let end = if place == UNREAD {
            list.order.len()
        } else {
            place as usize
        };
        match relation {
            Relation::Ww => {
                let earlier = list.order[..end].iter().rev().find_map(|element| {
                    let earlier = element.write?;
                    (self.transactions.write(earlier).by == from).then_some(element.value.to_value())
                });
                let earlier = earlier.map_or("something".to_owned(), |value| value.to_string());
                let (seen, witness) = shown(end.saturating_sub(usize::from(place == UNREAD)));
                let text = if place == UNREAD {
                    format!(
                        "T{} appended {value} to key {name} after everything that was read, T{}'s {earlier} included ({seen})",
                        to.0, from.0
                    )
                } else {
                    format!(
                        "T{} appended {value} to key {name} after T{} appended {earlier} ({seen})",
                        to.0, from.0
                    )
                };
                (text, vec![witness])
            }
            Relation::Rw => {
                let read = list
                    .reads
                    .iter()
                    .rfind(|seen| seen.by == from && seen.elements.len() <= end);
                let read = read.map_or("nothing".to_owned(), |seen| whole(seen.elements));
                if place == UNREAD {
                    let text = format!(
                        "T{} read key {name} = {read} without {value}, which T{} appended and no read shows, so after what was read",
                        from.0, to.0
                    );
                    (text, Vec::new())
                } else {
                    let (seen, witness) = shown(end);
                    let text = format!(
                        "T{} read key {name} = {read} without {value}, which T{} appended ({seen})",
                        from.0, to.0
                    );
                    (text, vec![witness])
                }
            }
            Relation::Wr | Relation::Process | Relation::Realtime => {
                let text = format!("T{} read {value} in key {name}, which T{} appended", to.0, from.0);
                (text, Vec::new())
            }
        }
    }
}

impl List<'_> {
    pub(super) fn shown(&self, place: usize) -> String {
        window(
            self.order.iter().map(|element| element.value),
            self.order.len(),
            place,
        )
    }
}

/// Lists up to this length are shown whole.
const SHOWN_WHOLE: usize = 12;
/// How much of a longer one is shown on either side of the place that matters.
const AROUND: usize = 3;

/// A list for a sentence; of a long one its end, which says which version it is.
pub(super) fn whole(elements: Elements<'_>) -> String {
    around(elements, elements.len().saturating_sub(1))
}

pub(super) fn around(elements: Elements<'_>, place: usize) -> String {
    window(elements.iter(), elements.len(), place)
}

fn window<'a>(elements: impl Iterator<Item = Node<'a>>, len: usize, place: usize) -> String {
    let (first, last) = if len <= SHOWN_WHOLE {
        (0, len)
    } else {
        (place.saturating_sub(AROUND), (place + AROUND + 1).min(len))
    };
    let values = elements.skip(first).take(last - first);
    let mut words: Vec<String> = values.map(|value| value.to_value().to_string()).collect();
    if first > 0 {
        words.insert(0, "…".to_owned());
    }
    if last < len {
        words.push("…".to_owned());
    }
    format!("[{}]", words.join(" "))
}
