//! Registers that transactions read and write: of the order of writes only a part can be known.
//!
//! What is certain of one key's versions:
//! - the initial value comes before all others;
//! - what a transaction read before it wrote comes before what it wrote;
//! - if the models in question respect the order of processes or of real time for snapshots, what a transaction
//!   saw comes before what one saw that followed it. Cycles that need such an inference count as `G-single` at
//!   least, and as of the `-process` or `-realtime` kind: only the models that justify it are ruled out by them.
//!
//! Whoever knows that single keys are sequentially consistent or linearizable may say so; then the same
//! inferences hold without such reservations.

use crate::history::{Form, HistoryError, OpId, Outcome, Value};

use super::TransactionOptions;
use super::anomaly::{AnomalyKind, Evidence, Shape};
use super::consistency::ConsistencyModel;
use super::explain::Explain;
use super::finding::{Finding, Findings, MOST_NAMED, all_of};
use super::graph::{Dependencies, Grounds, Relation, happened};
use super::met::Met;
use super::node::{Node, push_under};
use super::pace::Pace;
use super::transaction::{Step, Transactions, WriteId};
use super::version_order::{Because, Order, Orders, Touch};

/// What is assumed of registers.
#[derive(Clone, Debug, Default)]
pub struct RegisterOptions {
    /// The value of every key before the run; otherwise the header's, otherwise nil.
    pub init: Option<Value>,
    /// What to make of values that no transaction wrote; otherwise [`Unwritten::Garbage`] in our own form and
    /// [`Unwritten::Outside`] in imported ones, which may be excerpts.
    pub unwritten: Option<Unwritten>,
    /// Assume that each key alone is sequentially consistent: processes see its versions in order.
    pub sequential_keys: bool,
    /// Assume that each key alone is linearizable: its versions are in real-time order.
    pub linearizable_keys: bool,
}

/// Where a value comes from that no transaction of the history wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unwritten {
    /// From nowhere: reading it is an anomaly.
    Garbage,
    /// From a writer that the history does not show; nothing follows from reading it.
    Outside,
}

/// What the reads and writes say about the registers.
pub(super) struct Registers<'t, 'a> {
    transactions: &'t Transactions<'a>,
    /// Who read which version, and did not write it.
    reads: Vec<(Version, OpId)>,
    /// What is known of the order of versions.
    orders: Orders,
    /// The first and the last version of each key that a transaction touched, by key.
    touches: Vec<Vec<Touch>>,
    /// Whether some read shows a write of the transaction.
    seen: Vec<bool>,
    /// Reads of values from outside.
    outside: usize,
    assumed: Vec<(Because, Grounds)>,
    init: Value,
}

/// A version of a key: a write, or the initial version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Version {
    Initial(u32),
    Written(WriteId),
}

/// What a read saw.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Version(Version),
    Unwritten,
}

impl<'t, 'a> Registers<'t, 'a> {
    pub(super) fn of(
        transactions: &'t Transactions<'a>,
        options: &TransactionOptions,
        findings: &mut Findings,
        pace: &mut Pace,
    ) -> Result<Registers<'t, 'a>, HistoryError> {
        let history = transactions.history;
        let told = &options.registers;
        let init = told
            .init
            .clone()
            .or_else(|| history.header().init.clone())
            .unwrap_or_default();
        // A converted history tells what its first form left unsaid.
        let header = &history.header().other;
        let excerpt = header.get("unwritten").is_some_and(|said| said == "outside");
        let unwritten = told.unwritten.unwrap_or(match history.form() {
            Form::Ordeal if excerpt => Unwritten::Outside,
            Form::Ordeal => Unwritten::Garbage,
            _ => Unwritten::Outside,
        });
        let mut registers = Registers {
            transactions,
            reads: Vec::new(),
            orders: Orders::default(),
            touches: Vec::new(),
            seen: vec![false; transactions.list.len()],
            outside: 0,
            assumed: assumptions(options),
            init: init.clone(),
        };
        transactions.refuse_writes_of(&init)?;
        registers.touches.resize_with(transactions.keys.len(), Vec::new);
        let mut updaters: Vec<Vec<(Version, OpId)>> = Vec::new();
        let mut met = Met::of_keys(transactions.keys.len());
        for id in transactions.ids() {
            if !pace.goes_on(1 + transactions.steps(id).len()) {
                break;
            }
            registers.walk(id, &mut met, &init, unwritten, &mut updaters, findings);
        }
        registers.check_lost_updates(updaters, findings);
        Ok(registers)
    }

    /// Goes through one transaction: what it read, and whether that can be.
    fn walk(
        &mut self,
        id: OpId,
        met: &mut Met,
        init: &Value,
        unwritten: Unwritten,
        updaters: &mut Vec<Vec<(Version, OpId)>>,
        findings: &mut Findings,
    ) {
        let transactions = self.transactions;
        let steps = transactions.steps(id);
        let mut keys: Vec<Known<'a>> = Vec::new();
        met.begin();
        let mut consistent = true;
        let mut last_write = None;
        for step in steps {
            let key = transactions.key_of(*step);
            let (place, new) = met.meet(key);
            if new {
                keys.push(Known::nothing(key));
            }
            match *step {
                Step::Write(write) => {
                    last_write = Some(write);
                    keys[place].written = Some(write);
                    keys[place].now = Some((transactions.write(write).value, true));
                }
                Step::Read { seen, .. } => {
                    if let Some((now, own)) = keys[place].now
                        && now != seen
                        && consistent
                    {
                        consistent = false;
                        findings.add(AnomalyKind::Internal, || self.internal(id, key, seen, now, own));
                    }
                    let source = self.source(key, seen, init);
                    self.check_read(id, last_write, key, seen, source, unwritten, findings);
                    let first = keys[place].now.is_none();
                    keys[place].now =
                        Some((seen, keys[place].now.is_some_and(|(now, own)| own && now == seen)));
                    if let Source::Version(version) = source
                        && self.writer(version) != Some(id)
                    {
                        self.reads.push((version, id));
                        if first {
                            keys[place].read = Some(version);
                        }
                    }
                }
            }
        }
        for known in keys {
            if let (Some(read), Some(write)) = (known.read, known.written) {
                push_under(updaters, known.key, (read, id));
                self.orders.add(Order {
                    before: read,
                    after: write,
                    because: Because::ReadThenWritten,
                    shown_by: (id, id),
                });
            }
            let first = known.read.or(known.written.map(Version::Written));
            let last = known.written.map(Version::Written).or(known.read);
            if let (Some(first), Some(last)) = (first, last) {
                let transaction = transactions.get(id);
                self.touches[known.key as usize].push(Touch {
                    by: id,
                    process: transaction.process,
                    invoked: transaction.invoked,
                    completed: transaction.completed,
                    first,
                    last,
                });
            }
        }
    }

    fn source(&self, key: u32, seen: Node<'a>, init: &Value) -> Source {
        match self.transactions.writer(key, seen) {
            Some(write) => Source::Version(Version::Written(write)),
            None if seen == Node::Plain(init) => Source::Version(Version::Initial(key)),
            None => Source::Unwritten,
        }
    }

    #[expect(clippy::too_many_arguments, reason = "one read has that many sides")]
    fn check_read(
        &mut self,
        id: OpId,
        last_write: Option<WriteId>,
        key: u32,
        seen: Node<'a>,
        source: Source,
        unwritten: Unwritten,
        findings: &mut Findings,
    ) {
        let transactions = self.transactions;
        let name = transactions.key(key);
        let tell = |sentence: String, who: Vec<OpId>| Finding::new(Some(name.clone()), sentence, who);
        let value = || seen.to_value();
        let write = match source {
            Source::Version(Version::Initial(_)) => return,
            Source::Version(Version::Written(write)) => write,
            Source::Unwritten if unwritten == Unwritten::Outside => {
                self.outside += 1;
                return;
            }
            Source::Unwritten => {
                findings.add(AnomalyKind::GarbageRead, || {
                    tell(
                        format!("T{} read key {name} = {}, which nobody wrote", id.0, value()),
                        vec![id],
                    )
                });
                return;
            }
        };
        let written = transactions.write(write);
        self.seen[written.by.0 as usize] = true;
        if written.by == id {
            // Writes are numbered in the order of the steps.
            if last_write.is_none_or(|last| write > last) {
                findings.add(AnomalyKind::FutureRead, || {
                    let sentence = format!(
                        "T{} read key {name} = {}, which it wrote only afterwards",
                        id.0,
                        value()
                    );
                    tell(sentence, vec![id])
                });
            }
        } else if transactions.outcome(written.by) == Outcome::Fail {
            findings.add(AnomalyKind::G1a, || {
                let sentence = format!(
                    "T{} read key {name} = {}, which T{} wrote and which failed",
                    id.0,
                    value(),
                    written.by.0
                );
                tell(sentence, vec![written.by, id])
            });
        } else if written.replaced {
            findings.add(AnomalyKind::G1b, || {
                let sentence = format!(
                    "T{} read key {name} = {}, which T{} wrote before it wrote something else",
                    id.0,
                    value(),
                    written.by.0
                );
                tell(sentence, vec![written.by, id])
            });
        }
    }

    fn internal(&self, id: OpId, key: u32, seen: Node<'_>, now: Node<'_>, own: bool) -> Finding {
        let name = self.transactions.key(key);
        let did = if own { "had written" } else { "had read" };
        let sentence = format!(
            "T{} read key {name} = {}, although it {did} {} before",
            id.0,
            seen.to_value(),
            now.to_value()
        );
        Finding::new(Some(name.clone()), sentence, vec![id])
    }

    fn check_lost_updates(&self, mut updaters: Vec<Vec<(Version, OpId)>>, findings: &mut Findings) {
        for (key, updaters) in updaters.iter_mut().enumerate() {
            updaters.sort_unstable();
            for group in updaters
                .chunk_by(|one, two| one.0 == two.0)
                .filter(|group| group.len() > 1)
            {
                findings.add(AnomalyKind::LostUpdate, || {
                    let name = self.transactions.key(key as u32);
                    let named: Vec<OpId> = group.iter().map(|&(_, id)| id).take(MOST_NAMED).collect();
                    let sentence = format!(
                        "{} read key {name} = {} and then wrote it: each missed what the others wrote",
                        all_of(group.iter().map(|&(_, id)| id)),
                        self.value(group[0].0),
                    );
                    Finding::new(Some(name.clone()), sentence, named)
                });
            }
        }
    }

    fn cyclic_versions(&self, key: u32, because: Because, cycle: &[Order]) -> Finding {
        let name = self.transactions.key(key);
        let orders: Vec<String> = cycle
            .iter()
            .map(|order| {
                let (before, after) = (
                    self.value(order.before),
                    self.value(Version::Written(order.after)),
                );
                let told = match order.because {
                    Because::ReadThenWritten => {
                        format!("T{} read {before} and wrote {after}", order.shown_by.0.0)
                    }
                    _ => self.followed(order, &before, &after),
                };
                format!("{before} before {after}: {told}")
            })
            .collect();
        let sentence = format!(
            "the values of key {name} are in no order if {}. {}",
            because.assumption(),
            orders.join("; ")
        );
        let mut named: Vec<OpId> = cycle
            .iter()
            .flat_map(|order| [order.shown_by.0, order.shown_by.1])
            .collect();
        named.sort_unstable();
        named.dedup();
        Finding::new(Some(name.clone()), sentence, named)
    }

    /// Finds out in which order versions came; says which transactions count as having happened.
    pub(super) fn order(&mut self, findings: &mut Findings, pace: &mut Pace) -> Vec<bool> {
        let happened = happened(self.transactions, &self.seen);
        for touches in &mut self.touches {
            touches.retain(|touch| happened[touch.by.0 as usize]);
        }
        self.add_initial(&happened);
        for (because, grounds) in std::mem::take(&mut self.assumed) {
            let cyclic = self
                .orders
                .assume(because, &self.touches, grounds.is_certain(), pace);
            for (key, cycle) in cyclic {
                findings.add(AnomalyKind::CyclicVersions, || {
                    self.cyclic_versions(key, because, &cycle)
                });
            }
            self.assumed.push((because, grounds));
        }
        if pace.stopped().is_none() {
            self.orders.sort();
        }
        happened
    }

    /// About how many bytes all this takes.
    pub(super) fn bytes(&self) -> u64 {
        let touches: usize = self.touches.iter().map(|touches| size_of_val(&**touches)).sum();
        self.orders.bytes() + (touches + size_of_val(&*self.reads)) as u64
    }

    /// Adds every dependency to a graph.
    pub(super) fn link(&mut self, graph: &mut Dependencies, happened: &[bool]) {
        let counts = |id: OpId| happened[id.0 as usize];
        self.reads.sort_unstable();
        self.reads.dedup();
        for &(version, reader) in &self.reads {
            if let Version::Written(write) = version
                && counts(self.transactions.write(write).by)
            {
                graph.link(
                    self.transactions.write(write).by,
                    reader,
                    Relation::Wr,
                    Grounds::DATA,
                    write,
                );
            }
        }
        for group in self.orders.groups() {
            if graph.stopped.is_some() {
                return;
            }
            let version = group[0].before;
            let grounds = self.grounds(group[0].because);
            let later: Vec<(OpId, WriteId)> = group
                .iter()
                .map(|order| (self.transactions.write(order.after).by, order.after))
                .collect();
            let from = self.reads.partition_point(|&(other, _)| other < version);
            let to = self.reads.partition_point(|&(other, _)| other <= version);
            let readers: Vec<OpId> = self.reads[from..to].iter().map(|&(_, id)| id).collect();
            graph.link_all(&readers, &later, Relation::Rw, grounds);
            // Who read a version and then replaced it depends on its writer already, by having read.
            if group[0].because != Because::ReadThenWritten
                && let Some(writer) = self.writer(version)
                && counts(writer)
            {
                for &(by, write) in &later {
                    let certain = |id| self.transactions.outcome(id) == Outcome::Ok;
                    let grounds = match grounds.is_certain() && !(certain(writer) && certain(by)) {
                        true => Grounds::UNLESS_ABORTED,
                        false => grounds,
                    };
                    graph.link(writer, by, Relation::Ww, grounds, write);
                }
            }
        }
    }

    /// The initial version comes before every write. Those that follow another write for certain follow it
    /// through that; only the others are put after it directly.
    fn add_initial(&mut self, happened: &[bool]) {
        let mut follows = vec![false; self.transactions.writes.len()];
        for order in self.orders.all() {
            let writer = self.writer(order.before);
            follows[order.after.0 as usize] |= writer.is_none_or(|writer| happened[writer.0 as usize]);
        }
        for (at, write) in self.transactions.writes.iter().enumerate() {
            if happened[write.by.0 as usize] && !write.replaced && !follows[at] {
                self.orders.add(Order {
                    before: Version::Initial(write.key),
                    after: WriteId(at as u32),
                    because: Because::Initial,
                    shown_by: (write.by, write.by),
                });
            }
        }
    }

    /// What every register held at first.
    pub(super) fn init(&self) -> &Value {
        &self.init
    }

    /// What a person should know.
    pub(super) fn notes(&self) -> Vec<String> {
        match self.outside {
            0 => Vec::new(),
            1 => vec![
                "1 read of a value that no transaction wrote was taken to be from outside the history"
                    .to_owned(),
            ],
            reads => vec![format!(
                "{reads} reads of values that no transaction wrote were taken to be from outside the history"
            )],
        }
    }

    fn writer(&self, version: Version) -> Option<OpId> {
        match version {
            Version::Initial(_) => None,
            Version::Written(write) => Some(self.transactions.write(write).by),
        }
    }

    fn value(&self, version: Version) -> String {
        match version {
            Version::Initial(_) => self.init.to_string(),
            Version::Written(write) => self.transactions.write(write).value.to_value().to_string(),
        }
    }

    /// How two transactions that followed each other show the order of two versions.
    fn followed(&self, order: &Order, before: &str, after: &str) -> String {
        let (earlier, later) = order.shown_by;
        let did = |id: OpId, version: Version| {
            if self.writer(version) == Some(id) {
                "wrote"
            } else {
                "read"
            }
        };
        let (first, second) = (
            did(earlier, order.before),
            did(later, Version::Written(order.after)),
        );
        if order.because == Because::Process {
            let process = self.transactions.get(earlier).process;
            format!(
                "process {process} {first} {before} in T{} and then {second} {after} in T{}",
                earlier.0, later.0
            )
        } else {
            format!(
                "T{}, which {first} {before}, had completed before T{} was invoked, which {second} {after}",
                earlier.0, later.0
            )
        }
    }

    fn grounds(&self, because: Because) -> Grounds {
        let assumed = self.assumed.iter().find(|(other, _)| *other == because);
        assumed.map_or(Grounds::DATA, |&(_, grounds)| grounds)
    }
}

/// What is known of one key while going through a transaction.
struct Known<'a> {
    key: u32,
    /// The version that was read before anything was written.
    read: Option<Version>,
    /// The last write.
    written: Option<WriteId>,
    /// What a read would have to see now, and whether the transaction wrote it.
    now: Option<(Node<'a>, bool)>,
}

impl Known<'_> {
    fn nothing(key: u32) -> Self {
        Known {
            key,
            read: None,
            written: None,
            now: None,
        }
    }
}

/// The orders that versions are taken to follow, and what a cycle that rests on one of them shows.
fn assumptions(options: &TransactionOptions) -> Vec<(Because, Grounds)> {
    let some_model = |implies: ConsistencyModel| {
        options
            .consistency_models
            .iter()
            .any(|model| model.implies(implies))
    };
    let inferred = |evidence: Evidence| Grounds {
        evidence,
        least: Shape::GSingle,
    };
    let mut assumed = Vec::new();
    if options.registers.sequential_keys {
        assumed.push((Because::Process, Grounds::DATA));
    } else if some_model(ConsistencyModel::StrongSessionSnapshotIsolation) {
        assumed.push((Because::Process, inferred(Evidence::Process)));
    }
    if options.registers.linearizable_keys {
        assumed.push((Because::Realtime, Grounds::DATA));
    } else if some_model(ConsistencyModel::StrongSnapshotIsolation) {
        assumed.push((Because::Realtime, inferred(Evidence::Realtime)));
    }
    assumed
}

impl Explain for Registers<'_, '_> {
    fn because(&self, from: OpId, to: OpId, relation: Relation, write: WriteId) -> (String, Vec<OpId>) {
        let what = self.transactions.write(write);
        let (name, value) = (self.transactions.key(what.key), what.value.to_value());
        if relation == Relation::Wr {
            return (
                format!("T{} read key {name} = {value}, which T{} wrote", to.0, from.0),
                Vec::new(),
            );
        }
        let touched = |version: Version| match relation {
            Relation::Ww => self.writer(version) == Some(from),
            _ => self.reads.binary_search(&(version, from)).is_ok(),
        };
        let orders = self.orders.before(write);
        let order = orders.iter().find(|order| touched(order.before));
        let order = order.expect("every edge was made from an order of versions");
        let first = match relation {
            Relation::Ww => format!("T{} wrote key {name} = {}", from.0, self.value(order.before)),
            _ => format!("T{} read key {name} = {}", from.0, self.value(order.before)),
        };
        let text = match order.because {
            Because::Initial => format!("{first}, before T{} or anybody else wrote it ({value})", to.0),
            Because::ReadThenWritten => {
                format!("{first}, which T{} read too and replaced by {value}", to.0)
            }
            Because::Process | Because::Realtime => format!(
                "{first}, and T{} wrote {value}, which came later: {}",
                to.0,
                self.followed(order, &self.value(order.before), &value.to_string()),
            ),
        };
        (text, vec![order.shown_by.0, order.shown_by.1])
    }
}
