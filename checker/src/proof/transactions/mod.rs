//! Checks what is said of transactions: anomalies by the transactions that they name, a yes by an order of all.
//!
//! Nothing here knows the dependency graph or its search. The history is read a second time into plain values
//! ([`facts`]); every edge of a cycle is derived from the two transactions that it joins ([`edges`]); whatever needs
//! no cycle is judged by what the named transactions did ([`cases`], [`plain`], [`watch`], [`monotonic`]); an order is run, transaction by
//! transaction ([`serial`]); and where the claim is that there is none, every order of the named ones is tried
//! ([`orders`]). What anomalies exclude is looked up in the table of consistency models, which is shared, as
//! models are. Only the words are compared with those that the check itself finds for the same history.

mod cases;
mod edges;
mod facts;
mod monotonic;
mod orders;
mod plain;
mod serial;
mod watch;

use serde_json::Value as Json;

use super::claim::{Claim, Said};
use super::counterexample::difference;
use super::{Fault, Proof, UNKNOWN};
use crate::check::CheckError;
use crate::history::History;
use crate::options::ModelName;
use crate::transactions::{
    self, AnomalyKind, ConsistencyModel, Evidence, TransactionAnalysis, TransactionOptions, boundary,
};

use cases::{Told, operation};
use facts::Facts;
use monotonic::Numbers;
use watch::Streams;

pub(super) fn verify(
    claim: &Claim,
    history: &History,
    model: ModelName,
    options: &TransactionOptions,
) -> Result<Proof, CheckError> {
    if let Said::Unknown = claim.said {
        return Ok(Proof::Undecided(UNKNOWN.to_owned()));
    }
    let unbounded = TransactionOptions {
        time_limit: None,
        memory_limit: None,
        ..options.clone()
    };
    // What is malformed is bad input, not a wrong proof.
    let truth = transactions::check(history, model, &unbounded)?;
    let question = Question {
        history,
        model,
        options,
    };
    let shown = question.shown(&claim.said);
    Ok(match shown {
        Ok(proof) => question.words(&claim.said, truth).map_or(proof, Proof::from),
        Err(fault) => fault.into(),
    })
}

struct Question<'a> {
    history: &'a History,
    model: ModelName,
    options: &'a TransactionOptions,
}

impl Question<'_> {
    /// What is proven, without the words.
    fn shown(&self, said: &Said) -> Result<Proof, Fault> {
        match said {
            Said::Anomalies(results) => self.results(results),
            Said::Legal(witness) => self.legal(witness["orders"].get(0)),
            Said::Illegal(found) => {
                let name = found["anomaly"].as_str().unwrap_or_default();
                let kind = self.kind("counterexample.anomaly", name)?;
                if !self.forbidden(kind) {
                    let problem = format!("{kind} is allowed by what was asked for");
                    return Err(Fault::new("counterexample.anomaly", problem));
                }
                let told = Told::read(found, kind, "counterexample", "operations", self.history)?;
                self.case(&told)?;
                Ok(illegal(kind, 1))
            }
            Said::Unknown => Ok(Proof::Undecided(UNKNOWN.to_owned())),
        }
    }

    /// Results as `check --json` writes them.
    fn results(&self, results: &Json) -> Result<Proof, Fault> {
        let models = serde_json::to_value(&self.options.consistency_models).unwrap_or_default();
        if results["consistency_models"] != models {
            let told = &results["consistency_models"];
            let problem = format!("{told}, but {models} was asked for; --consistency-models says otherwise");
            return Err(Fault::new("consistency_models", problem));
        }
        let empty = Vec::new();
        let listed = results["anomalies"].as_array().unwrap_or(&empty);
        let mut kinds: Vec<AnomalyKind> = Vec::new();
        let mut proven = 0;
        for (number, entry) in listed.iter().enumerate() {
            let place = |field: &str| format!("anomalies[{number}].{field}");
            let kind = self.kind(&place("kind"), entry["kind"].as_str().unwrap_or_default())?;
            if entry["forbidden"] != self.forbidden(kind) {
                let problem = format!("whether {kind} is allowed by what was asked for is told wrongly");
                return Err(Fault::new(place("forbidden"), problem));
            }
            kinds.push(kind);
            let cases = entry["cases"].as_array().filter(|cases| !cases.is_empty());
            let cases = cases.ok_or_else(|| Fault::new(place("cases"), "there are none"))?;
            for (at, case) in cases.iter().enumerate() {
                let here = place(&format!("cases[{at}]"));
                let told = Told::read(case, kind, &here, "transactions", self.history)?;
                self.case(&told)?;
                proven += 1;
            }
        }
        kinds.sort_unstable();
        kinds.dedup();
        let (not, also_not) = boundary(&kinds);
        for (field, truth) in [
            ("anomaly_types", serde_json::to_value(&kinds)),
            ("not", serde_json::to_value(&not)),
            ("also_not", serde_json::to_value(&also_not)),
        ] {
            let truth = truth.unwrap_or_default();
            if results[field] != truth {
                let problem = format!("is {}, but these anomalies make it {truth}", results[field]);
                return Err(Fault::new(field, problem));
            }
        }
        let worst = kinds.iter().copied().find(|&kind| self.forbidden(kind));
        match (results["valid"].as_bool(), worst) {
            (Some(false), Some(kind)) => Ok(illegal(kind, proven)),
            (Some(false), None) => Err(Fault::new("valid", "is false, but no forbidden anomaly is told")),
            (_, Some(kind)) => Err(Fault::new(
                "valid",
                format!("is not false, but there is a {kind}"),
            )),
            (_, None) => self.legal(results.get("witness")),
        }
    }

    fn case(&self, told: &Told<'_>) -> Result<(), Fault> {
        match self.model {
            ModelName::Watch => return Streams::of(self.history).check(told),
            ModelName::Monotonic => return Numbers::of(self.history).check(told),
            ModelName::Bank | ModelName::LongFork => {
                return plain::check(told, self.history, self.options);
            }
            _ => {}
        }
        let facts = self.facts()?;
        match told.kind {
            AnomalyKind::NoSerialOrder(respects) => orders::check(told, &facts, respects),
            _ => cases::check(told, &facts),
        }
    }

    /// A yes: every read of a bank or a long fork, or an order of all transactions.
    fn legal(&self, witness: Option<&Json>) -> Result<Proof, Fault> {
        let judged = match self.model {
            ModelName::Bank => Some((plain::bank(self.history, self.options), "reads")),
            ModelName::LongFork => Some((plain::long_fork(self.history), "reads")),
            ModelName::Watch => Some((Streams::of(self.history).judge(), "changes told")),
            ModelName::Monotonic => Some((Numbers::of(self.history).judge(), "increments and reads")),
            _ => None,
        };
        if let Some((judged, what)) = judged {
            let count = judged.map_err(|(id, problem)| Fault::at(self.history, id, "valid", problem))?;
            return Ok(Proof::Holds {
                shown: format!("legal: {count} {what}, of which none contradicts what may be read"),
                notes: Vec::new(),
            });
        }
        let Some(listed) = witness.and_then(|witness| witness["order"].as_array()) else {
            return Ok(Proof::Undecided(format!(
                "the results name no order of the transactions: that none of the anomalies that {} forbids was found \
                 is all that they say",
                self.names(),
            )));
        };
        let mut order = Vec::with_capacity(listed.len());
        for (at, id) in listed.iter().enumerate() {
            let id = operation(id, self.history.len());
            let place = format!("witness.order[{at}]");
            order.push(id.ok_or_else(|| Fault::new(place, "the history has no such operation"))?);
        }
        let models = &self.options.consistency_models;
        // Where the results do not say which order is respected, it must be what was asked for.
        let respects = match witness.and_then(|witness| witness.get("respects")) {
            Some(told) => [Evidence::Data, Evidence::Process, Evidence::Realtime]
                .into_iter()
                .find(|evidence| Some(evidence.respected()) == told.as_str())
                .ok_or_else(|| Fault::new("witness.respects", "is none of nothing, process, realtime"))?,
            None => [Evidence::Data, Evidence::Process]
                .into_iter()
                .find(|&evidence| {
                    models
                        .iter()
                        .all(|&model| ConsistencyModel::of_order(evidence).implies(model))
                })
                .unwrap_or(Evidence::Realtime),
        };
        let satisfied = ConsistencyModel::of_order(respects);
        if let Some(more) = models.iter().find(|&&model| !satisfied.implies(model)) {
            let problem = format!("an order that makes the history {satisfied} does not make it {more}");
            return Err(Fault::new("witness.respects", problem));
        }
        serial::run(&self.facts()?, &order, respects)
            .map_err(|broken| Fault::at(self.history, broken.by, "witness.order", broken.problem))?;
        Ok(Proof::Holds {
            shown: format!(
                "legal: {} transactions one after the other explain every read, so {satisfied}",
                order.len()
            ),
            notes: Vec::new(),
        })
    }

    /// Compares what is told with what the check finds, word by word.
    fn words(&self, said: &Said, truth: TransactionAnalysis) -> Option<Fault> {
        let (told, truth, place) = match said {
            Said::Anomalies(results) => {
                let truth = serde_json::to_value(&truth).unwrap_or_default();
                let fields = ["sentence", "anomalies", "notes", "unknown"];
                return fields.into_iter().find_map(|field| {
                    let (told, truth) = (results.get(field), truth.get(field));
                    let null = Json::Null;
                    difference(field, told.unwrap_or(&null), truth.unwrap_or(&null))
                        .map(|(place, problem)| Fault::new(place, problem))
                });
            }
            Said::Illegal(found) => {
                let init = self.options.registers.init.clone().unwrap_or_default();
                let truth = serde_json::to_value(truth.into_analysis(self.history, init)).unwrap_or_default();
                (found, truth["counterexample"].clone(), "counterexample")
            }
            Said::Legal(_) | Said::Unknown => return None,
        };
        difference(place, told, &truth).map(|(place, problem)| Fault::new(place, problem))
    }

    fn facts(&self) -> Result<Facts<'_>, Fault> {
        Facts::of(self.history, self.model, self.options)
    }

    fn kind(&self, place: &str, name: &str) -> Result<AnomalyKind, Fault> {
        facts::kind(name).ok_or_else(|| Fault::new(place, "is the name of no anomaly"))
    }

    fn forbidden(&self, kind: AnomalyKind) -> bool {
        self.options
            .consistency_models
            .iter()
            .any(|model| model.forbids(kind))
    }

    fn names(&self) -> String {
        let names: Vec<&str> = self
            .options
            .consistency_models
            .iter()
            .map(|model| model.as_str())
            .collect();
        names.join(", ")
    }
}

fn illegal(kind: AnomalyKind, cases: usize) -> Proof {
    Proof::Holds {
        shown: match cases {
            1 => format!("illegal: {kind}, by what the transactions read and wrote"),
            _ => {
                format!("illegal: {kind}, with {cases} cases in all, by what the transactions read and wrote")
            }
        },
        notes: Vec::new(),
    }
}
