//! Sending one operation until there is an answer.
//!
//! Only for operations that carry a name which all attempts share: the store promises to do such an operation
//! once. However many attempts there are, the history has one invocation and one completion, and once any
//! attempt was left without an answer, a later "not applied" says nothing about that one.

use std::time::Duration;

use super::workers::Crew;
use crate::generator::{Invocation, Repeat};
use crate::system::Outcome;

/// How often an operation is sent at most.
const ATTEMPTS: usize = 4;
/// How long an attempt may take; the next one goes to another node.
const PATIENCE: Duration = Duration::from_millis(700);

/// Asks one node after the other, beginning with `first`, until there is an answer.
pub(super) async fn until_answered(
    crew: &Crew,
    first: usize,
    invocation: &Invocation,
    repeat: &Repeat,
) -> Outcome {
    let mut so_far = None;
    for attempt in 0..ATTEMPTS {
        let node = (first + attempt) % crew.nodes.len();
        let said = tokio::time::timeout(PATIENCE, crew.ask(node, invocation)).await;
        let mut outcome = said.unwrap_or_else(|_| Outcome::Info {
            error: format!("no answer within {PATIENCE:?}"),
        });
        if let (0, Some(wait)) = (attempt, repeat.lost)
            && !matches!(outcome, Outcome::Fail { .. })
        {
            outcome = Outcome::Info {
                error: "the answer counts as lost".to_owned(),
            };
            tokio::time::sleep(wait).await;
        }
        let merged = after(so_far, outcome);
        if !matches!(merged, Outcome::Info { .. }) {
            return merged;
        }
        so_far = Some(merged);
    }
    so_far.expect("there is at least one attempt")
}

/// What an attempt comes to after those before it, none of which was answered.
fn after(before: Option<Outcome>, outcome: Outcome) -> Outcome {
    match (before, outcome) {
        (Some(Outcome::Info { error }), Outcome::Fail { error: refused }) => Outcome::Info {
            error: format!("{error}; then {refused}"),
        },
        (_, outcome) => outcome,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_says_nothing_of_an_attempt_that_was_never_answered() {
        let info = || Outcome::Info {
            error: "timeout".into(),
        };
        let fail = || Outcome::Fail {
            error: "no leader".into(),
        };
        let ok = || Outcome::DONE;
        assert_eq!(after(None, fail()), fail());
        assert_eq!(after(None, info()), info());
        assert_eq!(after(Some(info()), ok()), ok());
        assert_eq!(
            after(Some(info()), Outcome::Mismatch { current: None }),
            Outcome::Mismatch { current: None }
        );
        assert!(matches!(after(Some(info()), fail()), Outcome::Info { .. }));
    }
}
