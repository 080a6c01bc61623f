//! A run for other people's tools: Jepsen's `history.edn` and `results.edn`.
//!
//! The history is written by the checker, which reads it back with the same verdict. The results are those of
//! `results.json` in EDN, with Jepsen's `:valid?`.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use checker::CheckOptions;
use checker::convert::{Explicit, Target};
use checker::history::History;
use serde_json::Value;

use crate::cli::ExportArgs;
use crate::store::write_whole;

/// Writes `history.edn`, and `results.edn` where the run has a verdict; prints where they are.
///
/// # Errors
/// When there is no run, its history cannot be read or said in EDN, or the files cannot be written.
pub fn run(args: &ExportArgs) -> Result<u8> {
    let history = args.run.join("history.jsonl");
    if !history.is_file() {
        bail!(
            "{}: no history is there (wanted: the folder of a run; soak and matrix keep the histories of valid runs with --keep-all only)",
            args.run.display()
        );
    }
    let out = args.out.as_deref().unwrap_or(&args.run);
    fs::create_dir_all(out).with_context(|| out.display().to_string())?;
    let target = out.join("history.edn");
    write_whole(&target, &edn(&history)?)?;
    nemesis::say!("{}", target.display());
    let results = args.run.join("results.json");
    if results.is_file() {
        let bytes = fs::read(&results).with_context(|| results.display().to_string())?;
        let json: Value = serde_json::from_slice(&bytes).with_context(|| results.display().to_string())?;
        let target = out.join("results.edn");
        write_whole(&target, format!("{}\n", Edn(&json)).as_bytes())?;
        nemesis::say!("{}", target.display());
    }
    Ok(0)
}

/// A history as Jepsen writes it.
fn edn(path: &Path) -> Result<Vec<u8>> {
    let history = History::open(path, &Default::default())?;
    let explicit = Explicit::of(&history, &CheckOptions::default())?;
    let mut bytes = Vec::new();
    explicit.write(Target::EdnVector, &mut bytes)?;
    Ok(bytes)
}

/// JSON as EDN: names of fields become keywords where EDN can write them so, `valid` is `:valid?`, and the word
/// of an unknown verdict is a keyword, as in Jepsen.
struct Edn<'a>(&'a Value);

impl std::fmt::Display for Edn<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            Value::Null => f.write_str("nil"),
            Value::String(text) => f.write_str(&string(text)),
            Value::Array(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    write!(f, "{}{}", if at == 0 { "" } else { " " }, Edn(item))?;
                }
                f.write_str("]")
            }
            Value::Object(fields) => {
                f.write_str("{")?;
                for (at, (name, value)) in fields.iter().enumerate() {
                    f.write_str(if at == 0 { "" } else { ", " })?;
                    match (name.as_str(), value.as_str()) {
                        ("valid", Some("unknown")) => f.write_str(":valid? :unknown")?,
                        ("valid", _) => write!(f, ":valid? {}", Edn(value))?,
                        (name, _) => write!(f, "{} {}", keyword(name), Edn(value))?,
                    }
                }
                f.write_str("}")
            }
            other => write!(f, "{other}"),
        }
    }
}

/// A field's name: a keyword in Lisp's spelling, or a string where it is no symbol.
fn keyword(name: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.*+!?".contains(c);
    if name.starts_with(|c: char| c.is_ascii_alphabetic()) && name.chars().all(plain) {
        format!(":{}", name.replace('_', "-"))
    } else {
        string(name)
    }
}

/// A string with the escapes that EDN knows.
fn string(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04x}", c as u32)),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;
    use checker::Verdict;
    use serde_json::json;

    #[test]
    fn results_read_as_jepsens() {
        let json = json!({"valid": "unknown", "load_end_ns": 5, "at": {"n1/x": null, "f": [1.5, "a\"b\u{7}\n"]}, "analysis": {"valid": true}});
        assert_eq!(
            Edn(&json).to_string(),
            r#"{:analysis {:valid? true}, :at {:f [1.5 "a\"b\u0007\n"], "n1/x" nil}, :load-end-ns 5, :valid? :unknown}"#
        );
    }

    #[test]
    fn a_history_in_edn_has_the_verdict_that_it_had() {
        let dir = tempfile::tempdir().expect("a folder");
        for (read, legal) in [(1, true), (2, false)] {
            let path = dir.path().join("history.jsonl");
            let text = format!(
                "{{\"ordeal\":1,\"model\":\"kv\",\"seed\":4,\"nodes\":[\"n1\"],\"test\":\"t\"}}\n\
                 {{\"index\":0,\"time\":1,\"process\":0,\"type\":\"invoke\",\"f\":\"set\",\"key\":\"a\",\"value\":1,\"node\":\"n1\"}}\n\
                 {{\"index\":1,\"time\":2,\"process\":0,\"type\":\"ok\",\"f\":\"set\",\"key\":\"a\",\"value\":1,\"node\":\"n1\"}}\n\
                 {{\"index\":2,\"time\":3,\"process\":\"nemesis\",\"type\":\"info\",\"f\":\"kill\",\"value\":{{\"event\":\"begin\"}}}}\n\
                 {{\"index\":3,\"time\":4,\"process\":1,\"type\":\"invoke\",\"f\":\"cas\",\"key\":\"a\",\"value\":[7,8]}}\n\
                 {{\"index\":4,\"time\":5,\"process\":1,\"type\":\"fail\",\"f\":\"cas\",\"key\":\"a\",\"value\":[7,8],\"error\":\"mismatch\"}}\n\
                 {{\"index\":5,\"time\":6,\"process\":0,\"type\":\"invoke\",\"f\":\"get\",\"key\":\"a\",\"value\":null}}\n\
                 {{\"index\":6,\"time\":7,\"process\":0,\"type\":\"ok\",\"f\":\"get\",\"key\":\"a\",\"value\":{read}}}\n"
            );
            fs::write(&path, text).expect("written");
            let run = dir.path().to_owned();
            self::run(&ExportArgs { run, out: None }).expect("exported");
            for name in ["history.jsonl", "history.edn"] {
                let history = History::open(dir.path().join(name), &Default::default()).expect(name);
                assert_eq!(history.len(), 3, "{name}");
                let analysis = checker::check(&history, &CheckOptions::default()).expect(name);
                assert_eq!(
                    matches!(analysis.verdict, Verdict::Linearizable(_)),
                    legal,
                    "{name}"
                );
                assert_eq!(matches!(analysis.verdict, Verdict::Illegal(_)), !legal, "{name}");
            }
        }
    }
}
