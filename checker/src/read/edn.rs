//! Reads EDN values. Only what histories need: keywords and symbols become text, sets become sorted lists, tags
//! are looked through.

use crate::history::{Real, Value};

/// Reads values from the front of a text and knows on which line it is.
#[derive(Debug)]
pub(super) struct Parser<'a> {
    text: &'a str,
    at: usize,
    counted: usize,
    line: u64,
}

/// A map as it was written: the line it began on and its entries in order.
pub(super) type Entries = Vec<(Value, Value)>;

/// Deeper values are refused rather than overflowing the stack.
const DEEPEST: usize = 128;

impl<'a> Parser<'a> {
    pub(super) fn new(text: &'a str) -> Parser<'a> {
        Parser {
            text,
            at: 0,
            counted: 0,
            line: 1,
        }
    }

    /// The line, from 1, where reading stands.
    pub(super) fn line(&mut self) -> u64 {
        let passed = &self.text.as_bytes()[self.counted..self.at];
        self.line += passed.iter().filter(|&&byte| byte == b'\n').count() as u64;
        self.counted = self.at;
        self.line
    }

    /// The next character that is neither white space, comma, comment nor discarded; still to be read.
    pub(super) fn peek(&mut self) -> Result<Option<char>, String> {
        loop {
            let rest = &self.text[self.at..];
            let Some(next) = rest.chars().next() else {
                return Ok(None);
            };
            if next.is_whitespace() || next == ',' {
                self.at += next.len_utf8();
            } else if next == ';' {
                self.at += rest.find('\n').unwrap_or(rest.len());
            } else if rest.starts_with("#_") {
                self.at += 2;
                self.value(1)?;
            } else if next == '#' && rest[1..].starts_with(|tag: char| tag.is_alphabetic()) {
                self.at += 1;
                self.token();
            } else if next == '^' {
                self.at += 1;
                self.value(1)?;
            } else {
                return Ok(Some(next));
            }
        }
    }

    /// Reads one opening or closing character that [`Parser::peek`] has seen.
    pub(super) fn skip(&mut self) {
        self.at += self.text[self.at..].chars().next().map_or(0, char::len_utf8);
    }

    /// The entries of the map that begins here.
    pub(super) fn entries(&mut self, depth: usize) -> Result<Entries, String> {
        self.skip();
        let flat = self.until('}', depth)?;
        if flat.len() % 2 == 1 {
            return Err("a map with a key that has no value".to_owned());
        }
        let mut entries = Vec::with_capacity(flat.len() / 2);
        let mut flat = flat.into_iter();
        while let (Some(key), Some(value)) = (flat.next(), flat.next()) {
            entries.push((key, value));
        }
        Ok(entries)
    }

    pub(super) fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > DEEPEST {
            return Err(format!("values nested more than {DEEPEST} deep"));
        }
        match self.peek()? {
            None => Err("the text ends where a value should be".to_owned()),
            Some('{') => self.entries(depth).map(Value::map),
            Some('[') => {
                self.skip();
                self.until(']', depth).map(Value::List)
            }
            Some('(') => {
                self.skip();
                self.until(')', depth).map(Value::List)
            }
            Some('#') if self.text[self.at..].starts_with("#{") => {
                self.at += 2;
                let mut elements = self.until('}', depth)?;
                elements.sort();
                Ok(Value::List(elements))
            }
            Some('"') => self.string().map(|text| Value::Str(text.into())),
            Some('\\') => {
                self.at += 1;
                let first = self.text[self.at..].chars().next().map_or(0, char::len_utf8);
                let (start, _) = (self.at, self.at += first);
                self.token();
                Ok(Value::from(&self.text[start..self.at]))
            }
            Some(':') => {
                self.at += 1;
                let word = self.token();
                if word.is_empty() {
                    Err("a keyword without a name".to_owned())
                } else {
                    Ok(Value::from(word))
                }
            }
            Some(close @ (']' | '}' | ')')) => Err(format!("{close:?} closes nothing")),
            Some('#') if self.text[self.at..].starts_with("##") => {
                self.at += 2;
                Ok(Value::Str(format!("##{}", self.token()).into()))
            }
            Some(_) => {
                let word = self.token();
                if word.is_empty() {
                    let odd = self.text[self.at..].chars().next().unwrap_or_default();
                    return Err(format!("{odd:?} begins no value"));
                }
                Ok(atom(word))
            }
        }
    }

    fn until(&mut self, close: char, depth: usize) -> Result<Vec<Value>, String> {
        let opened = self.line();
        let mut values = Vec::new();
        loop {
            match self.peek()? {
                None => {
                    return Err(format!(
                        "what was opened on line {opened} is not closed by {close:?}"
                    ));
                }
                Some(next) if next == close => {
                    self.skip();
                    return Ok(values);
                }
                Some(_) => values.push(self.value(depth + 1)?),
            }
        }
    }

    /// Everything up to what ends a word.
    fn token(&mut self) -> &'a str {
        let rest = &self.text[self.at..];
        let ends =
            |c: char| c.is_whitespace() || matches!(c, ',' | '"' | ';' | '(' | ')' | '[' | ']' | '{' | '}');
        let word = &rest[..rest.find(ends).unwrap_or(rest.len())];
        self.at += word.len();
        word
    }

    fn string(&mut self) -> Result<String, String> {
        let opened = self.line();
        self.at += 1;
        let mut text = String::new();
        loop {
            let rest = &self.text[self.at..];
            let Some(plain) = rest.find(['"', '\\']) else {
                self.at = self.text.len();
                return Err(format!("the string of line {opened} has no end"));
            };
            text.push_str(&rest[..plain]);
            self.at += plain + 1;
            if rest.as_bytes()[plain] == b'"' {
                return Ok(text);
            }
            text.push(self.escape()?);
        }
    }

    fn escape(&mut self) -> Result<char, String> {
        let rest = &self.text[self.at..];
        let Some(kind) = rest.chars().next() else {
            return Err("a string without its end".to_owned());
        };
        self.at += kind.len_utf8();
        match kind {
            'n' => Ok('\n'),
            't' => Ok('\t'),
            'r' => Ok('\r'),
            'b' => Ok('\u{8}'),
            'f' => Ok('\u{c}'),
            'u' => {
                let digits = rest
                    .get(1..5)
                    .and_then(|digits| u32::from_str_radix(digits, 16).ok());
                let unit = digits.ok_or_else(|| "\\u wants four hexadecimal digits".to_owned())?;
                self.at += 4;
                // Halves of surrogate pairs are no characters of their own; Java writes them in pairs.
                if (0xd800..0xdc00).contains(&unit) {
                    let low = rest.get(5..11).and_then(|low| low.strip_prefix("\\u"));
                    let low = low.and_then(|low| u32::from_str_radix(low, 16).ok());
                    let low = low.filter(|low| (0xdc00..0xe000).contains(low));
                    let low = low.ok_or_else(|| "half of a surrogate pair".to_owned())?;
                    self.at += 6;
                    return char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
                        .ok_or_else(|| "half of a surrogate pair".to_owned());
                }
                char::from_u32(unit).ok_or_else(|| "half of a surrogate pair".to_owned())
            }
            other => Ok(other),
        }
    }
}

/// A word that is no keyword: a literal, a number, or a symbol.
fn atom(word: &str) -> Value {
    match word {
        "nil" => return Value::Nil,
        "true" => return Value::Bool(true),
        "false" => return Value::Bool(false),
        _ => {}
    }
    let digits = word.strip_prefix('+').unwrap_or(word);
    if !digits
        .trim_start_matches('-')
        .starts_with(|c: char| c.is_ascii_digit())
    {
        return Value::from(word);
    }
    let whole = digits.strip_suffix('N').unwrap_or(digits);
    if let Ok(number) = whole.parse() {
        return Value::Int(number);
    }
    let minus = whole.strip_prefix('-').unwrap_or(whole);
    if minus.bytes().all(|byte| byte.is_ascii_digit()) {
        return Value::Big(whole.into());
    }
    match digits.strip_suffix('M').unwrap_or(digits).parse() {
        Ok(number) => Value::Float(Real(number)),
        Err(_) => Value::from(word),
    }
}
