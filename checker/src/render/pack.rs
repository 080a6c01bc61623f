//! The operations of a history in few bytes, for the page's script to unpack.
//!
//! One row an operation, in the order of invocations; every number in base 128, low digits first, the high bit
//! saying that more follow (LEB128), signed ones folded (0, -1, 1, -2, ...):
//!
//! | number | meaning |
//! |---|---|
//! | start | since the start of the operation before, along the axis |
//! | length | 0: nothing came back; else one more than the distance from start to completion |
//! | process | place in `processes` |
//! | kind | 4 × place in `functions` + 0 ok, 1 fail, 2 unknown, 3 mismatch (a cas that compared and found another value) |
//! | key, argument, result | 0: none; odd: twice a folded whole number, plus one; even: twice a place in `texts` |
//! | node, error | 0: none; else one more than the place in `nodes` or `errors` |
//! | place | 0: not in the witness; else one more than the place in its subhistory's order |
//! | moment | 0: none; else one more than the distance from start to the linearization point |
//! | index | folded: index of the invocation less that of the operation before |
//! | completed | 0: nothing came back; else the index of the completion less that of the invocation |
//! | line | folded: line of the invocation less that of the operation before |
//! | invoked, lasted | only along the order of events, folded nanoseconds: since the invocation before, and until the completion |

use std::fmt::Write;

use hashbrown::HashMap;
use rustc_hash::FxBuildHasher;

use super::Axis;
use super::lanes::Lanes;
use super::points::Point;
use crate::history::{History, OpId, Operation, Outcome, Value};

/// What was packed.
#[derive(Debug)]
pub(super) struct Packed {
    pub(super) bytes: Vec<u8>,
    /// Every text that stands in the rows; the first is `nil`.
    pub(super) texts: Vec<String>,
}

/// Longer values are cut: nobody reads them on a bar, and the history has them.
const MOST_TEXT: usize = 400;
/// Whole numbers beyond this are texts: the script's numbers are exact up to 2^53, and one is folded and doubled.
const MOST_NUMBER: u64 = 1 << 50;

pub(super) fn pack(history: &History, axis: Axis, lanes: &Lanes, points: &[Option<Point>]) -> Packed {
    let mut packer = Packer {
        bytes: Vec::with_capacity(history.len() * 24),
        texts: vec!["nil".to_owned()],
        places: HashMap::with_hasher(FxBuildHasher),
    };
    let (mut start_before, mut index_before, mut line_before, mut time_before) = (0, 0, 0, 0);
    for operation in history.operations() {
        let op = operation.id();
        let start = axis.start(history, op);
        packer.put(start - start_before);
        packer.put(
            axis.end(history, op)
                .map_or(0, |end| end.saturating_sub(start) + 1),
        );
        packer.put(u64::from(lanes.process_of[op.0 as usize]));
        packer.put(u64::from(operation.record().f) * 4 + outcome(operation));
        packer.value(operation.key());
        packer.value(Some(operation.input()).filter(|input| !input.is_nil()));
        let told = operation.completed_at().is_some() && operation.outcome() == Outcome::Ok;
        packer.value(told.then(|| operation.output()).or_else(|| operation.current()));
        let node = operation.node().map(|_| operation.margin().node);
        packer.put(node.map_or(0, |node| u64::from(node) + 1));
        let error = operation.error().map(|_| operation.margin().error);
        packer.put(error.map_or(0, |error| u64::from(error) + 1));
        let point = points[op.0 as usize];
        packer.put(point.map_or(0, |point| u64::from(point.place) + 1));
        packer.put(point.and_then(|point| point.at).map_or(0, |at| at - start + 1));
        let index = operation.invoked_index();
        packer.folded((index as i64).wrapping_sub(index_before));
        packer.put(
            operation
                .completed_index()
                .map_or(0, |completed| completed - index),
        );
        packer.folded((operation.line() as i64).wrapping_sub(line_before));
        if axis == Axis::Events {
            let invoked = operation.invoked_at().0 as i64;
            packer.folded(invoked.wrapping_sub(time_before));
            let completed = operation.completed_at().map_or(invoked, |at| at.0 as i64);
            packer.folded(completed.wrapping_sub(invoked));
            time_before = invoked;
        }
        (start_before, index_before, line_before) = (start, index as i64, operation.line() as i64);
    }
    Packed {
        bytes: packer.bytes,
        texts: packer.texts,
    }
}

fn outcome(operation: Operation<'_>) -> u64 {
    match operation.outcome() {
        Outcome::Ok => 0,
        Outcome::Fail if operation.error() == Some("mismatch") => 3,
        Outcome::Fail => 1,
        Outcome::Info => 2,
    }
}

struct Packer {
    bytes: Vec<u8>,
    texts: Vec<String>,
    places: HashMap<Value, u64, FxBuildHasher>,
}

impl Packer {
    fn put(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.bytes.push(number as u8 | 0x80);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    fn folded(&mut self, number: i64) {
        self.put((number << 1 ^ number >> 63) as u64);
    }

    fn value(&mut self, value: Option<Value>) {
        match value {
            None => self.put(0),
            Some(Value::Int(number)) if number.unsigned_abs() < MOST_NUMBER => {
                self.put((number << 1 ^ number >> 63) as u64 * 2 + 1);
            }
            Some(value) => {
                let place = match self.places.get(&value) {
                    Some(&place) => place,
                    None => self.add(value),
                };
                self.put(place * 2);
            }
        }
    }

    /// Nil has a place of its own: 0 is no value at all.
    fn add(&mut self, value: Value) -> u64 {
        let mut text = String::new();
        let _ = write!(text, "{value}");
        if let Some((end, _)) = text.char_indices().nth(MOST_TEXT) {
            let more = text.len() - end;
            text.truncate(end);
            let _ = write!(text, "… ({more} bytes more)");
        }
        let place = self.texts.len() as u64;
        self.texts.push(text);
        self.places.insert(value, place);
        place
    }
}

/// The place of every operation of the drawing, for tests and for what the page says before its script runs.
pub(super) fn reach(history: &History, axis: Axis) -> (u64, u64) {
    let ops = || (0..history.len() as u32).map(OpId);
    let first = ops().map(|op| axis.start(history, op)).min().unwrap_or(0);
    let last = ops()
        .map(|op| axis.end(history, op).unwrap_or_else(|| axis.start(history, op)))
        .max()
        .unwrap_or(1);
    (first, last.max(first + 1))
}
