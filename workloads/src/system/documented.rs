//! The template and the documentation know every field, and no other.

use super::System;

const TEMPLATE: &str = include_str!("../../../systems/template.toml");
const DOCS: &str = include_str!("../../../docs/systems.md");

/// The fields of the table into which `nonsense = 1` is put after the line `after`, as the reader lists them.
fn fields(after: &str) -> Vec<String> {
    assert!(TEMPLATE.contains(after), "the template has {after:?}");
    let text = TEMPLATE.replacen(after, &format!("{after}\nnonsense_field = 1\n"), 1);
    let error = toml::from_str::<System>(&text).expect_err("refused").to_string();
    let (_, expected) = error.split_once("expected").expect("names what it knows");
    expected
        .split('`')
        .skip(1)
        .step_by(2)
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_template_is_valid() {
    let system = System::parse(TEMPLATE, std::path::Path::new("systems/template.toml"));
    assert_eq!(system.expect("valid").operation.len(), 5);
}

#[test]
fn every_field_is_in_the_template_and_in_the_documentation() {
    let tables = [
        "driver = \"http\"                       # http (the default), redis, postgres, zookeeper, nats, stdin-json",
        "separator = \",\"                       # what stands between members; the default is a comma",
        "within_s = 30                         # how long that may take, in seconds",
        "term = \"/term\"                        # of differing answers the highest term counts",
        "hash = \"/state_hash\"",
        "encode = \"string\"                     # how the integers of histories travel: \"string\" (\"7\") or \"int\" (7)",
        "method = \"GET\"                        # GET (the default), PUT, POST, DELETE",
        "reads_only = true                     # it changes nothing, so losing its answer loses nothing",
        "about = \"reads without the leader\"",
    ];
    let mut seen = 0;
    for table in tables {
        for field in fields(table) {
            seen += 1;
            let word = |text: &str| {
                text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
                    .any(|word| word == field)
            };
            assert!(word(TEMPLATE), "the template does not explain `{field}`");
            assert!(
                DOCS.contains(&format!("`{field}`")),
                "docs/systems.md does not name `{field}`"
            );
        }
    }
    assert!(seen > 50, "only {seen} fields were looked at");
}

#[test]
fn every_field_of_a_rule_is_documented() {
    let rule = "{ outcome = \"fail\", status = \"409\", same = [\"/expected\", \"/asked\"] }";
    let text = TEMPLATE.replacen(rule, "{ outcome = \"fail\", nonsense_field = 1 }", 1);
    assert_ne!(text, TEMPLATE);
    let error = toml::from_str::<System>(&text).expect_err("refused").to_string();
    let (_, expected) = error.split_once("expected").expect("names what it knows");
    for field in expected.split('`').skip(1).step_by(2) {
        assert!(
            TEMPLATE.contains(field),
            "the template does not explain `{field}`"
        );
        assert!(
            DOCS.contains(&format!("`{field}`")),
            "docs/systems.md does not name `{field}`"
        );
    }
}
