//! `kvnode client` and `kvnode admin`: words on a line become requests.

use anyhow::{Context, bail};
use hyper::Method;
use rustyline::error::ReadlineError;
use serde_json::{Value, json};

use crate::client::Client;
use crate::out;

/// What a line of the client may say.
pub const HELP: &str = "get K | set K=V | set K V | cas K OLD NEW | cas K - NEW (must not exist) | append K V | \
delete K | scan [PREFIX] | watch [PREFIX] | status | members | help | quit";

/// A request that a line stands for.
#[derive(Debug, Clone, PartialEq)]
pub enum Line {
    /// A request and its body.
    Ask(Method, String, Option<Value>),
    /// A stream of changes.
    Watch(String),
    /// The words that there are.
    Help,
    /// Nothing.
    Empty,
    /// The end.
    Quit,
}

/// Reads a line. Values with spaces stand in double quotes.
///
/// # Errors
/// When it says nothing that is known.
pub fn parse(words: &[String]) -> anyhow::Result<Line> {
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let post = |target: &str, body: Value| Line::Ask(Method::POST, target.to_owned(), Some(body));
    let read = |target: String| Line::Ask(Method::GET, target, None);
    Ok(match words[..] {
        [] => Line::Empty,
        ["quit" | "exit"] => Line::Quit,
        ["help" | "?"] => Line::Help,
        ["get", key] => read(format!("/get?key={}", encoded(key))),
        ["set", key, value] => post("/set", json!({ "key": key, "value": value })),
        ["set", both] => {
            let (key, value) = both.split_once('=').context("write set KEY=VALUE")?;
            post("/set", json!({ "key": key, "value": value }))
        }
        ["cas", key, "-", value] => post("/cas", json!({ "key": key, "expected": null, "value": value })),
        ["cas", key, old, value] => post("/cas", json!({ "key": key, "expected": old, "value": value })),
        ["append", key, value] => post("/append", json!({ "key": key, "value": value })),
        ["delete", key] => post("/delete", json!({ "key": key })),
        ["scan"] => read("/scan".to_owned()),
        ["scan", prefix] => read(format!("/scan?prefix={}", encoded(prefix))),
        ["watch"] => Line::Watch("/watch".to_owned()),
        ["watch", prefix] => Line::Watch(format!("/watch?prefix={}", encoded(prefix))),
        ["status"] => read("/status".to_owned()),
        ["members"] => read("/cluster/members".to_owned()),
        [word, ..] => bail!("'{word}' makes no sense so: {HELP}"),
    })
}

/// Splits at spaces, but not within double quotes.
pub fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quoted, mut begun) = (Vec::new(), String::new(), false, false);
    for letter in line.chars() {
        match letter {
            '"' => (quoted, begun) = (!quoted, true),
            ' ' | '\t' if !quoted => {
                if begun {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            letter => {
                word.push(letter);
                begun = true;
            }
        }
    }
    if begun {
        words.push(word);
    }
    words
}

/// Does what one line says and prints the answer; tells whether it succeeded.
///
/// # Errors
/// When no node answers.
pub async fn carry_out(client: &mut Client, line: Line) -> anyhow::Result<bool> {
    match line {
        Line::Ask(method, target, body) => {
            let answer = client
                .ask(method, &target, body.as_ref())
                .await
                .context("no node answers")?;
            out::line(format_args!("{:#}", answer.body))?;
            Ok(answer.status.is_success())
        }
        Line::Watch(target) => Err(client.watch(&target, &mut |event| out::more(event)).await),
        Line::Help => {
            out::line(HELP)?;
            Ok(true)
        }
        Line::Empty | Line::Quit => Ok(true),
    }
}

/// Reads lines from a person, with history and completion of the first word.
///
/// # Errors
/// When the terminal fails.
pub fn interactive(runtime: &tokio::runtime::Runtime, client: &mut Client) -> anyhow::Result<()> {
    let mut editor = rustyline::Editor::<Words, rustyline::history::DefaultHistory>::new()?;
    editor.set_helper(Some(Words));
    loop {
        match editor.readline("kvnode> ") {
            Ok(line) => {
                let _ = editor.add_history_entry(&line);
                match parse(&words(&line)) {
                    Ok(Line::Quit) => return Ok(()),
                    Ok(line) => {
                        let done = runtime.block_on(async {
                            tokio::select! {
                                done = carry_out(client, line) => done.map(drop),
                                // Ends what is under way, a watch for one, and not the client.
                                _ = tokio::signal::ctrl_c() => out::more(""),
                            }
                        });
                        if let Err(error) = done {
                            out::more(format_args!("{error:#}"))?;
                        }
                    }
                    Err(error) => out::more(format_args!("{error:#}"))?,
                }
            }
            Err(ReadlineError::Interrupted) => {}
            Err(ReadlineError::Eof) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Completes the first word of a line.
struct Words;

impl rustyline::completion::Completer for Words {
    type Candidate = String;

    fn complete(
        &self,
        line: &str,
        position: usize,
        _: &rustyline::Context<'_>,
    ) -> rustyline::Result<(usize, Vec<String>)> {
        let known = [
            "get ", "set ", "cas ", "append ", "delete ", "scan ", "watch ", "status", "members", "help",
            "quit",
        ];
        let begun = &line[..position];
        let fitting = known
            .iter()
            .filter(|word| word.starts_with(begun))
            .map(|&word| word.to_owned());
        Ok((0, fitting.collect()))
    }
}

impl rustyline::hint::Hinter for Words {
    type Hint = String;
}
impl rustyline::highlight::Highlighter for Words {}
impl rustyline::validate::Validator for Words {}
impl rustyline::Helper for Words {}

/// Percent-encodes whatever has a meaning of its own in an address.
pub fn encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            byte => format!("%{byte:02X}"),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_requests() {
        let line = |text: &str| parse(&words(text));
        let set = Line::Ask(
            Method::POST,
            "/set".to_owned(),
            Some(json!({ "key": "k", "value": "a b" })),
        );
        assert_eq!(line("set k \"a b\"").unwrap(), set);
        assert_eq!(line("set \"k=a b\"").unwrap(), set);
        assert_eq!(
            line("get \"a&b\"").unwrap(),
            Line::Ask(Method::GET, "/get?key=a%26b".to_owned(), None)
        );
        let absent = json!({ "key": "k", "expected": null, "value": "" });
        assert_eq!(
            line("cas k - \"\"").unwrap(),
            Line::Ask(Method::POST, "/cas".to_owned(), Some(absent))
        );
        assert_eq!(line("  ").unwrap(), Line::Empty);
        for wrong in ["set k", "get", "fly k", "cas k a"] {
            assert!(line(wrong).is_err(), "{wrong}");
        }
    }
}
