//! What a check found, as far as it is drawn: read from what `checker check --json` and `results.json` say.

use serde::Deserialize;
use thiserror::Error;

use crate::history::{History, OpId, Value};
use crate::verdict::{Analysis, Validity};

/// Why what was found cannot be drawn beside a history.
#[derive(Debug, Error)]
pub enum RenderError {
    /// The results are not what a check writes.
    #[error(
        "{0}: results are what `checker check --json` prints for one history, or the results.json of a run"
    )]
    Results(String),
    /// The results speak of operations that the history does not have.
    #[error("the results speak of {told}, the history has {held} operations: they belong to another history")]
    Another {
        /// What they speak of.
        told: String,
        /// How many operations there are.
        held: usize,
    },
}

/// What a check found about a history, ready to be drawn beside it.
#[derive(Clone, Debug)]
pub struct Found {
    pub(super) valid: Option<Validity>,
    pub(super) model: Option<String>,
    /// For a person: what is wrong, or what ran out.
    pub(super) sentence: Option<String>,
    pub(super) anomaly: Option<String>,
    pub(super) key: Option<Value>,
    pub(super) core: Vec<Core>,
    pub(super) cycle: Vec<Edge>,
    pub(super) orders: Vec<Vec<OpId>>,
    /// The event with which the history becomes illegal.
    pub(super) last_index: Option<u64>,
    pub(super) stuck: Vec<String>,
}

/// An operation of a counterexample.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Core {
    pub(super) id: u32,
    #[serde(default)]
    pub(super) weakened: bool,
    #[serde(default)]
    pub(super) said: String,
}

/// A step of a cycle.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Edge {
    pub(super) from: u32,
    pub(super) to: u32,
    #[serde(default)]
    pub(super) because: String,
}

impl Found {
    /// Nothing: the history alone is drawn.
    pub fn nothing() -> Found {
        Found {
            valid: None,
            model: None,
            sentence: None,
            anomaly: None,
            key: None,
            core: Vec::new(),
            cycle: Vec::new(),
            orders: Vec::new(),
            last_index: None,
            stuck: Vec::new(),
        }
    }

    /// What an analysis of this history found.
    ///
    /// # Errors
    /// [`RenderError::Another`] if it is the analysis of another history.
    pub fn of(analysis: &Analysis, history: &History) -> Result<Found, RenderError> {
        let json = serde_json::to_value(analysis).map_err(|error| RenderError::Results(error.to_string()))?;
        Found::read(json, history)
    }

    /// What results say: one line of `checker check --json`, or the `results.json` of a run.
    ///
    /// # Errors
    /// [`RenderError`] if they are something else, or belong to another history.
    pub fn from_json(text: &str, history: &History) -> Result<Found, RenderError> {
        let mut all = serde_json::Deserializer::from_str(text).into_iter::<serde_json::Value>();
        let first = all
            .next()
            .ok_or_else(|| RenderError::Results("the file is empty".to_owned()))?;
        let first = first.map_err(|error| RenderError::Results(error.to_string()))?;
        if all.next().is_some() {
            return Err(RenderError::Results("more than one result".to_owned()));
        }
        Found::read(first, history)
    }

    fn read(json: serde_json::Value, history: &History) -> Result<Found, RenderError> {
        let wrong = |error: serde_json::Error| RenderError::Results(error.to_string());
        // The results of a run hold the analysis beside what else was looked at.
        let inner = json.get("analysis").filter(|inner| inner.is_object()).cloned();
        let told: Told = serde_json::from_value(inner.unwrap_or(json)).map_err(wrong)?;
        let valid = match &told.valid {
            serde_json::Value::Bool(true) => Validity::True,
            serde_json::Value::Bool(false) => Validity::False,
            serde_json::Value::String(word) if word == "unknown" => Validity::Unknown,
            other => return Err(RenderError::Results(format!("\"valid\" is {other}"))),
        };
        let mut found = Found {
            valid: Some(valid),
            model: told.model,
            sentence: told.sentence,
            orders: told.witness.map_or_else(Vec::new, |witness| {
                let orders = witness.orders.into_iter();
                orders
                    .map(|order| order.order.into_iter().map(OpId).collect())
                    .collect()
            }),
            ..Found::nothing()
        };
        let worst = told
            .anomalies
            .into_iter()
            .find(|kind| kind.forbidden)
            .and_then(|kind| Some((kind.kind, kind.cases.into_iter().next()?)));
        if let Some(counterexample) = told.counterexample {
            found.take(counterexample);
        } else if let Some((kind, case)) = worst {
            found.anomaly = Some(kind);
            found.key = case.key.map(Value::from);
            found.core = case.transactions;
            found.cycle = case.cycle;
        }
        if valid == Validity::Unknown && found.sentence.is_none() {
            found.sentence = told.unknown.map(|limit| match limit {
                serde_json::Value::String(text) => text,
                other => format!("no answer: {other}"),
            });
        }
        found.belongs_to(history, told.operations)?;
        Ok(found)
    }

    fn take(&mut self, counterexample: Counterexample) {
        self.sentence = Some(counterexample.sentence);
        self.anomaly = counterexample.anomaly;
        self.key = counterexample.key.map(Value::from);
        self.core = counterexample.operations;
        self.cycle = counterexample.cycle;
        self.last_index = counterexample.prefix.map(|prefix| prefix.last_index);
        self.stuck = counterexample.stuck;
    }

    fn belongs_to(&self, history: &History, operations: Option<usize>) -> Result<(), RenderError> {
        let held = history.len();
        let another = |told: String| Err(RenderError::Another { told, held });
        if let Some(told) = operations.filter(|&told| told != held) {
            return another(format!("{told} operations"));
        }
        let named = self.core.iter().map(|core| core.id);
        let named = named.chain(self.cycle.iter().flat_map(|edge| [edge.from, edge.to]));
        let named = named.chain(self.orders.iter().flatten().map(|op| op.0));
        match named.max().filter(|&most| most as usize >= held) {
            Some(most) => another(format!("operation {most}")),
            None => Ok(()),
        }
    }
}

/// What of results is read.
#[derive(Deserialize)]
struct Told {
    valid: serde_json::Value,
    model: Option<String>,
    sentence: Option<String>,
    operations: Option<usize>,
    counterexample: Option<Counterexample>,
    witness: Option<Orders>,
    unknown: Option<serde_json::Value>,
    #[serde(default)]
    anomalies: Vec<Kind>,
}

#[derive(Deserialize)]
struct Counterexample {
    sentence: String,
    anomaly: Option<String>,
    key: Option<serde_json::Value>,
    #[serde(default)]
    operations: Vec<Core>,
    prefix: Option<Prefix>,
    #[serde(default)]
    cycle: Vec<Edge>,
    #[serde(default)]
    stuck: Vec<String>,
}

#[derive(Deserialize)]
struct Prefix {
    last_index: u64,
}

#[derive(Deserialize)]
struct Orders {
    #[serde(default)]
    orders: Vec<Order>,
}

#[derive(Deserialize)]
struct Order {
    #[serde(default)]
    order: Vec<u32>,
}

/// A kind of anomaly of transactions.
#[derive(Deserialize)]
struct Kind {
    kind: String,
    #[serde(default)]
    forbidden: bool,
    #[serde(default)]
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    key: Option<serde_json::Value>,
    #[serde(default)]
    cycle: Vec<Edge>,
    #[serde(default)]
    transactions: Vec<Core>,
}
