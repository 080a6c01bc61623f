//! Transactions over several keys, judged by who depends on whom.
//!
//! The models of the rest of this crate ask for one order of operations and search for it. For transactions
//! that search explodes, but the histories can be made to tell more: if every write is of a value of its own,
//! a read says which transaction it depends on, and if writes are appends to lists, a read says the order of
//! all writes before it. That gives a graph of dependencies whose cycles are anomalies with names, in time
//! linear in the history (Kingsbury & Alvaro, "Elle: Inferring Isolation Anomalies from Experimental
//! Observations", VLDB 2020, after Adya, "Weak Consistency", 1999).
//!
//! ```
//! use checker::history::{Event, EventKind, Header, History, Nanos, ProcessId, Value};
//! use checker::transactions::{self, TransactionOptions};
//!
//! let txn = |text: &str| Value::from(serde_json::from_str::<serde_json::Value>(text).unwrap());
//! let mut events = Vec::new();
//! // Each of two transactions read what the other one did not write yet: write skew.
//! for (process, asked) in [(0, r#"[["r", "x", null], ["append", "y", 1]]"#), (1, r#"[["r", "y", null], ["append", "x", 2]]"#)] {
//!     events.push(Event::new(process, Nanos(process), ProcessId(process), EventKind::Invoke, "txn", txn(asked)));
//! }
//! for (process, told) in [(0, r#"[["r", "x", []], ["append", "y", 1]]"#), (1, r#"[["r", "y", []], ["append", "x", 2]]"#)] {
//!     events.push(Event::new(2 + process, Nanos(9), ProcessId(process), EventKind::Ok, "txn", txn(told)));
//! }
//! let history = History::from_events(Header::for_model("list-append"), events).unwrap();
//! let analysis = transactions::list_append(&history, &TransactionOptions::default()).unwrap();
//! assert_eq!(analysis.anomaly_types[0].to_string(), "G2-item");
//! assert_eq!(analysis.not[0].to_string(), "repeatable-read");
//! ```
//!
//! How the chapters follow: transactions are taken from the operations (`transaction`), lists and registers
//! infer versions and dependencies and find what needs no graph (`list_append`, `rw_register`), the graph holds
//! them with the orders of processes and time (`graph`), cycles are searched in it (`search`) and explained
//! (`explain`), and anomalies decide which consistency models are ruled out (`anomaly`, `consistency`). Bank
//! and long-fork histories need no graph; nor do watches and numbers that only grow, which tell their order.
//!
//! Rules that hold throughout:
//! - a transaction that failed did not happen; who read from it shows an aborted read;
//! - a transaction of unknown outcome happened if anybody saw one of its writes, else it decides nothing;
//! - it may take effect any time after its invocation, so nothing comes after it by time alone;
//! - what is inferred is certain: an anomaly is never reported of a history that a store of the model in
//!   question could have produced.
//!
//! What is certain is not always all there is. For lists, serializability and its session and strict variants
//! are decided exactly. Elsewhere a history without anomaly is one in which none could be shown:
//! - **Registers.** Versions are ordered as far as reads, the initial value and the assumed orders tell. Writes
//!   that nobody relates have some order, and whether one of them makes the history serializable is NP-complete
//!   (view serializability, Papadimitriou 1979), as it is for snapshot isolation (Biswas & Enea, "On the
//!   Complexity of Checking Transactional Consistency", OOPSLA 2019). Missed is a history in which every order
//!   of such writes closes a cycle, but not one and the same: T1 and T2 write x blindly; one reader saw T1's x
//!   with what came before T2 elsewhere, another T2's x with what came before T1. Writing what was read before
//!   (read, then write, in one transaction) orders all versions and leaves nothing to miss.
//! - **Snapshot isolation of lists.** Appends that nobody read come after those that were read, in an order that
//!   nobody knows. To serializability that order is free, so nothing is lost. To snapshot isolation it is not:
//!   of two transactions that append to one key the first to commit wins, so they may not overlap; which of two
//!   unread appends came first is unknown, and trying both for every pair is what makes the problem NP-complete.
//!   A final read of every key, as generators should end with, leaves no append unread.
//! - **Other models between read committed and serializability** are ruled out by the cycles that they forbid,
//!   and by nothing else: what only a missing snapshot would show is not looked for.
//!
//! How often that matters is counted by the tests against brute force, on small histories of broken stores
//! (`tests/transactions/random.rs` prints it).
//!
//! All passes but one are linear in the history. The search for cycles with exactly one rw edge may go a long
//! way; it is bounded by the edges of the component, and everything by [`TransactionOptions::time_limit`]: a kind
//! of cycle that was given up makes the verdict unknown if the models in question forbid it and nothing worse was
//! found. Memory is linear in the history.

mod analysis;
mod anomaly;
mod bank;
mod consistency;
mod explain;
mod finding;
mod graph;
mod list_append;
mod long_fork;
mod met;
mod monotonic;
mod node;
mod pace;
mod passed;
mod rw_register;
mod search;
mod serial;
mod simulate;
mod transaction;
mod verdict;
mod version_order;
mod watch;

use std::time::{Duration, Instant};

pub use analysis::{Anomalies, Case, CaseEdge, TransactionAnalysis};
pub use anomaly::{AnomalyKind, Evidence, Shape};
pub use bank::{BankOptions, bank};
pub use consistency::ConsistencyModel;
pub use graph::Relation;
pub use long_fork::long_fork;
pub use monotonic::monotonic;
pub use rw_register::{RegisterOptions, Unwritten};
pub use serial::SerialOrder;
pub use simulate::{Store, TransactionSimulation, Workload};
pub use watch::watch;

pub use verdict::check;

pub(crate) use consistency::boundary;
pub(crate) use verdict::suggested;

use crate::engine::available;
use crate::history::{History, HistoryError, OpId, Outcome, Value};

use analysis::Frame;
use explain::Explain;
use finding::Findings;
use graph::Dependencies;
use pace::{Bounds, Pace, Stopped};
use serial::{Seeker, Sought};
use transaction::{Form, Transactions, said};

/// What a history of transactions is to satisfy.
#[derive(Clone, Debug)]
pub struct TransactionOptions {
    /// The consistency models; their anomalies make a history illegal, others are only reported.
    pub consistency_models: Vec<ConsistencyModel>,
    /// What is assumed of registers; lists need no assumptions.
    pub registers: RegisterOptions,
    /// What is known of banks.
    pub bank: BankOptions,
    /// Stop looking for cycles after so long, from the beginning of the check.
    pub time_limit: Option<Duration>,
    /// Give up when the dependencies would take more than so many bytes.
    pub memory_limit: Option<u64>,
}

impl Default for TransactionOptions {
    fn default() -> Self {
        TransactionOptions {
            consistency_models: vec![ConsistencyModel::StrictSerializable],
            registers: RegisterOptions::default(),
            bank: BankOptions::default(),
            time_limit: None,
            memory_limit: None,
        }
    }
}

impl TransactionOptions {
    /// When the time is over; what cannot be added to an instant is no limit.
    fn deadline(&self, begun: Instant) -> Option<Instant> {
        self.time_limit.and_then(|limit| begun.checked_add(limit))
    }

    /// How many bytes a check may hold, if that is known.
    fn memory(&self) -> Option<u64> {
        self.memory_limit.or_else(available)
    }

    /// How far passes may go.
    fn pace(&self, begun: Instant) -> Pace {
        Pace::new(Bounds {
            deadline: self.deadline(begun),
            memory: self.memory(),
        })
    }

    /// What to say if passes were stopped.
    fn ran_out(&self, history: &History, pace: &Pace) -> Option<String> {
        let count = history.len();
        Some(match pace.stopped()? {
            Stopped::Time => format!(
                "the {} s allowed were over before {count} operations had been gone through: allow more (--time-limit), \
                 or judge a part (checker cut)",
                self.time_limit.unwrap_or_default().as_secs_f64(),
            ),
            Stopped::Memory => format!(
                "what {count} operations say takes more than the {} MB allowed: allow more (--memory-limit), or judge a \
                 part (checker cut)",
                self.memory().unwrap_or_default() >> 20,
            ),
        })
    }

    /// What the dependencies may take while they are made: half of the memory beside what is held already, for they
    /// are copied once.
    fn room(&self, held: u64, pace: &Pace) -> Bounds {
        Bounds {
            memory: self.memory().map(|most| most.saturating_sub(held) / 2),
            ..pace.bounds()
        }
    }
}

/// Checks transactions of `["append", key, element]` and `["r", key, list]`.
///
/// # Errors
/// [`HistoryError::Malformed`] if an operation holds no such transaction, or an element is appended to a key
/// twice.
pub fn list_append(
    history: &History,
    options: &TransactionOptions,
) -> Result<TransactionAnalysis, HistoryError> {
    let begun = Instant::now();
    lists(history, options, begun, &mut options.pace(begun))
}

fn lists(
    history: &History,
    options: &TransactionOptions,
    begun: Instant,
    pace: &mut Pace,
) -> Result<TransactionAnalysis, HistoryError> {
    let mut findings = Findings::default();
    let Some(transactions) = Transactions::of(history, Form::ListAppend, pace)? else {
        return Ok(given_up(history, "list-append", findings, options, begun, pace));
    };
    let lists = list_append::Lists::of(&transactions, &mut findings, pace);
    if pace.stopped().is_some() {
        return Ok(given_up(history, "list-append", findings, options, begun, pace));
    }
    let held = transactions.bytes();
    let mut graph = Dependencies::new(transactions.list.len(), options.room(held, pace));
    let happened = lists.link(&mut graph);
    Ok(judge(
        &transactions,
        &lists,
        graph,
        held,
        &happened,
        findings,
        options,
        &Value::Nil,
        Vec::new(),
        begun,
    ))
}

/// Checks transactions of `["w", key, value]` and `["r", key, value]`.
///
/// # Errors
/// [`HistoryError::Malformed`] if an operation holds no such transaction, or a value is written to a key twice.
pub fn rw_register(
    history: &History,
    options: &TransactionOptions,
) -> Result<TransactionAnalysis, HistoryError> {
    let begun = Instant::now();
    registers(history, options, begun, &mut options.pace(begun))
}

fn registers(
    history: &History,
    options: &TransactionOptions,
    begun: Instant,
    pace: &mut Pace,
) -> Result<TransactionAnalysis, HistoryError> {
    let mut findings = Findings::default();
    let Some(transactions) = Transactions::of(history, Form::RwRegister, pace)? else {
        return Ok(given_up(history, "rw-register", findings, options, begun, pace));
    };
    let mut registers = rw_register::Registers::of(&transactions, options, &mut findings, pace)?;
    if pace.stopped().is_some() {
        return Ok(given_up(history, "rw-register", findings, options, begun, pace));
    }
    let happened = registers.order(&mut findings, pace);
    if pace.stopped().is_some() {
        return Ok(given_up(history, "rw-register", findings, options, begun, pace));
    }
    let held = transactions.bytes() + registers.bytes();
    let mut graph = Dependencies::new(transactions.list.len(), options.room(held, pace));
    registers.link(&mut graph, &happened);
    let notes = registers.notes();
    Ok(judge(
        &transactions,
        &registers,
        graph,
        held,
        &happened,
        findings,
        options,
        registers.init(),
        notes,
        begun,
    ))
}

#[expect(clippy::too_many_arguments, reason = "the two callers differ in each of them")]
fn judge(
    transactions: &Transactions<'_>,
    explain: &impl Explain,
    mut graph: Dependencies,
    held: u64,
    happened: &[bool],
    mut findings: Findings,
    options: &TransactionOptions,
    init: &Value,
    mut notes: Vec<String>,
    begun: Instant,
) -> TransactionAnalysis {
    graph.link_orders(transactions, |id| happened[id.0 as usize]);
    let deadline = options.deadline(begun);
    let expected = &options.consistency_models;
    let forbidden = |kind: AnomalyKind| expected.iter().any(|model| model.forbids(kind));
    let mut given_up = Vec::new();
    let mut exhausted = None;
    let mut witness = None;
    match exceeded(transactions, &graph, held, options) {
        Some(problem) => exhausted = Some(problem),
        None => {
            let cycles = graph.cycles(deadline);
            given_up = cycles.given_up;
            for cycle in &cycles.found {
                findings.add(AnomalyKind::Cycle(cycle.shape, cycle.evidence), || {
                    explain::cycle(transactions, explain, cycle.shape, cycle.evidence, &cycle.edges)
                });
            }
            if !findings.kinds().into_iter().any(forbidden) {
                let seeker = Seeker {
                    transactions,
                    graph: &graph,
                    happened,
                    init,
                    deadline,
                };
                witness = seek(seeker, expected, &mut findings, &mut notes);
            }
        }
    }
    debug_assert!(
        transactions
            .ids()
            .all(|id| transactions.outcome(id) != Outcome::Fail || !happened[id.0 as usize]),
        "what failed did not happen"
    );
    // An order proves more than that nothing was found.
    if let Some(SerialOrder { respects, .. }) = witness {
        given_up.retain(|&kind| match kind {
            AnomalyKind::Cycle(_, evidence) => evidence > respects,
            _ => true,
        });
    }
    let frame = Frame {
        history: transactions.history,
        model: transactions.form.as_str(),
        doubt: None,
        expected: expected.clone(),
        given_up,
        exhausted,
        witness,
        notes,
    };
    TransactionAnalysis::new(frame, findings, |id| transactions.said(id), begun.elapsed())
}

/// Looks for an order of the transactions that explains every read, first for one that proves most. Where there
/// certainly is none that the models in question ask for, that is a finding.
fn seek(
    seeker: Seeker<'_, '_>,
    expected: &[ConsistencyModel],
    findings: &mut Findings,
    notes: &mut Vec<String>,
) -> Option<SerialOrder> {
    let forbidden = |kind: AnomalyKind| expected.iter().any(|model| model.forbids(kind));
    let asked = |evidence: Evidence| forbidden(AnomalyKind::NoSerialOrder(evidence));
    for respects in [Evidence::Realtime, Evidence::Process, Evidence::Data] {
        // An order that respects less than what was asked for proves nothing.
        let satisfied = ConsistencyModel::of_order(respects);
        if !expected.iter().all(|&model| satisfied.implies(model)) {
            return None;
        }
        match seeker.seek(respects, asked(respects)) {
            Sought::Found(order) => return Some(order),
            Sought::Impossible(core) => {
                findings.add(AnomalyKind::NoSerialOrder(respects), || {
                    explain::no_order(seeker.transactions, respects, core)
                });
                return None;
            }
            Sought::Open if asked(respects) => {
                notes.push(
                    "no anomaly shows, but no order of the transactions that explains every read was found either: \
                     the search for one was given up"
                        .to_owned(),
                );
                return None;
            }
            Sought::Open => {}
            Sought::Unclear => return None,
        }
    }
    None
}

/// What is known when there was no time or no room for all passes: what was found so far, and nothing else.
fn given_up(
    history: &History,
    model: &'static str,
    findings: Findings,
    options: &TransactionOptions,
    begun: Instant,
    pace: &Pace,
) -> TransactionAnalysis {
    let frame = Frame {
        history,
        model,
        expected: options.consistency_models.clone(),
        given_up: Vec::new(),
        doubt: None,
        exhausted: options.ran_out(history, pace),
        witness: None,
        notes: Vec::new(),
    };
    let said = |id: OpId| said(history.operation(id));
    TransactionAnalysis::new(frame, findings, said, begun.elapsed())
}

/// What to say if the dependencies take more memory or time than is allowed. While cycles are looked for, each strongly
/// connected component is copied once, and numbers are kept for its vertices.
fn exceeded(
    transactions: &Transactions<'_>,
    graph: &Dependencies,
    held: u64,
    options: &TransactionOptions,
) -> Option<String> {
    let count = transactions.list.len();
    if let (Some(Stopped::Time), Some(limit)) = (graph.stopped, options.time_limit) {
        return Some(format!(
            "the {} s allowed were over before the dependencies of {count} transactions were known: allow more \
             (--time-limit), or judge a part (checker cut)",
            limit.as_secs_f64(),
        ));
    }
    let needed = held + 2 * graph.bytes();
    let limit = options.memory()?;
    let (least, stopped) = match graph.stopped {
        Some(_) => ("more than", true),
        None => ("about", false),
    };
    (stopped || needed > limit).then(|| {
        format!(
            "the dependencies of {count} transactions take {least} {} MB, more than the {} MB allowed: allow more \
             (--memory-limit), or judge a part (checker cut)",
            needed.div_ceil(1 << 20),
            limit >> 20,
        )
    })
}
