//! Reads EDN values from a stream, holding no more of the text than a piece. Only what histories need: keywords and
//! symbols become text, sets become sorted lists, tags are looked through.

use std::io::{self, Read};
use std::num::NonZeroU32;

use memchr::memchr2;

use crate::history::{Flaw, Real, Value};

/// Reads values from the front of a stream and knows where it is.
#[derive(Debug)]
pub(super) struct Parser<R> {
    from: R,
    /// What was read and not parsed yet, from `at` on.
    held: Vec<u8>,
    at: usize,
    /// How many bytes were let go before those that are held.
    passed: u64,
    /// Where, of all bytes, the present event began.
    began: u64,
    /// Up to where in `held` lines and columns have been counted.
    counted: usize,
    spot: Spot,
    ended: bool,
    /// The last word.
    word: String,
}

/// A place in a text: its line, and its character in that, both from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Spot {
    pub(super) line: u64,
    pub(super) column: u64,
}

impl Spot {
    /// The character; nothing if it is too far to be counted.
    pub(super) fn column(self) -> Option<NonZeroU32> {
        u32::try_from(self.column).ok().and_then(NonZeroU32::new)
    }
}

/// Why reading stopped.
#[derive(Debug)]
pub(super) enum Stop {
    /// The text is no EDN here.
    Flaw(Spot, Flaw),
    /// No more of it can be read.
    Unreadable(io::Error),
}

/// So much of a text is read at once.
const PIECE: u64 = 128 * 1024;
/// The longest event, in bytes.
const LONGEST: u64 = 64 << 20;
/// Deeper values are refused rather than overflowing the stack.
const DEEPEST: usize = 128;

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Stop {
        Stop::Unreadable(error)
    }
}

impl<R: Read> Parser<R> {
    pub(super) fn new(from: R) -> Parser<R> {
        Parser {
            from,
            held: Vec::new(),
            at: 0,
            passed: 0,
            began: 0,
            counted: 0,
            spot: Spot { line: 1, column: 1 },
            ended: false,
            word: String::new(),
        }
    }

    /// Where reading stands.
    pub(super) fn spot(&mut self) -> Spot {
        let passed = &self.held[self.counted..self.at];
        let line = match memchr::memrchr(b'\n', passed) {
            None => passed,
            Some(last) => {
                self.spot.line += memchr::memchr_iter(b'\n', passed).count() as u64;
                self.spot.column = 1;
                &passed[last + 1..]
            }
        };
        let begins = |byte: &&u8| **byte & 0xc0 != 0x80;
        self.spot.column += line.iter().filter(begins).count() as u64;
        self.counted = self.at;
        self.spot
    }

    /// What is wrong here.
    pub(super) fn wrong(&mut self, what: impl Into<String>) -> Stop {
        Stop::Flaw(self.spot(), Flaw::Syntax(what.into()))
    }

    /// An event begins here. None may be longer than [`LONGEST`]: what a small packed file unpacks to must not fill
    /// memory.
    pub(super) fn begin(&mut self) {
        self.began = self.passed + self.at as u64;
    }

    /// Reads more of the text behind what is held; says whether there was any.
    fn fill(&mut self) -> Result<bool, Stop> {
        if self.ended {
            return Ok(false);
        }
        self.spot();
        self.passed += self.at as u64;
        self.held.drain(..self.at);
        (self.at, self.counted) = (0, 0);
        if self.passed - self.began > LONGEST {
            let flaw = Flaw::TooMuch("this event is longer than 64 MiB: none is so long");
            return Err(Stop::Flaw(self.spot, flaw));
        }
        let more = self.from.by_ref().take(PIECE).read_to_end(&mut self.held)?;
        self.ended = more == 0;
        Ok(!self.ended)
    }

    /// The byte so many places ahead.
    #[inline]
    fn byte(&mut self, ahead: usize) -> Result<Option<u8>, Stop> {
        while self.held.len() <= self.at + ahead {
            if !self.fill()? {
                return Ok(None);
            }
        }
        Ok(Some(self.held[self.at + ahead]))
    }

    /// The next character.
    #[inline]
    fn char(&mut self) -> Result<Option<char>, Stop> {
        match self.byte(0)? {
            None => Ok(None),
            Some(byte) if byte.is_ascii() => Ok(Some(char::from(byte))),
            Some(_) => self.wide_char().map(Some),
        }
    }

    fn wide_char(&mut self) -> Result<char, Stop> {
        for length in 2..=4 {
            if self.byte(length - 1)?.is_none() {
                break;
            }
            let bytes = &self.held[self.at..self.at + length];
            if let Some(found) = std::str::from_utf8(bytes)
                .ok()
                .and_then(|text| text.chars().next())
            {
                return Ok(found);
            }
        }
        Err(self.wrong("not UTF-8"))
    }

    /// The comment that the text begins with, if it begins with one.
    pub(super) fn first_comment(&mut self) -> Result<Option<String>, Stop> {
        if self.byte(0)? != Some(b';') {
            return Ok(None);
        }
        let mut comment = Vec::new();
        while let Some(byte) = self.byte(0)?.filter(|&byte| byte != b'\n') {
            comment.push(byte);
            self.at += 1;
        }
        match String::from_utf8(comment) {
            Ok(comment) => Ok(Some(comment)),
            Err(_) => Err(self.wrong("not UTF-8")),
        }
    }

    /// The next character that is neither white space, comma, comment nor discarded; still to be read.
    pub(super) fn peek(&mut self) -> Result<Option<char>, Stop> {
        loop {
            let Some(next) = self.char()? else {
                return Ok(None);
            };
            match next {
                ' ' | ',' => self.at += 1,
                '\n' | '\t' | '\r' => self.at += 1,
                ';' => {
                    while self.byte(0)?.is_some_and(|byte| byte != b'\n') {
                        self.at += 1;
                    }
                }
                '#' => match self.byte(1)? {
                    Some(b'_') => {
                        self.at += 2;
                        self.value(1)?;
                    }
                    Some(tag) if tag.is_ascii_alphabetic() || !tag.is_ascii() => {
                        self.at += 1;
                        self.token()?;
                    }
                    _ => return Ok(Some(next)),
                },
                '^' => {
                    self.at += 1;
                    self.value(1)?;
                }
                space if space.is_whitespace() => self.at += space.len_utf8(),
                other => return Ok(Some(other)),
            }
        }
    }

    /// Reads one opening or closing character that [`Parser::peek`] has seen.
    pub(super) fn skip(&mut self) {
        self.at += 1;
    }

    /// The keyword, symbol or text that comes next, if it is one; else nothing was read.
    pub(super) fn name(&mut self) -> Result<Option<&str>, Stop> {
        match self.peek()? {
            Some(':') => {
                self.at += 1;
                self.token()?;
                if self.word.is_empty() {
                    return Err(self.wrong("a keyword without a name"));
                }
                Ok(Some(&self.word))
            }
            Some('"') => {
                self.word = self.string()?;
                Ok(Some(&self.word))
            }
            Some(letter) if letter.is_ascii_alphabetic() => {
                self.token()?;
                Ok(Some(&self.word))
            }
            _ => Ok(None),
        }
    }

    pub(super) fn value(&mut self, depth: usize) -> Result<Value, Stop> {
        if depth > DEEPEST {
            return Err(self.wrong(format!("values nested more than {DEEPEST} deep")));
        }
        match self.peek()? {
            None => Err(self.wrong("the text ends where a value should be")),
            Some('{') => self.map(depth),
            Some('[') => self.until(']', depth).map(Value::List),
            Some('(') => self.until(')', depth).map(Value::List),
            Some('#') => match self.byte(1)? {
                Some(b'{') => {
                    self.at += 1;
                    let mut elements = self.until('}', depth)?;
                    elements.sort();
                    Ok(Value::List(elements))
                }
                Some(b'#') => {
                    self.at += 2;
                    self.token()?;
                    Ok(Value::Str(format!("##{}", self.word).into()))
                }
                _ => Err(self.wrong("'#' begins no value")),
            },
            Some('"') => self.string().map(|text| Value::Str(text.into())),
            Some('\\') => {
                self.at += 1;
                let first = self.char()?;
                self.at += first.map_or(0, char::len_utf8);
                self.token()?;
                let text: String = first.into_iter().chain(self.word.chars()).collect();
                Ok(Value::from(text))
            }
            Some(':') => {
                self.name()?;
                Ok(Value::from(self.word.as_str()))
            }
            Some(close @ (']' | '}' | ')')) => Err(self.wrong(format!("{close:?} closes nothing"))),
            Some(odd) => {
                self.token()?;
                if self.word.is_empty() {
                    return Err(self.wrong(format!("{odd:?} begins no value")));
                }
                Ok(atom(&self.word))
            }
        }
    }

    fn map(&mut self, depth: usize) -> Result<Value, Stop> {
        let opened = self.spot();
        let flat = self.until('}', depth)?;
        if flat.len() % 2 == 1 {
            return Err(Stop::Flaw(opened, Flaw::Syntax(ODD_MAP.to_owned())));
        }
        let mut entries = Vec::with_capacity(flat.len() / 2);
        let mut flat = flat.into_iter();
        while let (Some(key), Some(value)) = (flat.next(), flat.next()) {
            entries.push((key, value));
        }
        Ok(Value::map(entries))
    }

    /// The values between a bracket that comes next and the one that closes it.
    fn until(&mut self, close: char, depth: usize) -> Result<Vec<Value>, Stop> {
        let opened = self.spot();
        self.skip();
        let mut values = Vec::new();
        while !self.closes(close, opened)? {
            values.push(self.value(depth + 1)?);
        }
        Ok(values)
    }

    /// Whether what was opened closes here; then that is read.
    pub(super) fn closes(&mut self, close: char, opened: Spot) -> Result<bool, Stop> {
        match self.peek()? {
            None => {
                let Spot { line, column } = opened;
                let what =
                    format!("what was opened on line {line}, column {column}, is not closed by {close:?}");
                Err(self.wrong(what))
            }
            Some(next) if next == close => {
                self.skip();
                Ok(true)
            }
            Some(_) => Ok(false),
        }
    }

    /// Everything up to what ends a word, into `word`.
    fn token(&mut self) -> Result<(), Stop> {
        let ends = |byte: u8| {
            byte.is_ascii_whitespace()
                || matches!(
                    byte,
                    b'\x0b' | b',' | b'"' | b';' | b'(' | b')' | b'[' | b']' | b'{' | b'}'
                )
        };
        self.word.clear();
        loop {
            let rest = &self.held[self.at..];
            let stops = rest.iter().position(|&byte| ends(byte) || !byte.is_ascii());
            let plain = &rest[..stops.unwrap_or(rest.len())];
            self.word.push_str(std::str::from_utf8(plain).unwrap_or_default());
            self.at += plain.len();
            match self.char()? {
                None => return Ok(()),
                Some(next) if next.is_ascii() && ends(next as u8) => return Ok(()),
                // There is more of the text now.
                Some(next) if next.is_ascii() => {}
                Some(next) if next.is_whitespace() => return Ok(()),
                Some(next) => {
                    self.word.push(next);
                    self.at += next.len_utf8();
                }
            }
        }
    }

    fn string(&mut self) -> Result<String, Stop> {
        let opened = self.spot();
        self.at += 1;
        let mut text: Vec<u8> = Vec::new();
        loop {
            let rest = &self.held[self.at..];
            let plain = memchr2(b'"', b'\\', rest);
            text.extend_from_slice(&rest[..plain.unwrap_or(rest.len())]);
            self.at += plain.unwrap_or(rest.len());
            match self.byte(0)? {
                None => {
                    let Spot { line, column } = opened;
                    return Err(self.wrong(format!(
                        "the string that begins on line {line}, column {column}, has no end"
                    )));
                }
                Some(b'"') => {
                    self.at += 1;
                    return String::from_utf8(text).map_err(|_| {
                        Stop::Flaw(opened, Flaw::Syntax("a string that is not UTF-8".to_owned()))
                    });
                }
                Some(b'\\') => {
                    self.at += 1;
                    let escaped = self.escape()?;
                    text.extend_from_slice(escaped.encode_utf8(&mut [0; 4]).as_bytes());
                }
                // There is more of the text now.
                Some(_) => {}
            }
        }
    }

    fn escape(&mut self) -> Result<char, Stop> {
        let Some(kind) = self.char()? else {
            return Err(self.wrong("a string without its end"));
        };
        self.at += kind.len_utf8();
        match kind {
            'n' => Ok('\n'),
            't' => Ok('\t'),
            'r' => Ok('\r'),
            'b' => Ok('\u{8}'),
            'f' => Ok('\u{c}'),
            'u' => {
                let half = "half of a surrogate pair";
                let unit = self.hexadecimal()?;
                // Halves of surrogate pairs are no characters of their own; Java writes them in pairs.
                if !(0xd800..0xdc00).contains(&unit) {
                    return char::from_u32(unit).ok_or_else(|| self.wrong(half));
                }
                if self.byte(0)? != Some(b'\\') || self.byte(1)? != Some(b'u') {
                    return Err(self.wrong(half));
                }
                self.at += 2;
                let low = self.hexadecimal()?;
                if !(0xdc00..0xe000).contains(&low) {
                    return Err(self.wrong(half));
                }
                char::from_u32(0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00))
                    .ok_or_else(|| self.wrong(half))
            }
            other => Ok(other),
        }
    }

    fn hexadecimal(&mut self) -> Result<u32, Stop> {
        let mut number = 0;
        for _ in 0..4 {
            let digit = self.byte(0)?.and_then(|byte| char::from(byte).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.wrong("\\u wants four hexadecimal digits"));
            };
            self.at += 1;
            number = number * 16 + digit;
        }
        Ok(number)
    }
}

/// What is wrong with a map that ends after a key.
pub(super) const ODD_MAP: &str = "a map with a key that has no value";

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
