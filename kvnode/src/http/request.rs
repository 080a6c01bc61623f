//! Requests: a query string or a JSON object, one set of named fields.
//!
//! Everything is checked here, before anything is done: names known, none twice,
//! UTF-8 whole, lengths within bounds.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::reply::Failure;
use crate::command::{MAX_KEY_BYTES, MAX_VALUE_BYTES};

/// The largest number that means anything: an index that nobody lives to see. Beyond it
/// `serde_json` no longer reads a number with a fraction of nothing (`5.0`) exactly.
const MAX_NUMBER: u64 = 900_000_000_000_000;

/// Longest body. A value of 1 MiB may be six times as long when every character is
/// escaped; nothing longer can hold a legal request.
pub const MAX_BODY_BYTES: usize = 8 << 20;

/// The named fields of a request, from its query and its body.
#[derive(Debug, Default)]
pub struct Fields {
    fields: BTreeMap<String, Value>,
}

impl Fields {
    /// Reads `a=b&c=d` and, if there is a body, a JSON object. `names` are all fields
    /// that the route knows.
    ///
    /// # Errors
    /// 400, saying which part does not read.
    pub fn parse(query: Option<&str>, body: &[u8], names: &[&str]) -> Result<Fields, Failure> {
        let mut fields = Fields::default();
        for pair in query.unwrap_or("").split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            fields.add(query_decoded(name)?, Value::String(query_decoded(value)?), names)?;
        }
        if !body.is_empty() {
            let object = serde_json::from_slice::<Unrepeated>(body)
                .map_err(|error| Failure::bad_request(format!("the body is no JSON object: {error}")))?;
            for (name, value) in object.0 {
                fields.add(name, value, names)?;
            }
        }
        Ok(fields)
    }

    /// The objects in a list, each with these fields; an absent list is empty.
    ///
    /// # Errors
    /// 400 when it is no list of objects.
    pub fn objects(&mut self, name: &str, names: &[&str]) -> Result<Vec<Fields>, Failure> {
        let wrong = || Failure::bad_request(format!("the field '{name}' must be a list of objects"));
        let list = match self.fields.remove(name) {
            None => return Ok(Vec::new()),
            Some(Value::Array(list)) => list,
            Some(_) => return Err(wrong()),
        };
        let object = |value| {
            let Value::Object(object) = value else {
                return Err(wrong());
            };
            let mut fields = Fields::default();
            for (name, value) in object {
                fields.add(name, value, names)?;
            }
            Ok(fields)
        };
        list.into_iter().map(object).collect()
    }

    fn add(&mut self, name: String, value: Value, names: &[&str]) -> Result<(), Failure> {
        if !names.contains(&name.as_str()) {
            let known = names.join(", ");
            return Err(Failure::bad_request(format!(
                "there is no field '{name}' here, only: {known}"
            )));
        }
        if self.fields.contains_key(&name) {
            return Err(Failure::bad_request(format!("the field '{name}' is given twice")));
        }
        self.fields.insert(name, value);
        Ok(())
    }

    /// The name of a field that nobody has taken, if there is one.
    pub fn rest(&self) -> Option<&str> {
        self.fields.keys().next().map(String::as_str)
    }

    /// Whether the field was given at all.
    pub fn has(&self, name: &str) -> bool {
        self.fields.contains_key(name)
    }

    /// Whether the field was given as JSON `null`.
    pub fn is_null(&self, name: &str) -> bool {
        self.fields.get(name) == Some(&Value::Null)
    }

    /// A text field, if it was given.
    ///
    /// # Errors
    /// 400 when it is no text.
    pub fn text(&mut self, name: &str) -> Result<Option<String>, Failure> {
        match self.fields.remove(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(Failure::bad_request(format!(
                "the field '{name}' must be a string"
            ))),
        }
    }

    /// A whole number, if it was given.
    ///
    /// # Errors
    /// 400 when it is none.
    pub fn number(&mut self, name: &str) -> Result<Option<u64>, Failure> {
        let Some(value) = self.fields.remove(name) else {
            return Ok(None);
        };
        let number = match value {
            Value::String(text) => text.parse().ok(),
            value => whole(&value),
        };
        match number.filter(|number| *number <= MAX_NUMBER) {
            Some(number) => Ok(Some(number)),
            None => Err(Failure::bad_request(format!(
                "the field '{name}' must be a whole number, 0 to {MAX_NUMBER}"
            ))),
        }
    }

    /// Yes or no (`1`, `0`, `true`, `false`, empty for yes), no if it was not given.
    ///
    /// # Errors
    /// 400 when it is neither.
    pub fn flag(&mut self, name: &str, otherwise: bool) -> Result<bool, Failure> {
        match self.fields.remove(name) {
            None => Ok(otherwise),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(Value::String(text)) => match text.as_str() {
                "" | "1" | "true" => Ok(true),
                "0" | "false" => Ok(false),
                _ => Err(Failure::bad_request(format!("the field '{name}' must be 1 or 0"))),
            },
            Some(_) => Err(Failure::bad_request(format!("the field '{name}' must be 1 or 0"))),
        }
    }

    /// The key.
    ///
    /// # Errors
    /// 400 when there is none, 413 when it is too long.
    pub fn key(&mut self) -> Result<Arc<str>, Failure> {
        let key = self
            .text("key")?
            .ok_or_else(|| Failure::bad_request("the field 'key' is missing"))?;
        checked_key(&key)
    }

    /// The value.
    ///
    /// # Errors
    /// 400 when there is none, 413 when it is too long.
    pub fn value(&mut self) -> Result<Arc<str>, Failure> {
        let value = self
            .text("value")?
            .ok_or_else(|| Failure::bad_request("the field 'value' is missing"))?;
        checked_value(&value)
    }
}

/// A key within bounds.
///
/// # Errors
/// 400 when it is empty, 413 when it is too long.
pub fn checked_key(key: &str) -> Result<Arc<str>, Failure> {
    match key.len() {
        0 => Err(Failure::bad_request("the key is empty")),
        1..=MAX_KEY_BYTES => Ok(Arc::from(key)),
        length => Err(Failure::too_large(format!(
            "the key has {length} bytes, at most {MAX_KEY_BYTES} are taken"
        ))),
    }
}

/// A value within bounds.
///
/// # Errors
/// 413 when it is too long.
pub fn checked_value(value: &str) -> Result<Arc<str>, Failure> {
    match value.len() {
        0..=MAX_VALUE_BYTES => Ok(Arc::from(value)),
        length => Err(Failure::too_large(format!(
            "the value has {length} bytes, at most {MAX_VALUE_BYTES} are taken"
        ))),
    }
}

/// A JSON number without a fraction, however it is written: 5 and 5.0 are the same to
/// JSON, as long as it is read exactly.
fn whole(value: &Value) -> Option<u64> {
    let float = || {
        let float = value.as_f64()?;
        let exact = float.fract() == 0.0 && (0.0..=MAX_NUMBER as f64).contains(&float);
        exact.then_some(float as u64)
    };
    value.as_u64().or_else(float)
}

/// Undoes percent-encoding in a query, with `+` for a space as forms write it.
///
/// # Errors
/// As [`percent_decoded`].
pub fn query_decoded(text: &str) -> Result<String, Failure> {
    if text.contains('+') {
        percent_decoded(&text.replace('+', " "))
    } else {
        percent_decoded(text)
    }
}

/// Undoes percent-encoding.
///
/// # Errors
/// 400 for a broken escape or bytes that are no UTF-8: repaired text would be
/// another key.
pub fn percent_decoded(text: &str) -> Result<String, Failure> {
    if !text.contains('%') {
        return Ok(text.to_owned());
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digit = |byte: Option<u8>| byte.and_then(|byte| char::from(byte).to_digit(16));
                let (high, low) = (digit(rest.next()), digit(rest.next()));
                let (Some(high), Some(low)) = (high, low) else {
                    return Err(Failure::bad_request(
                        "a % in the address is not followed by two hex digits",
                    ));
                };
                (high * 16 + low) as u8
            }
            byte => byte,
        });
    }
    String::from_utf8(bytes)
        .map_err(|_| Failure::bad_request("the address decodes to bytes that are no UTF-8"))
}

/// A JSON object in which no name stands twice (serde_json would keep the last).
struct Unrepeated(Vec<(String, Value)>);

impl<'de> serde::Deserialize<'de> for Unrepeated {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Unrepeated, D::Error> {
        struct Visitor;
        impl<'de> serde::de::Visitor<'de> for Visitor {
            type Value = Unrepeated;

            fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                out.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Unrepeated, A::Error> {
                let mut fields = Vec::new();
                while let Some(field) = map.next_entry()? {
                    fields.push(field);
                }
                Ok(Unrepeated(fields))
            }
        }
        deserializer.deserialize_map(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["key", "value", "raw", "version"];

    fn refused(query: &str, body: &[u8]) -> String {
        match Fields::parse(Some(query), body, NAMES).and_then(|mut fields| {
            fields.key()?;
            fields.value()?;
            fields.number("version")?;
            fields.flag("raw", false)
        }) {
            Ok(_) => panic!("{query} {} was taken", String::from_utf8_lossy(body)),
            Err(failure) => format!("{} {}", failure.status.as_u16(), failure.message),
        }
    }

    #[test]
    fn a_number_is_exact_however_it_is_written() {
        let number = |text: &str| {
            let body = format!("{{\"version\":{text}}}");
            let mut fields = Fields::parse(None, body.as_bytes(), NAMES).unwrap();
            fields.number("version").ok().flatten()
        };
        for (text, want) in [
            ("0", Some(0)),
            ("5.0", Some(5)),
            ("1e3", Some(1000)),
            ("899999999999999.0", Some(899_999_999_999_999)),
            ("900000000000000.0", Some(MAX_NUMBER)),
            ("900000000000001", None),
            ("3952069741436986.0", None),
            ("18446744073709551615", None),
            ("-1", None),
            ("1.5", None),
        ] {
            assert_eq!(number(text), want, "{text}");
        }
    }

    #[test]
    fn both_forms_say_the_same() {
        let mut query = Fields::parse(Some("key=a%20b&value=%C3%A9+1&raw&version=3"), b"", NAMES).unwrap();
        let mut json = Fields::parse(
            None,
            "{\"key\":\"a b\",\"value\":\"é 1\",\"raw\":true,\"version\":3.0}".as_bytes(),
            NAMES,
        )
        .unwrap();
        for fields in [&mut query, &mut json] {
            assert_eq!(fields.number("version").unwrap(), Some(3));
            assert_eq!(&*fields.key().unwrap(), "a b");
            assert_eq!(&*fields.value().unwrap(), "é 1");
            assert!(fields.flag("raw", false).unwrap());
        }
    }

    #[test]
    fn what_does_not_read_is_refused_and_named() {
        for (query, body, want) in [
            ("value=1", &b""[..], "400 the field 'key' is missing"),
            ("key=&value=1", b"", "400 the key is empty"),
            ("key=a&key=b", b"", "400 the field 'key' is given twice"),
            ("key=a", b"{\"key\":\"b\"}", "400 the field 'key' is given twice"),
            (
                "",
                b"{\"key\":\"a\",\"key\":\"b\"}",
                "400 the field 'key' is given twice",
            ),
            ("kee=a", b"", "400 there is no field 'kee' here"),
            (
                "key=%ff&value=1",
                b"",
                "400 the address decodes to bytes that are no UTF-8",
            ),
            ("key=%f&value=1", b"", "400 a % in the address"),
            ("", b"{\"key\":\"a\"", "400 the body is no JSON object"),
            ("", b"[1]", "400 the body is no JSON object"),
            ("", b"{\"key\":\"\xff\"}", "400 the body is no JSON object"),
            ("", b"{\"key\":1}", "400 the field 'key' must be a string"),
            (
                "key=a&value=1&version=-1",
                b"",
                "400 the field 'version' must be a whole number",
            ),
            (
                "key=a&value=1",
                b"{\"version\":1.5}",
                "400 the field 'version' must be a whole number",
            ),
            ("key=a&value=1&raw=2", b"", "400 the field 'raw' must be 1 or 0"),
        ] {
            let got = refused(query, body);
            assert!(
                got.starts_with(want),
                "{query} {}: {got}",
                String::from_utf8_lossy(body)
            );
        }
        let long = "x".repeat(MAX_KEY_BYTES + 1);
        assert!(refused(&format!("key={long}&value=1"), b"").starts_with("413 the key has 4097 bytes"));
        let long = "x".repeat(MAX_VALUE_BYTES + 1);
        let body = format!("{{\"key\":\"k\",\"value\":\"{long}\"}}");
        assert!(refused("", body.as_bytes()).starts_with("413 the value has 1048577 bytes"));
    }
}
