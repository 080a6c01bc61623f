//! The short way through a line: fields and values as recorders write them, without a copy and without a table.
//!
//! What is unusual in any way (escapes, maps, fractions, a field twice, an unknown field, an error) is left to
//! the long way, which knows all of JSON and says what is wrong. The short way accepts nothing that the long way
//! would not, and understands it in the same way; a test compares them.

use crate::history::{EventKind, Word, hash_text};

/// A value that was understood without the history's pool; places are those of the [`Parsed`] it is part of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Cell {
    Absent,
    /// Nothing, or a small whole number.
    Word(Word),
    Text(u32),
    Pair(u32),
}

/// A text without escapes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Text {
    pub(super) start: u32,
    pub(super) end: u32,
    pub(super) hash: u64,
}

/// The place of a name among those of its block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NameId(u32);

/// An event of a client.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlainLine {
    pub(super) index: Option<u64>,
    pub(super) time: Option<u64>,
    pub(super) process: u64,
    pub(super) kind: EventKind,
    pub(super) f: NameId,
    pub(super) key: Cell,
    pub(super) value: Cell,
    pub(super) error: Option<NameId>,
    pub(super) current: Cell,
    pub(super) rev: Option<i64>,
    pub(super) node: Option<NameId>,
    pub(super) intended: Option<u64>,
}

/// The values and names of the lines of one block.
#[derive(Debug, Default)]
pub(super) struct Cells {
    pub(super) texts: Vec<Text>,
    pub(super) pairs: Vec<(Cell, Cell)>,
    names: Vec<String>,
}

/// A name is looked for among so many that came last.
const NAMES_SEARCHED: usize = 32;
/// Numbers of more digits might not fit.
const DIGITS: usize = 18;

impl Cell {
    pub(super) fn is_pair(self) -> bool {
        matches!(self, Cell::Pair(_))
    }
}

impl Cells {
    pub(super) fn clear(&mut self) {
        self.texts.clear();
        self.pairs.clear();
        self.names.clear();
    }

    pub(super) fn name(&self, id: NameId) -> &str {
        &self.names[id.0 as usize]
    }

    /// Understands a line, or leaves it to the long way. `bytes` is the block up to the end of the line.
    pub(super) fn line(&mut self, bytes: &[u8], start: usize) -> Option<PlainLine> {
        let mut at = Cursor { bytes, at: start };
        at.take(b'{')?;
        let (mut index, mut time, mut process, mut kind, mut f) = (None, None, None, None, None);
        let (mut key, mut value, mut current) = (None, None, None);
        let (mut error, mut rev, mut node, mut intended) = (None, None, None, None);
        loop {
            let name = at.name()?;
            at.take(b':')?;
            at.pass_space();
            match name {
                b"index" => once(&mut index, at.unsigned()?)?,
                b"time" => once(&mut time, at.unsigned()?)?,
                b"process" => once(&mut process, at.unsigned()?)?,
                b"type" => once(&mut kind, kind_of(at.name()?)?)?,
                b"f" => once(&mut f, self.name_at(&mut at)?)?,
                b"key" if at.null() => once(&mut key, Cell::Absent)?,
                b"key" => once(&mut key, self.cell(&mut at)?)?,
                b"value" => once(&mut value, self.cell(&mut at)?)?,
                b"error" => once(&mut error, self.name_at(&mut at)?)?,
                b"current" => once(&mut current, self.cell(&mut at)?)?,
                b"rev" => once(&mut rev, at.signed()?)?,
                b"node" => once(&mut node, self.name_at(&mut at)?)?,
                b"intended" => once(&mut intended, at.unsigned()?)?,
                _ => return None,
            }
            at.pass_space();
            match at.next()? {
                b',' => at.pass_space(),
                b'}' => break,
                _ => return None,
            }
        }
        at.pass_space();
        if at.at != bytes.len() {
            return None;
        }
        Some(PlainLine {
            index,
            time,
            process: process?,
            kind: kind?,
            f: f?,
            key: key.unwrap_or(Cell::Absent),
            value: value.unwrap_or(Cell::Word(Word::NIL)),
            error,
            current: current.unwrap_or(Cell::Absent),
            rev,
            node,
            intended,
        })
    }

    fn name_at(&mut self, at: &mut Cursor<'_>) -> Option<NameId> {
        let found = at.text()?;
        let recent = self.names.len().saturating_sub(NAMES_SEARCHED);
        let known = self.names[recent..].iter().position(|name| name == found);
        let place = known.map_or(self.names.len(), |place| recent + place);
        if known.is_none() {
            self.names.push(found.to_owned());
        }
        Some(NameId(place as u32))
    }

    /// A value that is no list of values other than two.
    fn cell(&mut self, at: &mut Cursor<'_>) -> Option<Cell> {
        if at.peek()? != b'[' {
            return self.single(at);
        }
        at.at += 1;
        at.pass_space();
        let first = self.single(at)?;
        at.pass_space();
        at.take(b',')?;
        at.pass_space();
        let second = self.single(at)?;
        at.pass_space();
        at.take(b']')?;
        self.pairs.push((first, second));
        Some(Cell::Pair(self.pairs.len() as u32 - 1))
    }

    fn single(&mut self, at: &mut Cursor<'_>) -> Option<Cell> {
        match at.peek()? {
            b'"' => {
                let start = at.at + 1;
                let text = at.text()?;
                let hash = hash_text(text);
                let (start, end) = (start as u32, (start + text.len()) as u32);
                self.texts.push(Text { start, end, hash });
                Some(Cell::Text(self.texts.len() as u32 - 1))
            }
            b'n' => at.null().then_some(Cell::Word(Word::NIL)),
            _ => Word::small(at.signed()?).map(Cell::Word),
        }
    }
}

/// A field that is there twice is unusual.
fn once<T>(field: &mut Option<T>, found: T) -> Option<()> {
    if field.is_some() {
        return None;
    }
    *field = Some(found);
    Some(())
}

fn kind_of(word: &[u8]) -> Option<EventKind> {
    match word {
        b"invoke" => Some(EventKind::Invoke),
        b"ok" => Some(EventKind::Ok),
        b"fail" => Some(EventKind::Fail),
        b"info" => Some(EventKind::Info),
        _ => None,
    }
}

struct Cursor<'b> {
    bytes: &'b [u8],
    at: usize,
}

impl<'b> Cursor<'b> {
    #[inline]
    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    #[inline]
    fn next(&mut self) -> Option<u8> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    #[inline]
    fn take(&mut self, wanted: u8) -> Option<()> {
        (self.next()? == wanted).then_some(())
    }

    #[inline]
    fn pass_space(&mut self) {
        while let Some(b' ' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// The name of a field, or a word that is known by its bytes.
    #[inline]
    fn name(&mut self) -> Option<&'b [u8]> {
        self.take(b'"')?;
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|&byte| byte == b'"')?;
        self.at += length + 1;
        Some(&rest[..length])
    }

    /// A text without escapes.
    #[inline]
    fn text(&mut self) -> Option<&'b str> {
        self.take(b'"')?;
        let end = self.at + unescaped(&self.bytes[self.at..])?;
        let text = std::str::from_utf8(&self.bytes[self.at..end]).ok()?;
        self.at = end + 1;
        Some(text)
    }

    fn null(&mut self) -> bool {
        let null = self.bytes[self.at..].starts_with(b"null");
        self.at += if null { 4 } else { 0 };
        null
    }

    #[inline]
    fn unsigned(&mut self) -> Option<u64> {
        let rest = &self.bytes[self.at..];
        let mut number = 0u64;
        let mut length = 0;
        while let Some(digit @ b'0'..=b'9') = rest.get(length) {
            number = number.wrapping_mul(10).wrapping_add(u64::from(digit - b'0'));
            length += 1;
        }
        let odd = length == 0
            || length > DIGITS
            || rest[0] == b'0' && length > 1
            || matches!(rest.get(length), Some(b'.' | b'e' | b'E' | b'+' | b'-'));
        self.at += length;
        (!odd).then_some(number)
    }

    #[inline]
    fn signed(&mut self) -> Option<i64> {
        let negative = self.peek()? == b'-';
        self.at += usize::from(negative);
        let number = self.unsigned()? as i64;
        // Negative zero is a fraction to some.
        if negative && number == 0 {
            return None;
        }
        Some(if negative { -number } else { number })
    }
}

/// How many bytes come before the closing quote; nothing if a backslash or a control character comes first.
#[inline]
fn unescaped(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    let mut at = 0;
    // Eight bytes at a time ("Bit Twiddling Hacks", Sean Eron Anderson: a byte less than n).
    while let Some(eight) = bytes.get(at..at + 8) {
        let eight = u64::from_le_bytes(eight.try_into().expect("eight bytes"));
        let quote = eight ^ (ONES * u64::from(b'"'));
        let slash = eight ^ (ONES * u64::from(b'\\'));
        let low = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGH;
        let found = low(quote, 1) | low(slash, 1) | low(eight, 0x20);
        if found != 0 {
            at += found.trailing_zeros() as usize / 8;
            return (bytes[at] == b'"').then_some(at);
        }
        at += 8;
    }
    let odd = bytes[at..]
        .iter()
        .position(|&byte| byte == b'"' || byte == b'\\' || byte < 0x20)?;
    (bytes[at + odd] == b'"').then_some(at + odd)
}

#[cfg(test)]
mod tests {
    use rand::rngs::ChaCha8Rng;
    use rand::{RngExt, SeedableRng};

    use super::super::fields::Fields;
    use super::super::json::Scanner;
    use super::*;
    use crate::history::{Pool, Process, ProcessId, Value};

    fn value(cells: &Cells, bytes: &[u8], cell: Cell) -> Option<Value> {
        match cell {
            Cell::Absent => None,
            Cell::Word(word) => Some(Pool::default().value(word)),
            Cell::Text(at) => {
                let text = cells.texts[at as usize];
                let text = std::str::from_utf8(&bytes[text.start as usize..text.end as usize]);
                Some(Value::from(text.expect("text")))
            }
            Cell::Pair(at) => {
                let (first, second) = cells.pairs[at as usize];
                let part = |cell| value(cells, bytes, cell).expect("parts of pairs are there");
                Some(Value::from((part(first), part(second))))
            }
        }
    }

    /// Whether the short way understood the line; if so, then as the long way does.
    fn agree(line: &[u8]) -> bool {
        let mut cells = Cells::default();
        let Some(plain) = cells.line(line, 0) else {
            return false;
        };
        let shown = String::from_utf8_lossy(line);
        let long = Fields::read(&mut Scanner::new(line));
        let long = long.unwrap_or_else(|flaw| panic!("{shown}: only the short way accepts it: {flaw}"));
        let name = |id: Option<NameId>| id.map(|id| cells.name(id).to_owned());
        let value = |cell| value(&cells, line, cell);
        assert_eq!(plain.index, long.index, "{shown}");
        assert_eq!(plain.time, long.time, "{shown}");
        assert_eq!(
            Some(Process::Client(ProcessId(plain.process))),
            long.process,
            "{shown}"
        );
        assert_eq!(Some(plain.kind), long.kind, "{shown}");
        assert_eq!(name(Some(plain.f)), long.f, "{shown}");
        assert_eq!(value(plain.key), long.key, "{shown}");
        assert_eq!(
            value(plain.value),
            Some(long.value.unwrap_or_default()),
            "{shown}"
        );
        assert_eq!(name(plain.error), long.error, "{shown}");
        assert_eq!(value(plain.current), long.current, "{shown}");
        assert_eq!(plain.rev, long.rev, "{shown}");
        assert_eq!(name(plain.node), long.node, "{shown}");
        assert_eq!(plain.intended, long.intended, "{shown}");
        assert!(long.other.is_empty(), "{shown}");
        true
    }

    const LINES: [&str; 9] = [
        r#"{"index":0,"time":12,"process":3,"type":"invoke","f":"get","key":"a key","value":null}"#,
        r#"{"index":1,"time":120345,"process":3,"type":"ok","f":"get","key":7,"value":"v","node":"n1","rev":9}"#,
        r#"{"index":2,"time":9,"process":0,"type":"fail","f":"cas","value":[1,-2],"error":"mismatch","current":null}"#,
        r#"{"index":3,"time":9,"process":0,"type":"info","f":"cas","value":["a",null],"error":"timed out"}"#,
        r#"{ "process" : 12, "type" : "invoke", "f" : "set", "value" : "h\u00e4", "intended" : 4 } "#,
        r#"{"process":1,"type":"ok","f":"txn","value":[["r","x",[1,2]],["append","x",3]]}"#,
        r#"{"process":"nemesis","type":"info","f":"partition","value":{"n1":["n2"]},"time":3}"#,
        r#"{"process":1,"type":"ok","f":"set","key":["a",1],"value":1.5e3,"extra":true}"#,
        r#"{"process":1,"type":"ok","f":"set","value":"ein längerer Text mit Umlauten: äöü ſß, and on and on"}"#,
    ];

    #[test]
    fn usual_lines_take_the_short_way() {
        let short: Vec<bool> = LINES.iter().map(|line| agree(line.as_bytes())).collect();
        assert_eq!(short, [true, true, true, true, false, false, false, false, true]);
    }

    #[test]
    fn both_ways_agree_on_whatever_is_left_of_a_line() {
        let seed = 20_261_121;
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let bits: &[u8] = b"\"\\{}[],:0123456789-+.eEntru \t\r\x00\x1f\x7f\xc3\xa4";
        let (mut short, mut tried) = (0, 0);
        for round in 0..60_000 {
            let mut line = LINES[round % LINES.len()].as_bytes().to_vec();
            for _ in 0..random.random_range(0..4) {
                let at = random.random_range(0..line.len());
                match random.random_range(0..4) {
                    0 => line[at] = bits[random.random_range(0..bits.len())],
                    1 => line.insert(at, bits[random.random_range(0..bits.len())]),
                    2 => drop(line.remove(at)),
                    _ => {
                        let to = random.random_range(at..line.len());
                        let piece = line[at..to].to_vec();
                        let into = random.random_range(0..line.len());
                        line.splice(into..into, piece);
                    }
                }
            }
            tried += 1;
            short += u32::from(agree(&line));
        }
        assert!(
            short > tried / 8,
            "seed {seed}: only {short} of {tried} took the short way"
        );
    }
}
