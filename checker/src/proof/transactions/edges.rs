//! Why one transaction precedes another, from the two and the history alone.

use crate::history::{OpId, Outcome, Value};
use crate::transactions::{AnomalyKind, Evidence, Relation, Shape};

use super::facts::Facts;

/// What an edge rests on besides what was read and written, and the least shape of a cycle with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Rests {
    least: Shape,
    evidence: Evidence,
}

const DATA: Rests = Rests {
    least: Shape::G0,
    evidence: Evidence::Data,
};

impl Facts<'_> {
    /// On what it rests that `from` precedes `to` in this way, if it does.
    pub(super) fn precedes(&self, from: OpId, to: OpId, relation: Relation) -> Option<Rests> {
        if from == to || !self.happened(from) || !self.happened(to) {
            return None;
        }
        let evident = |evidence: Evidence| Rests { evidence, ..DATA };
        match relation {
            Relation::Realtime => self.in_time(from, to).then(|| evident(Evidence::Realtime)),
            Relation::Process => (self.in_time(from, to)
                && self.of_id(from).process == self.of_id(to).process)
                .then(|| evident(Evidence::Process)),
            Relation::Wr => self.read_from(from, to).then_some(DATA),
            Relation::Ww => self.overwrote(from, to).map(|rests| {
                let certain = |id: OpId| self.of_id(id).outcome == Outcome::Ok;
                match certain(from) && certain(to) {
                    true => rests,
                    // If it was aborted after all, that it was read is G1a.
                    false => Rests {
                        least: rests.least.max(Shape::G1c),
                        ..rests
                    },
                }
            }),
            Relation::Rw => self.missed(from, to),
        }
    }

    /// `to` read what `from` wrote: the register's value, or the last element that was not aborted.
    fn read_from(&self, from: OpId, to: OpId) -> bool {
        self.keys(to).into_iter().any(|key| {
            self.reads(to, key).any(|(_, read)| {
                let mut shown = self.shown(read).iter().rev();
                let by = shown.find_map(|value| {
                    let (by, _) = self.writer(key, value)?;
                    (self.of_id(by).outcome != Outcome::Fail).then_some(by)
                });
                by == Some(from)
            })
        })
    }

    /// What `to` wrote came after what `from` wrote.
    fn overwrote(&self, from: OpId, to: OpId) -> Option<Rests> {
        let mut best: Option<Rests> = None;
        for key in self.keys(from) {
            for (_, earlier) in self.writes(from, key) {
                for (_, later) in self.writes(to, key) {
                    let rests = match self.lists {
                        true => self.before_in_list(key, earlier, later).then_some(DATA),
                        false => self.before_in_register(key, earlier, to, later),
                    };
                    best = best.into_iter().chain(rests).min();
                }
            }
        }
        best
    }

    /// `to` wrote what came after what `from` read.
    fn missed(&self, from: OpId, to: OpId) -> Option<Rests> {
        let mut best: Option<Rests> = None;
        for key in self.keys(from) {
            for (_, read) in self.reads(from, key) {
                for (_, later) in self.writes(to, key) {
                    let rests = match self.lists {
                        true => self.beyond(key, self.shown(read), later).then_some(DATA),
                        false => self.before_in_register(key, read, to, later),
                    };
                    best = best.into_iter().chain(rests).min();
                }
            }
        }
        best
    }

    /// Some read shows the one element before the other, or the one without the other, which no read shows.
    fn before_in_list(&self, key: &Value, earlier: &Value, later: &Value) -> bool {
        let (mut before, mut without, mut shown) = (false, false, false);
        for &(reader, at) in self.readers(key) {
            let read = self.shown(&self.of_id(reader).steps[at].value);
            let place = |element: &Value| read.iter().position(|other| other == element);
            match (place(earlier), place(later)) {
                (Some(one), Some(two)) => before |= one < two,
                (Some(_), None) => without = true,
                _ => {}
            }
            shown |= place(later).is_some();
        }
        before || without && !shown
    }

    /// The read ends before this element: another read continues it up to there, or no read shows the element.
    fn beyond(&self, key: &Value, read: &[Value], later: &Value) -> bool {
        if read.contains(later) {
            return false;
        }
        let mut shown = false;
        for &(reader, at) in self.readers(key) {
            let other = self.shown(&self.of_id(reader).steps[at].value);
            if other.contains(later) {
                shown = true;
                if other.starts_with(read) {
                    return true;
                }
            }
        }
        !shown
    }

    /// The one value was there before the other, which `by` wrote.
    fn before_in_register(&self, key: &Value, earlier: &Value, by: OpId, later: &Value) -> Option<Rests> {
        if earlier == later {
            return None;
        }
        let initial = *earlier == self.init && self.writer(key, earlier).is_none();
        if initial || self.replaced(by, key) == (Some(earlier), Some(later)) {
            return Some(DATA);
        }
        [Evidence::Process, Evidence::Realtime]
            .into_iter()
            .filter_map(|evidence| {
                let given = self.assumed(evidence)?;
                let rests = match given {
                    true => DATA,
                    false => Rests {
                        least: Shape::GSingle,
                        evidence,
                    },
                };
                self.touched_before(key, earlier, later, evidence)
                    .then_some(rests)
            })
            .min()
    }

    /// One transaction left the one value, or saw it, before another one saw or wrote the other.
    pub(super) fn touched_before(
        &self,
        key: &Value,
        earlier: &Value,
        later: &Value,
        evidence: Evidence,
    ) -> bool {
        let touches = self.touches(key);
        touches.iter().filter(|one| one.last == *earlier).any(|one| {
            let follow = touches.iter().filter(|two| two.first == *later);
            follow.into_iter().any(|two| {
                let process = self.of_id(one.by).process == self.of_id(two.by).process;
                one.by != two.by
                    && self.in_time(one.by, two.by)
                    && (process || evidence == Evidence::Realtime)
            })
        })
    }
}

/// What a cycle of such edges is, its weakest edge counted.
pub(super) fn kind_of(edges: &[(Relation, Rests)]) -> AnomalyKind {
    let count = |relation| edges.iter().filter(|(other, _)| *other == relation).count();
    let adjacent = (0..edges.len()).any(|at| {
        let next = (at + 1) % edges.len();
        edges[at].0 == Relation::Rw && edges[next].0 == Relation::Rw
    });
    let shape = match (count(Relation::Rw), count(Relation::Wr)) {
        (0, 0) => Shape::G0,
        (0, _) => Shape::G1c,
        (1, _) => Shape::GSingle,
        _ if adjacent => Shape::G2Item,
        _ => Shape::GNonadjacent,
    };
    let least = edges.iter().map(|(_, rests)| rests.least).max();
    let evidence = edges.iter().map(|(_, rests)| rests.evidence).max();
    AnomalyKind::Cycle(
        shape.max(least.unwrap_or(Shape::G0)),
        evidence.unwrap_or(Evidence::Data),
    )
}
