//! A scanner for one line of JSON.

use std::borrow::Cow;

use crate::history::{Real, Value};

/// Reads JSON from the front of some bytes. Errors are texts for people.
#[derive(Debug)]
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

/// Deeper values are refused rather than overflowing the stack.
const DEEPEST: usize = 128;

impl<'a> Scanner<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Scanner<'a> {
        Scanner { bytes, at: 0 }
    }

    /// Whether reading has come to the end: what was wrong was that there was no more.
    pub(super) fn at_end(&self) -> bool {
        self.at >= self.bytes.len()
    }

    /// The next byte that is no white space, still to be read.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(byte) = self.bytes.get(self.at) {
            if !matches!(byte, b' ' | b'\t' | b'\r' | b'\n') {
                return Some(*byte);
            }
            self.at += 1;
        }
        None
    }

    pub(super) fn expect(&mut self, wanted: u8) -> Result<(), String> {
        match self.peek() {
            Some(byte) if byte == wanted => {
                self.at += 1;
                Ok(())
            }
            found => Err(self.unexpected(found, &format!("'{}'", wanted as char))),
        }
    }

    /// Whether another element follows in an object or list; reads the comma or the end.
    pub(super) fn more(&mut self, end: u8) -> Result<bool, String> {
        match self.peek() {
            Some(b',') => {
                self.at += 1;
                Ok(true)
            }
            Some(byte) if byte == end => {
                self.at += 1;
                Ok(false)
            }
            found => Err(self.unexpected(found, &format!("',' or '{}'", end as char))),
        }
    }

    /// Whether the container ends before its first element.
    pub(super) fn ends(&mut self, end: u8) -> bool {
        let ends = self.peek() == Some(end);
        self.at += usize::from(ends);
        ends
    }

    /// Nothing may follow.
    pub(super) fn finish(&mut self) -> Result<(), String> {
        match self.peek() {
            None => Ok(()),
            found => Err(self.unexpected(found, "the end of the line")),
        }
    }

    pub(super) fn string(&mut self) -> Result<Cow<'a, str>, String> {
        self.expect(b'"')?;
        let start = self.at;
        let plain = self.bytes[start..]
            .iter()
            .position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20);
        let Some(length) = plain else {
            self.at = self.bytes.len();
            return Err("a string without its end".to_owned());
        };
        let end = start + length;
        if self.bytes[end] == b'"' {
            self.at = end + 1;
            let text = std::str::from_utf8(&self.bytes[start..end]).map_err(|_| "not UTF-8".to_owned())?;
            return Ok(Cow::Borrowed(text));
        }
        self.string_with_escapes(start).map(Cow::Owned)
    }

    /// Leaves the rules of escapes to serde_json: they are rare here.
    fn string_with_escapes(&mut self, start: usize) -> Result<String, String> {
        let mut end = start;
        loop {
            match self.bytes.get(end) {
                None => {
                    self.at = self.bytes.len();
                    return Err("a string without its end".to_owned());
                }
                Some(b'"') => break,
                Some(b'\\') => end += 2,
                Some(_) => end += 1,
            }
        }
        let quoted = &self.bytes[start - 1..=end];
        self.at = end + 1;
        serde_json::from_slice(quoted).map_err(|error| format!("a string: {error}"))
    }

    /// A number that cannot be negative, as indexes and times are.
    pub(super) fn unsigned(&mut self, what: &str) -> Result<u64, String> {
        match self.value(0)? {
            Value::Int(number) if number >= 0 => Ok(number as u64),
            Value::Big(digits) => digits
                .parse()
                .map_err(|_| format!("{what} is too large: {digits}")),
            other => Err(format!("{what} must be a whole number from 0 on, not {other}")),
        }
    }

    pub(super) fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > DEEPEST {
            return Err(format!("values nested more than {DEEPEST} deep"));
        }
        match self.peek() {
            Some(b'"') => Ok(Value::Str(self.string()?.into())),
            Some(b'[') => {
                self.at += 1;
                let mut elements = Vec::new();
                let mut more = !self.ends(b']');
                while more {
                    elements.push(self.value(depth + 1)?);
                    more = self.more(b']')?;
                }
                Ok(Value::List(elements))
            }
            Some(b'{') => {
                self.at += 1;
                let mut entries = Vec::new();
                let mut more = !self.ends(b'}');
                while more {
                    let key = Value::Str(self.string()?.into());
                    self.expect(b':')?;
                    entries.push((key, self.value(depth + 1)?));
                    more = self.more(b'}')?;
                }
                Ok(Value::map(entries))
            }
            Some(b't') => self.literal("true", Value::Bool(true)),
            Some(b'f') => self.literal("false", Value::Bool(false)),
            Some(b'n') => self.literal("null", Value::Nil),
            Some(b'-' | b'0'..=b'9') => self.number(),
            found => Err(self.unexpected(found, "a value")),
        }
    }

    fn literal(&mut self, word: &str, value: Value) -> Result<Value, String> {
        let rest = &self.bytes[self.at..];
        if rest.starts_with(word.as_bytes()) {
            self.at += word.len();
            return Ok(value);
        }
        if word.as_bytes().starts_with(rest) {
            self.at = self.bytes.len();
        }
        Err(self.unexpected(rest.first().copied(), word))
    }

    fn number(&mut self) -> Result<Value, String> {
        let rest = &self.bytes[self.at..];
        let length = rest
            .iter()
            .take_while(|byte| matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E' | b'0'..=b'9'))
            .count();
        let digits = std::str::from_utf8(&rest[..length]).expect("ASCII");
        let json: serde_json::Number =
            serde_json::from_str(digits).map_err(|_| format!("{digits} is not a number"))?;
        self.at += length;
        if digits.bytes().all(|byte| byte == b'-' || byte.is_ascii_digit()) {
            return Ok(digits
                .parse()
                .map_or_else(|_| Value::Big(digits.into()), Value::Int));
        }
        Ok(Value::Float(Real(json.as_f64().unwrap_or(f64::NAN))))
    }

    fn unexpected(&self, found: Option<u8>, wanted: &str) -> String {
        match found {
            None => format!("the line ends where {wanted} should be"),
            Some(byte) if byte.is_ascii_graphic() => {
                format!(
                    "'{}' at column {} where {wanted} should be",
                    byte as char,
                    self.at + 1
                )
            }
            Some(byte) => format!(
                "byte {byte:#04x} at column {} where {wanted} should be",
                self.at + 1
            ),
        }
    }
}
