//! The values that operations carry: keys, arguments and results.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A key, an argument or a result, as a store spoke it.
///
/// One type for every form of history: JSON `null`, EDN `nil` and a missing field are all [`Value::Nil`]; EDN
/// keywords and symbols become strings, EDN sets and lists become lists. Two values are equal when they are
/// the same kind and the same content; the order of a map's entries does not matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Value {
    /// Nothing: a missing key, or no argument.
    #[default]
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number with a fraction or an exponent.
    Float(Real),
    /// A whole number outside the range of `i64`, by its digits, so that no two of them are confused.
    Big(Box<str>),
    /// Text.
    Str(Box<str>),
    /// Several values in order.
    List(Vec<Value>),
    /// Entries sorted by key, each key once.
    Map(Vec<(Value, Value)>),
}

/// A floating-point number compared by its bits, so that it can be a key or a state.
#[derive(Clone, Copy, Debug)]
pub struct Real(pub f64);

impl Value {
    /// A map from its entries, in any order; of two entries with one key the later counts.
    pub fn map(entries: impl IntoIterator<Item = (Value, Value)>) -> Value {
        let mut sorted: Vec<(Value, Value)> = Vec::new();
        for (key, value) in entries {
            match sorted.binary_search_by(|entry| entry.0.cmp(&key)) {
                Ok(at) => sorted[at].1 = value,
                Err(at) => sorted.insert(at, (key, value)),
            }
        }
        Value::Map(sorted)
    }

    /// Whether this is [`Value::Nil`].
    pub fn is_nil(&self) -> bool {
        matches!(self, Value::Nil)
    }

    /// The whole number, if it is one.
    pub fn as_int(&self) -> Option<i64> {
        match self {
            Value::Int(number) => Some(*number),
            _ => None,
        }
    }

    /// The text, if it is text.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Value::Str(text) => Some(text),
            _ => None,
        }
    }

    /// The elements, if it is a list.
    pub fn as_list(&self) -> Option<&[Value]> {
        match self {
            Value::List(elements) => Some(elements),
            _ => None,
        }
    }

    /// The entries sorted by key, if it is a map.
    pub fn as_map(&self) -> Option<&[(Value, Value)]> {
        match self {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The JSON that stands for this value in a history. Keys of maps that are no strings become their text.
    pub fn to_json(&self) -> serde_json::Value {
        match self {
            Value::Nil => serde_json::Value::Null,
            Value::Bool(truth) => (*truth).into(),
            Value::Int(number) => (*number).into(),
            Value::Float(Real(number)) => serde_json::Number::from_f64(*number)
                .map_or_else(|| number.to_string().into(), serde_json::Value::Number),
            Value::Big(digits) => match digits.parse::<u64>() {
                Ok(number) => number.into(),
                Err(_) => digits.to_string().into(),
            },
            Value::Str(text) => text.to_string().into(),
            Value::List(elements) => elements.iter().map(Value::to_json).collect(),
            Value::Map(entries) => {
                let entries = entries
                    .iter()
                    .map(|(key, value)| (key.key_text(), value.to_json()));
                serde_json::Value::Object(entries.collect())
            }
        }
    }

    /// What stands for this value as a key of a JSON object.
    fn key_text(&self) -> String {
        match self {
            Value::Str(text) => text.to_string(),
            other => other.to_json().to_string(),
        }
    }
}

impl From<serde_json::Value> for Value {
    fn from(json: serde_json::Value) -> Self {
        match json {
            serde_json::Value::Null => Value::Nil,
            serde_json::Value::Bool(truth) => Value::Bool(truth),
            serde_json::Value::Number(number) => match (number.as_i64(), number.as_u64(), number.as_f64()) {
                (Some(whole), _, _) => Value::Int(whole),
                (None, Some(large), _) => Value::Big(large.to_string().into()),
                (None, None, Some(fraction)) => Value::Float(Real(fraction)),
                (None, None, None) => Value::Big(number.to_string().into()),
            },
            serde_json::Value::String(text) => Value::Str(text.into()),
            serde_json::Value::Array(elements) => {
                Value::List(elements.into_iter().map(Value::from).collect())
            }
            serde_json::Value::Object(entries) => Value::map(
                entries
                    .into_iter()
                    .map(|(key, value)| (Value::Str(key.into()), value.into())),
            ),
        }
    }
}

impl From<bool> for Value {
    fn from(truth: bool) -> Self {
        Value::Bool(truth)
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Self {
        match i64::try_from(number) {
            Ok(number) => Value::Int(number),
            Err(_) => Value::Big(number.to_string().into()),
        }
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Str(text.into())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Str(text.into())
    }
}

impl From<Vec<Value>> for Value {
    fn from(elements: Vec<Value>) -> Self {
        Value::List(elements)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Value::Nil, Into::into)
    }
}

impl<A: Into<Value>, B: Into<Value>> From<(A, B)> for Value {
    /// A list of two, as `cas` takes it: the expected value and the new one.
    fn from((first, second): (A, B)) -> Self {
        Value::List(vec![first.into(), second.into()])
    }
}

/// As a person reads it in a sentence: text bare if it is one word, quoted if not.
impl fmt::Display for Value {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Nil => out.write_str("nil"),
            Value::Bool(truth) => truth.fmt(out),
            Value::Int(number) => number.fmt(out),
            Value::Float(Real(number)) => number.fmt(out),
            Value::Big(digits) => out.write_str(digits),
            Value::Str(text) => {
                let bare = !text.is_empty() && text.bytes().all(|b| b.is_ascii_graphic() && b != b'"');
                let shown: String = text.chars().take(LONGEST_TEXT_SHOWN).collect();
                let cut = if shown.len() < text.len() { "…" } else { "" };
                if bare {
                    write!(out, "{shown}{cut}")
                } else {
                    write!(out, "{shown:?}{cut}")
                }
            }
            Value::List(elements) => {
                out.write_str("[")?;
                for (at, element) in elements.iter().enumerate() {
                    write!(out, "{}{element}", if at == 0 { "" } else { " " })?;
                }
                out.write_str("]")
            }
            Value::Map(entries) => {
                out.write_str("{")?;
                for (at, (key, value)) in entries.iter().enumerate() {
                    write!(out, "{}{key}: {value}", if at == 0 { "" } else { ", " })?;
                }
                out.write_str("}")
            }
        }
    }
}

/// Longer texts are cut in sentences; the history has them whole.
const LONGEST_TEXT_SHOWN: usize = 120;

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Nil => serializer.serialize_unit(),
            Value::Bool(truth) => serializer.serialize_bool(*truth),
            Value::Int(number) => serializer.serialize_i64(*number),
            Value::Float(_) | Value::Big(_) => self.to_json().serialize(serializer),
            Value::Str(text) => serializer.serialize_str(text),
            Value::List(elements) => {
                let mut list = serializer.serialize_seq(Some(elements.len()))?;
                for element in elements {
                    list.serialize_element(element)?;
                }
                list.end()
            }
            Value::Map(entries) => {
                let mut map = serializer.serialize_map(Some(entries.len()))?;
                for (key, value) in entries {
                    map.serialize_entry(&key.key_text(), value)?;
                }
                map.end()
            }
        }
    }
}

impl<'de> Deserialize<'de> for Value {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        serde_json::Value::deserialize(deserializer).map(Value::from)
    }
}

impl Real {
    /// Both zeros are one number, and so are all that are not numbers.
    fn bits(self) -> u64 {
        match self.0 {
            0.0 => 0,
            odd if odd.is_nan() => f64::NAN.to_bits(),
            number => number.to_bits(),
        }
    }
}

impl PartialEq for Real {
    fn eq(&self, other: &Self) -> bool {
        self.bits() == other.bits()
    }
}

impl Eq for Real {}

impl Hash for Real {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.bits().hash(state);
    }
}

impl PartialOrd for Real {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Real {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        f64::from_bits(self.bits()).total_cmp(&f64::from_bits(other.bits()))
    }
}
