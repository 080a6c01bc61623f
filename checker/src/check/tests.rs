//! What becomes of a verdict when the model fails.

use super::*;
use crate::model::fragile;

fn asked(history: &History) -> Analysis {
    let options = CheckOptions {
        violations: Violations::All,
        ..CheckOptions::default()
    };
    let question = Question {
        history,
        options: &options,
        budget: &Budget::new(None, None),
        guessed: false,
    };
    question.run(&fragile::domain(), false).expect("judged")
}

#[test]
fn a_key_on_which_the_model_fails_is_unknown() {
    let history = fragile::history(&[("a", "add", 13, 13), ("b", "add", 1, 1), ("b", "read", 0, 1)]);
    let Verdict::Unknown(limit @ Limit::ModelPanicked { .. }) = asked(&history).verdict else {
        panic!("nobody can say");
    };
    assert_eq!(
        limit.to_string(),
        "the model failed: thirteen is too much (at add 13), key a: 0 of 1 completed operations explained; the \
         model must be mended"
    );
}

#[test]
fn a_violation_of_another_key_is_worse_than_a_model_that_fails_and_is_one_if_it_cannot_be_explained() {
    let history = fragile::history(&[("a", "add", 13, 13), ("b", "add", 1, 1), ("b", "read", 0, 5)]);
    let analysis = asked(&history);
    let Verdict::Illegal(found) = analysis.verdict else {
        panic!("{:?}", analysis.verdict);
    };
    assert_eq!(
        found.sentence,
        "no order explains the operations on key b; the model failed when that was to be explained: words fail me \
         (asked to describe a state)"
    );
    assert_eq!(analysis.illegal_keys, [Value::from("b")]);
}
