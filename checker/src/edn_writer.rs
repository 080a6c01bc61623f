//! Histories as EDN, for Jepsen, Knossos, Elle and Porcupine.

use std::io::{self, BufWriter, Write};

use serde::Serialize;

use crate::convert::{ConvertError, Explicit, Target, without_instants};
use crate::history::{Event, EventKind, FORM_VERSION, Header, Process, Real, Value};

/// Writes a history. The header goes into a comment on the first line, which our own reader understands.
pub(crate) fn write(history: Explicit, target: Target, out: impl Write) -> Result<(), ConvertError> {
    let Explicit { header, mut events } = history;
    without_instants(&mut events)?;
    let mut out = BufWriter::with_capacity(1 << 16, out);
    match target {
        Target::KeyValueLog => {
            for event in &events {
                key_value_line(&mut out, event)?;
            }
        }
        Target::EdnVector => {
            comment(&mut out, &header)?;
            for (at, event) in events.iter().enumerate() {
                out.write_all(if at == 0 { b"[" } else { b"\n " })?;
                map(&mut out, event, &header)?;
            }
            out.write_all(if events.is_empty() { b"[]\n" } else { b"]\n" })?;
        }
        Target::EdnLines | Target::JsonLines => {
            comment(&mut out, &header)?;
            for event in &events {
                map(&mut out, event, &header)?;
                out.write_all(b"\n")?;
            }
        }
    }
    out.flush()?;
    Ok(())
}

fn comment(out: &mut impl Write, header: &Header) -> io::Result<()> {
    #[derive(Serialize)]
    struct Numbered<'a> {
        ordeal: u64,
        #[serde(flatten)]
        header: &'a Header,
    }
    let ordeal = FORM_VERSION;
    let json = serde_json::to_string(&Numbered { ordeal, header })?;
    writeln!(out, "; ordeal {json}")
}

/// One event as a map, in Jepsen's shape.
fn map(out: &mut impl Write, event: &Event, header: &Header) -> io::Result<()> {
    let process = match event.process {
        Process::Client(id) => id.to_string(),
        Process::Nemesis => ":nemesis".to_owned(),
    };
    write!(out, "{{:process {process}, :type :{}, :f ", event.kind.as_str())?;
    keyword(out, jepsen_name(event, header))?;
    if let Some(key) = &event.key {
        out.write_all(b", :key ")?;
        value(out, key)?;
    }
    out.write_all(b", :value ")?;
    match &event.value {
        Value::List(steps) if &*event.f == "txn" => transaction(out, steps)?,
        other => value(out, other)?,
    }
    if let Some(error) = &event.error {
        out.write_all(b", :error ")?;
        text(out, error)?;
    }
    if let Some(current) = &event.current {
        out.write_all(b", :current ")?;
        value(out, current)?;
    }
    if let Some(rev) = event.rev {
        write!(out, ", :rev {rev}")?;
    }
    if let Some(node) = &event.node {
        out.write_all(b", :node ")?;
        text(out, node)?;
    }
    if let Some(intended) = event.intended {
        write!(out, ", :intended {}", intended.0)?;
    }
    for (name, json) in &event.other {
        out.write_all(b", ")?;
        keyword(out, name)?;
        out.write_all(b" ")?;
        value(out, &Value::from(json.clone()))?;
    }
    write!(out, ", :time {}, :index {}}}", event.time.0, event.index)
}

/// Registers are read and written in Jepsen's words; our reader takes both.
fn jepsen_name<'e>(event: &'e Event, header: &Header) -> &'e str {
    let register = matches!(header.model.as_deref(), Some("register" | "cas-register" | "kv"));
    match &*event.f {
        "get" if register => "read",
        "set" | "put" if register => "write",
        "compare-and-set" if register => "cas",
        other => other,
    }
}

/// The steps of a transaction begin with a keyword each.
fn transaction(out: &mut impl Write, steps: &[Value]) -> io::Result<()> {
    out.write_all(b"[")?;
    for (at, step) in steps.iter().enumerate() {
        out.write_all(if at == 0 { b"" } else { b" " })?;
        match step.as_list() {
            Some([Value::Str(f), rest @ ..]) => {
                out.write_all(b"[")?;
                keyword(out, f)?;
                for part in rest {
                    out.write_all(b" ")?;
                    value(out, part)?;
                }
                out.write_all(b"]")?;
            }
            _ => value(out, step)?,
        }
    }
    out.write_all(b"]")
}

/// A keyword, or a text if a keyword cannot be written so.
fn keyword(out: &mut impl Write, name: &str) -> io::Result<()> {
    let plain =
        |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '*' | '+' | '!' | '?' | '/');
    if !name.is_empty() && name.chars().all(plain) {
        write!(out, ":{name}")
    } else {
        text(out, name)
    }
}

fn value(out: &mut impl Write, what: &Value) -> io::Result<()> {
    match what {
        Value::Nil => out.write_all(b"nil"),
        Value::Bool(truth) => write!(out, "{truth}"),
        Value::Int(number) => write!(out, "{number}"),
        Value::Float(Real(number)) if number.is_finite() => write!(out, "{number:?}"),
        Value::Float(_) => out.write_all(b"##NaN"),
        Value::Big(digits) => write!(out, "{digits}N"),
        Value::Str(said) => text(out, said),
        Value::List(elements) => {
            out.write_all(b"[")?;
            for (at, element) in elements.iter().enumerate() {
                out.write_all(if at == 0 { b"" } else { b" " })?;
                value(out, element)?;
            }
            out.write_all(b"]")
        }
        Value::Map(entries) => {
            out.write_all(b"{")?;
            for (at, (key, of)) in entries.iter().enumerate() {
                out.write_all(if at == 0 { b"" } else { b", " })?;
                value(out, key)?;
                out.write_all(b" ")?;
                value(out, of)?;
            }
            out.write_all(b"}")
        }
    }
}

fn text(out: &mut impl Write, said: &str) -> io::Result<()> {
    out.write_all(b"\"")?;
    let mut plain = 0;
    for (at, c) in said.char_indices() {
        let escaped = match c {
            '"' => "\\\"".to_owned(),
            '\\' => "\\\\".to_owned(),
            '\n' => "\\n".to_owned(),
            '\t' => "\\t".to_owned(),
            '\r' => "\\r".to_owned(),
            c if c < ' ' => format!("\\u{:04x}", u32::from(c)),
            _ => continue,
        };
        out.write_all(&said.as_bytes()[plain..at])?;
        out.write_all(escaped.as_bytes())?;
        plain = at + c.len_utf8();
    }
    out.write_all(&said.as_bytes()[plain..])?;
    out.write_all(b"\"")
}

/// One event as Porcupine's key-value logs have it: nothing but get, put and append of texts, all of which
/// succeeded; a missing key is the empty text.
fn key_value_line(out: &mut impl Write, event: &Event) -> Result<(), ConvertError> {
    let Process::Client(process) = event.process else {
        return Ok(());
    };
    let unsayable = |what: String| {
        ConvertError::Unsayable(format!(
            "event {}: a key-value log cannot say {what}",
            event.index
        ))
    };
    let f = match &*event.f {
        "get" | "read" => "get",
        "set" | "put" | "write" => "put",
        "append" => "append",
        other => return Err(unsayable(format!("{other:?}, only get, put and append"))),
    };
    if !matches!(event.kind, EventKind::Invoke | EventKind::Ok) {
        return Err(unsayable(format!(
            "{:?}: every operation succeeds there",
            event.kind.as_str()
        )));
    }
    write!(
        out,
        "{{:process {process}, :type :{}, :f :{f}, :key ",
        event.kind.as_str()
    )?;
    text(out, &bare(event.key.as_ref().unwrap_or(&Value::Int(0))))?;
    out.write_all(b", :value ")?;
    if f == "get" && event.kind == EventKind::Invoke {
        out.write_all(b"nil")?;
    } else {
        text(out, &bare(&event.value))?;
    }
    out.write_all(b"}\n")?;
    Ok(())
}

fn bare(value: &Value) -> String {
    match value {
        Value::Nil => String::new(),
        Value::Str(said) => said.to_string(),
        other => other.to_json().to_string(),
    }
}
