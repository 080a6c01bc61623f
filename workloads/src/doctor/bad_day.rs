//! Answers that a store gives on a bad day, and what the rules must not make of them.

use super::Finding;
use crate::system::{Answer, Bindings, CallTemplate, DriverKind, Outcome, Ruling, System, classify, is_read};

/// Statuses behind which a write may have happened: the store, or something before it, gave up waiting.
const OPEN: [u16; 4] = [500, 502, 503, 504];
/// Bodies that say nothing about that.
const BODIES: [&str; 3] = ["", "{}", "<html>Service Unavailable</html>"];

/// The rules of `system` that call certain what is not. No node is needed for it.
#[must_use]
pub fn too_trusting(system: &System) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, operation) in &system.operation {
        let over_http = operation
            .steps
            .iter()
            .all(|step| matches!(step.call, CallTemplate::Http { .. }));
        for (number, step) in operation.steps.iter().enumerate() {
            let writes = !is_read(name) && !step.reads_only;
            let ruled = |status: u16, body: &str| {
                let answer = Answer::new(status, body.as_bytes());
                match classify(&step.rules, &answer, system.values.encode, &Bindings::new()) {
                    Some(Ruling::Done(outcome)) => Some(outcome),
                    _ => None,
                }
            };
            let place = match operation.steps.len() {
                1 => String::new(),
                _ => format!("step {}: ", number + 1),
            };
            // Here NATS's own server says that nobody was there to hear the request.
            let unheard = |status: &u16| system.driver == DriverKind::Nats && *status == 503;
            let open = OPEN
                .iter()
                .filter(|status| !unheard(status))
                .flat_map(|status| BODIES.map(|body| (*status, body)));
            let claimed = open.filter_map(|(status, body)| match ruled(status, body)? {
                Outcome::Fail { .. } if writes => Some((status, body, "fail")),
                Outcome::Mismatch { .. } => Some((status, body, "mismatch")),
                Outcome::Ok { .. } => Some((status, body, "ok")),
                _ => None,
            });
            // One example says it.
            if let Some((status, body, claim)) = claimed.into_iter().next() {
                let shown = if body.is_empty() { "an empty body" } else { body };
                let why = match claim {
                    "fail" => {
                        "the write may have happened all the same: drop that rule, or have it ask for a body \
                               that says that nothing was done"
                    }
                    _ => "nothing says so: have the rule ask for the status or a body that only that has",
                };
                let status = if over_http {
                    format!("a {status}")
                } else {
                    "an error".to_owned()
                };
                findings.push(Finding::new(
                    name,
                    format!("{place}too trusting: {status} with {shown} is called {claim}; {why}"),
                ));
            }
            // Only behind HTTP may somebody else answer.
            if is_read(name)
                && over_http
                && let Some(Outcome::Ok { value, .. }) = ruled(200, "<html>It works!</html>")
            {
                let value = value.map_or_else(|| "no value".to_owned(), |value| value.to_string());
                findings.push(Finding::new(
                    name,
                    format!(
                        "{place}too trusting: a 200 with <html>It works!</html> is called ok with {value}; \
                         have the rule ask for something that only the store's own answers hold"
                    ),
                ));
            }
        }
    }
    findings
}
