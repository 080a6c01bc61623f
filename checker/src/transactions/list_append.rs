//! Lists that transactions append to: every read shows the order of all the writes before it.
//!
//! The longest read of a list is the order of its versions, provided that every other read is a beginning of
//! it. Appends that no read shows came after everything that was read; their own order is not known and, since
//! nobody saw it, decides nothing. With that the dependency graph is complete: a history of this form whose
//! graph (with the real-time edges) has no cycle, and which shows none of the anomalies that need no graph, has
//! a serial order (that agrees with real time), and any topological order of the graph is one.

mod told;

use crate::history::{OpId, Outcome};

use super::anomaly::AnomalyKind;
use super::finding::{Finding, Findings, MOST_NAMED, all_of};
use super::graph::{Dependencies, Grounds, Relation, happened};
use super::met::Met;
use super::node::{Elements, Node, Numbers, push_under};
use super::pace::Pace;
use super::transaction::{Step, Transactions, WriteId};
use told::{around, whole};

/// What the reads say about the lists.
pub(super) struct Lists<'t, 'a> {
    transactions: &'t Transactions<'a>,
    lists: Vec<List<'a>>,
    /// The place of a write's element in the order of its list, [`UNREAD`] if no read shows it.
    places: Vec<u32>,
    /// Whether some read shows a write of the transaction.
    seen: Vec<bool>,
    /// Elements that nobody wrote.
    garbage: Numbers,
}

/// One key.
#[derive(Default)]
struct List<'a> {
    /// The longest read.
    order: Vec<Element<'a>>,
    /// Who read it.
    witness: Option<OpId>,
    /// How far all reads agree with it, if not all do.
    agreed: Option<usize>,
    /// Reads that are beginnings of it.
    reads: Vec<Seen<'a>>,
    /// Reads that are not.
    strange: Vec<Seen<'a>>,
}

#[derive(Clone, Copy)]
struct Element<'a> {
    value: Node<'a>,
    write: Option<WriteId>,
}

#[derive(Clone, Copy)]
struct Seen<'a> {
    by: OpId,
    step: u32,
    elements: Elements<'a>,
}

const UNREAD: u32 = u32::MAX;

/// What a transaction has to see of a list.
#[derive(Default)]
struct Expected<'a> {
    /// What it read last.
    before: Option<Elements<'a>>,
    /// What it appended since.
    own: Vec<Node<'a>>,
}

impl Expected<'_> {
    fn fits(&self, elements: Elements<'_>) -> bool {
        let Some(rest) = elements.len().checked_sub(self.own.len()) else {
            return false;
        };
        let begins = self.before.is_none_or(|before| {
            before.len() == rest && before.iter().zip(elements.iter()).all(|(a, b)| a == b)
        });
        begins && elements.iter().skip(rest).zip(&self.own).all(|(a, b)| a == *b)
    }
}

impl<'t, 'a> Lists<'t, 'a> {
    pub(super) fn of(
        transactions: &'t Transactions<'a>,
        findings: &mut Findings,
        pace: &mut Pace,
    ) -> Lists<'t, 'a> {
        let mut lists = Lists {
            transactions,
            lists: Vec::new(),
            places: vec![UNREAD; transactions.writes.len()],
            seen: vec![false; transactions.list.len()],
            garbage: Numbers::default(),
        };
        lists.lists.resize_with(transactions.keys.len(), List::default);
        let mut met = Met::of_keys(transactions.keys.len());
        for id in transactions.ids() {
            for (step, what) in transactions.steps(id).iter().enumerate() {
                if let Step::Read { key, seen } = *what {
                    let elements = seen.elements().unwrap_or(Elements::NONE);
                    // Once here, and once against what was appended.
                    if !pace.goes_on(2 * elements.len()) {
                        return lists;
                    }
                    lists.read(
                        key,
                        Seen {
                            by: id,
                            step: step as u32,
                            elements,
                        },
                        findings,
                    );
                }
            }
            if !pace.goes_on(1 + transactions.steps(id).len()) {
                return lists;
            }
            lists.check_internal(id, &mut met, findings);
        }
        for key in 0..lists.lists.len() as u32 {
            if !lists.check_strange(key, findings, pace) {
                return lists;
            }
            lists.check_aborted(key, findings);
            if !lists.check_reads(key, findings, pace) {
                return lists;
            }
        }
        lists.check_lost_updates(&mut met, findings, pace);
        lists
    }

    /// Takes one read into the order of its list.
    fn read(&mut self, key: u32, seen: Seen<'a>, findings: &mut Findings) {
        let list = &mut self.lists[key as usize];
        let (known, len) = (list.order.len(), seen.elements.len());
        let common = list
            .order
            .iter()
            .zip(seen.elements.iter())
            .take_while(|(element, node)| element.value == *node)
            .count();
        if common < known.min(len) {
            let against = list.witness.expect("a list with elements was read by somebody");
            list.agreed = Some(list.agreed.map_or(common, |agreed| agreed.min(common)));
            list.strange.push(seen);
            findings.add(AnomalyKind::IncompatibleOrder, || {
                self.incompatible(key, seen, against, common)
            });
            return;
        }
        for value in seen.elements.iter().skip(known) {
            let write = self.transactions.writer(key, value);
            let list = &mut self.lists[key as usize];
            let twice = match write {
                Some(write) => self.places[write.0 as usize] != UNREAD,
                None => {
                    let new = self.garbage.put(key, value, list.order.len() as u32);
                    new != list.order.len() as u32
                }
            };
            if twice {
                for element in list.order.drain(known..) {
                    if let Some(write) = element.write {
                        self.places[write.0 as usize] = UNREAD;
                    }
                }
                list.agreed = Some(list.agreed.map_or(known, |agreed| agreed.min(known)));
                list.strange.push(seen);
                return;
            }
            if let Some(write) = write {
                self.places[write.0 as usize] = list.order.len() as u32;
            }
            list.order.push(Element { value, write });
        }
        let list = &mut self.lists[key as usize];
        if len > known {
            list.witness = Some(seen.by);
        }
        list.reads.push(seen);
    }

    /// What a transaction reads must be what it read before and then appended.
    fn check_internal(&self, id: OpId, met: &mut Met, findings: &mut Findings) {
        let mut expected: Vec<Expected<'a>> = Vec::new();
        met.begin();
        for step in self.transactions.steps(id) {
            let (place, new) = met.meet(self.transactions.key_of(*step));
            if new {
                expected.push(Expected::default());
            }
            let expected = &mut expected[place];
            match *step {
                Step::Write(write) => expected.own.push(self.transactions.write(write).value),
                Step::Read { key, seen } => {
                    let elements = seen.elements().unwrap_or(Elements::NONE);
                    if !expected.fits(elements) {
                        findings.add(AnomalyKind::Internal, || {
                            self.internal(id, key, elements, expected)
                        });
                        return;
                    }
                    expected.before = Some(elements);
                    expected.own.clear();
                }
            }
        }
    }

    /// Reads that fit no order: do they hold elements twice, or elements that cannot be there at all?
    /// Says whether there was time for all of them.
    fn check_strange(&mut self, key: u32, findings: &mut Findings, pace: &mut Pace) -> bool {
        let name = self.transactions.key(key);
        let strange = std::mem::take(&mut self.lists[key as usize].strange);
        for seen in &strange {
            if !pace.goes_on(seen.elements.len()) {
                break;
            }
            let mut counts = Numbers::default();
            for (at, value) in seen.elements.iter().enumerate() {
                let first = counts.put(0, value, at as u32);
                if first != at as u32 {
                    findings.add(AnomalyKind::DuplicateElements, || {
                        let sentence = format!(
                            "T{} read {value} twice in key {name} = {list}, but it was appended once",
                            seen.by.0,
                            value = value.to_value(),
                            list = around(seen.elements, at),
                        );
                        Finding::new(Some(name.clone()), sentence, vec![seen.by])
                    });
                }
                match self.transactions.writer(key, value) {
                    None => findings.add(AnomalyKind::GarbageRead, || self.garbage_read(key, *seen, value)),
                    Some(write) => {
                        let by = self.transactions.write(write).by;
                        self.seen[by.0 as usize] = true;
                        if self.transactions.outcome(by) == Outcome::Fail {
                            findings.add(AnomalyKind::G1a, || self.aborted_read(key, *seen, write));
                        }
                        if by == seen.by && self.later_in(seen.by, seen.step, write) {
                            findings.add(AnomalyKind::FutureRead, || self.future_read(key, *seen, write));
                        }
                    }
                }
            }
        }
        self.lists[key as usize].strange = strange;
        pace.stopped().is_none()
    }

    /// Aborted elements in the order, and committed ones after them.
    fn check_aborted(&mut self, key: u32, findings: &mut Findings) {
        let mut aborted: Option<WriteId> = None;
        for element in &self.lists[key as usize].order {
            let Some(write) = element.write else { continue };
            let by = self.transactions.write(write).by;
            self.seen[by.0 as usize] = true;
            match self.transactions.outcome(by) {
                Outcome::Fail => aborted = Some(write),
                Outcome::Info => {}
                Outcome::Ok => {
                    if let Some(aborted) = aborted.take() {
                        findings.add(AnomalyKind::DirtyUpdate, || {
                            self.dirty_update(key, aborted, write)
                        });
                    }
                }
            }
        }
    }

    /// Reads of what nobody wrote, of what was aborted, of what was not final, of what was still to come. Says whether
    /// there was time for all of them.
    fn check_reads(&self, key: u32, findings: &mut Findings, pace: &mut Pace) -> bool {
        let list = &self.lists[key as usize];
        let is = |outcome: Outcome| {
            move |element: &Element<'_>| {
                element.write.is_some_and(|write| {
                    self.transactions.outcome(self.transactions.write(write).by) == outcome
                })
            }
        };
        let garbage = list.order.iter().position(|element| element.write.is_none());
        let aborted = list.order.iter().position(is(Outcome::Fail));
        if !pace.goes_on(list.order.len()) {
            return false;
        }
        for &seen in &list.reads {
            // What is still to come is looked for among its own steps.
            if !pace.goes_on(1 + self.transactions.steps(seen.by).len()) {
                return false;
            }
            let len = seen.elements.len();
            if let Some(garbage) = garbage.filter(|&garbage| garbage < len) {
                findings.add(AnomalyKind::GarbageRead, || {
                    self.garbage_read(key, seen, list.order[garbage].value)
                });
            }
            if let Some(aborted) = aborted.filter(|&aborted| aborted < len) {
                let write = list.order[aborted].write.expect("aborted by somebody");
                findings.add(AnomalyKind::G1a, || self.aborted_read(key, seen, write));
            }
            self.check_future(key, seen, findings);
        }
        for &seen in list.reads.iter().chain(&list.strange) {
            let Some(write) = self.last_write(key, seen) else {
                continue;
            };
            let last = self.transactions.write(write);
            if last.replaced && last.by != seen.by && self.transactions.outcome(last.by) != Outcome::Fail {
                findings.add(AnomalyKind::G1b, || self.intermediate_read(key, seen, write));
            }
        }
        true
    }

    fn check_future(&self, key: u32, seen: Seen<'a>, findings: &mut Findings) {
        for step in &self.transactions.steps(seen.by)[seen.step as usize..] {
            if let Step::Write(write) = *step
                && self.transactions.write(write).key == key
                && (self.places[write.0 as usize] as usize) < seen.elements.len()
            {
                findings.add(AnomalyKind::FutureRead, || self.future_read(key, seen, write));
            }
        }
    }

    /// Who read one version and appended to it: there can be one such transaction.
    fn check_lost_updates(&self, met: &mut Met, findings: &mut Findings, pace: &mut Pace) {
        let mut updaters: Vec<Vec<(Elements<'a>, OpId)>> = Vec::new();
        for id in self.transactions.ids() {
            // For each key the version that was read first, until the key is written.
            let mut first: Vec<(u32, Option<Elements<'a>>)> = Vec::new();
            if !pace.goes_on(1 + self.transactions.steps(id).len()) {
                return;
            }
            met.begin();
            for step in self.transactions.steps(id) {
                let key = self.transactions.key_of(*step);
                let (place, new) = met.meet(key);
                match *step {
                    Step::Read { seen, .. } if new => {
                        first.push((key, Some(seen.elements().unwrap_or(Elements::NONE))));
                    }
                    Step::Write(_) if new => first.push((key, None)),
                    Step::Read { .. } => {}
                    Step::Write(_) => {
                        if let Some(version) = first[place].1.take() {
                            push_under(&mut updaters, key, (version, id));
                        }
                    }
                }
            }
        }
        for (key, updaters) in updaters.iter_mut().enumerate() {
            updaters.sort_by_key(|(version, _)| version.len());
            for group in updaters.chunk_by(|(one, _), (two, _)| {
                one.len() == two.len() && one.iter().zip(two.iter()).all(|(a, b)| a == b)
            }) {
                // Each was compared with the one before it.
                if !pace.goes_on(group.len().saturating_mul(1 + group[0].0.len())) {
                    return;
                }
                if group.len() < 2 {
                    continue;
                }
                findings.add(AnomalyKind::LostUpdate, || {
                    let name = self.transactions.key(key as u32);
                    let sentence = format!(
                        "{} read key {name} = {} and then appended to it: each missed what the others appended",
                        all_of(group.iter().map(|&(_, id)| id)),
                        whole(group[0].0),
                    );
                    let ids = group.iter().map(|&(_, id)| id).take(MOST_NAMED).collect();
                    Finding::new(Some(name.clone()), sentence, ids)
                });
            }
        }
    }

    /// Adds every dependency to a graph; says which transactions count as having happened.
    pub(super) fn link(&self, graph: &mut Dependencies) -> Vec<bool> {
        let happened = happened(self.transactions, &self.seen);
        let mut unread: Vec<Vec<(OpId, WriteId)>> = Vec::new();
        for (at, write) in self.transactions.writes.iter().enumerate() {
            if self.places[at] == UNREAD && happened[write.by.0 as usize] {
                push_under(&mut unread, write.key, (write.by, WriteId(at as u32)));
            }
        }
        unread.resize(self.lists.len(), Vec::new());
        for (key, unread) in unread.iter().enumerate() {
            if graph.stopped.is_some() {
                break;
            }
            self.link_list(key as u32, unread, graph);
        }
        happened
    }

    fn link_list(&self, key: u32, unread: &[(OpId, WriteId)], graph: &mut Dependencies) {
        let list = &self.lists[key as usize];
        let end = list.agreed.unwrap_or(list.order.len());
        let mut committed: Vec<(usize, OpId, WriteId)> = Vec::with_capacity(end);
        for (at, element) in list.order[..end].iter().enumerate() {
            let Some(write) = element.write else { continue };
            let by = self.transactions.write(write).by;
            if self.transactions.outcome(by) != Outcome::Fail {
                if let Some(&(_, before, _)) = committed.last() {
                    graph.link(before, by, Relation::Ww, self.grounds(before, by), write);
                }
                committed.push((at, by, write));
            }
        }
        let unread = if list.agreed.is_none() { unread } else { &[] };
        if let Some(&(_, before, _)) = committed.last() {
            for &(by, write) in unread {
                graph.link(before, by, Relation::Ww, self.grounds(before, by), write);
            }
        }
        let mut latest: Vec<OpId> = Vec::new();
        for seen in list.reads.iter().chain(&list.strange) {
            let len = seen.elements.len();
            let Some(write) = self.last_committed(key, *seen) else {
                self.link_first(seen.by, len, &committed, end, &mut latest, graph);
                continue;
            };
            let by = self.transactions.write(write).by;
            if by == seen.by {
                continue;
            }
            graph.link(by, seen.by, Relation::Wr, Grounds::DATA, write);
            self.link_first(seen.by, len, &committed, end, &mut latest, graph);
        }
        latest.sort_unstable();
        latest.dedup();
        graph.link_all(&latest, unread, Relation::Rw, Grounds::DATA);
    }

    /// Puts a reader of the first `len` elements before the first that it did not see, or among those that saw
    /// all.
    fn link_first(
        &self,
        reader: OpId,
        len: usize,
        committed: &[(usize, OpId, WriteId)],
        end: usize,
        latest: &mut Vec<OpId>,
        graph: &mut Dependencies,
    ) {
        if len > end {
            return;
        }
        match committed.get(committed.partition_point(|&(at, ..)| at < len)) {
            Some(&(_, by, write)) => graph.link(reader, by, Relation::Rw, Grounds::DATA, write),
            None => latest.push(reader),
        }
    }

    /// Who was seen of unknown outcome has happened, unless reads see what is aborted: then they may not show
    /// that writes overwrote writes.
    fn grounds(&self, one: OpId, two: OpId) -> Grounds {
        let certain = |id| self.transactions.outcome(id) == Outcome::Ok;
        if certain(one) && certain(two) {
            Grounds::DATA
        } else {
            Grounds::UNLESS_ABORTED
        }
    }

    /// The write of a read's last element.
    fn last_write(&self, key: u32, seen: Seen<'a>) -> Option<WriteId> {
        let last = seen.elements.len().checked_sub(1)?;
        self.transactions.writer(key, seen.elements.get(last)?)
    }

    /// The last write in a read that was not aborted.
    fn last_committed(&self, key: u32, seen: Seen<'a>) -> Option<WriteId> {
        (0..seen.elements.len()).rev().find_map(|at| {
            let write = self.transactions.writer(key, seen.elements.get(at)?)?;
            let by = self.transactions.write(write).by;
            (self.transactions.outcome(by) != Outcome::Fail).then_some(write)
        })
    }

    fn later_in(&self, id: OpId, step: u32, write: WriteId) -> bool {
        self.transactions.steps(id)[step as usize..]
            .iter()
            .any(|later| matches!(*later, Step::Write(other) if other == write))
    }
}
