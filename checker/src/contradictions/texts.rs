//! Texts that are only appended to.
//!
//! Whatever is read of such a text begins with what was read before, and ends with a piece that somebody appended. So
//! these contradict each other, whatever else happened:
//!
//! - a read that is not made of what had been asked to be appended by then, or shows a piece more often;
//! - two reads of which neither begins with the other;
//! - a read that shows less than one which had completed before it began;
//! - a read that shows a piece without one whose append had completed before that of the piece was invoked; or a read
//!   that began after an append had completed, and does not show its piece.
//!
//! The last two ask that the longest read can have been made of pieces in one way only, else nothing is said of them; and
//! then a read that ends within one of these pieces contradicts it.

use rustc_hash::FxHashMap;

use super::{Contradiction, NEVER};
use crate::history::{OpId, Outcome, Value, Word};
use crate::model::{Domain, Function};
use crate::subhistory::Moments;

/// A read that was answered.
#[derive(Clone, Copy)]
struct Read<'h> {
    op: OpId,
    text: &'h [u8],
    invoked: usize,
    completed: usize,
}

/// An append that may have happened.
#[derive(Clone, Copy)]
struct Append {
    op: OpId,
    invoked: usize,
    /// [`NEVER`] if its outcome is unknown.
    completed: usize,
}

struct Texts<'h> {
    start: &'h [u8],
    /// The shortest first.
    reads: Vec<Read<'h>>,
    /// By what they append; each by invocation.
    appends: FxHashMap<&'h [u8], Vec<Append>>,
}

/// More steps than this through the longest text are not made.
const MOST_STEPS: usize = 1 << 26;

/// The contradiction that shows first, if a text is only appended to and read and there is one.
pub(crate) fn find<D: Domain>(domain: &D, moments: &Moments<'_>) -> Option<Contradiction> {
    if !matches!(domain.name(), "kv" | "register" | "cas-register") {
        return None;
    }
    let init = domain.init_value();
    let texts = Texts::of(moments, &init)?;
    let mut found: Vec<(usize, Vec<OpId>)> = Vec::new();
    texts.strangers(&mut found);
    texts.shrinking(&mut found);
    texts.made_of_pieces(&mut found);
    let (_, operations) = found
        .into_iter()
        .min_by_key(|(shows, operations)| (*shows, operations.len()))?;
    Some(Contradiction {
        minimal: operations.len() == 1,
        operations,
    })
}

impl<'h> Texts<'h> {
    /// Nothing where something else happens to the text, or nothing at all.
    fn of(moments: &Moments<'h>, init: &'h Value) -> Option<Texts<'h>> {
        let start = match init {
            Value::Nil => "",
            other => other.as_str()?,
        };
        let mut texts = Texts {
            start: start.as_bytes(),
            reads: Vec::new(),
            appends: FxHashMap::default(),
        };
        let mut completions: FxHashMap<OpId, usize> = FxHashMap::default();
        for (at, (op, completes)) in moments.iter().enumerate() {
            if completes && moments.is_complete(op) {
                completions.insert(op, at);
            }
        }
        for (invoked, (op, completes)) in moments.iter().enumerate() {
            if completes {
                continue;
            }
            let operation = moments.operation(op);
            let (record, history) = (operation.record(), operation.history);
            if record.outcome == Outcome::Fail {
                continue;
            }
            let completed = completions.get(&op).copied().unwrap_or(NEVER);
            match Function::named(operation.f())? {
                Function::Get if completed == NEVER => {}
                Function::Get => {
                    let text = match record.output {
                        Word::NIL => "",
                        word => history.pool.text(word)?,
                    };
                    // A text of no pieces is one thing, and no text is another.
                    if (record.output == Word::NIL) != (init.is_nil() && text.is_empty()) {
                        return None;
                    }
                    texts.reads.push(Read {
                        op,
                        text: text.as_bytes(),
                        invoked,
                        completed,
                    });
                }
                Function::Append => {
                    let told = match record.input {
                        Word::NIL if record.outcome == Outcome::Ok => record.output,
                        input => input,
                    };
                    let piece = history.pool.text(told)?.as_bytes();
                    if piece.is_empty() {
                        return None;
                    }
                    texts.appends.entry(piece).or_default().push(Append {
                        op,
                        invoked,
                        completed,
                    });
                }
                _ => return None,
            }
        }
        texts.reads.sort_by_key(|read| (read.text.len(), read.completed));
        (!texts.appends.is_empty() && !texts.reads.is_empty()).then_some(texts)
    }

    /// Reads that do not begin with what was there first, and pairs of which neither begins with the other.
    fn strangers(&self, found: &mut Vec<(usize, Vec<OpId>)>) {
        for read in &self.reads {
            if !read.text.starts_with(self.start) {
                found.push((read.completed, vec![read.op]));
            }
        }
        for pair in self.reads.windows(2) {
            if !pair[1].text.starts_with(pair[0].text) {
                let shows = pair[0].completed.max(pair[1].completed);
                found.push((shows, vec![pair[0].op, pair[1].op]));
            }
        }
    }

    /// Reads that show less than one before them did.
    fn shrinking(&self, found: &mut Vec<(usize, Vec<OpId>)>) {
        let mut begins: Vec<&Read<'_>> = self.reads.iter().collect();
        begins.sort_unstable_by_key(|read| read.invoked);
        let mut ends = begins.clone();
        ends.sort_unstable_by_key(|read| read.completed);
        let mut ends = ends.into_iter().peekable();
        let mut longest: Option<&Read<'_>> = None;
        for read in begins {
            while let Some(ended) = ends.next_if(|ended| ended.completed < read.invoked) {
                if longest.is_none_or(|longest| ended.text.len() > longest.text.len()) {
                    longest = Some(ended);
                }
            }
            if let Some(before) = longest.filter(|before| before.text.len() > read.text.len()) {
                found.push((read.completed, vec![before.op, read.op]));
            }
        }
    }

    /// What the pieces say that the longest read is made of.
    fn made_of_pieces(&self, found: &mut Vec<(usize, Vec<OpId>)>) {
        let longest = self.reads.last().expect("there are reads");
        if !longest.text.starts_with(self.start) {
            return;
        }
        let mut lengths: Vec<usize> = self.appends.keys().map(|piece| piece.len()).collect();
        lengths.sort_unstable();
        lengths.dedup();
        let text = longest.text;
        if text.len().saturating_mul(lengths.len()) > MOST_STEPS {
            return;
        }
        // From when on, at the earliest, everything before a place had been asked for; and the place before it.
        let mut asked = vec![NEVER; text.len() + 1];
        let mut before = vec![Before::Nothing; text.len() + 1];
        asked[self.start.len()] = 0;
        for at in self.start.len()..text.len() {
            if asked[at] == NEVER {
                continue;
            }
            for end in lengths.iter().map(|length| at + length) {
                let Some(appends) = text.get(at..end).and_then(|piece| self.appends.get(piece)) else {
                    continue;
                };
                asked[end] = asked[end].min(asked[at].max(appends[0].invoked));
                before[end] = match before[end] {
                    Before::Nothing => Before::One(at),
                    _ => Before::Several,
                };
            }
        }
        let reads = || self.reads.iter().filter(|read| text.starts_with(read.text));
        for read in reads() {
            if asked[read.text.len()] > read.completed {
                found.push((read.completed, vec![read.op]));
            }
        }
        let mut pieces: Vec<&[u8]> = Vec::new();
        let mut end = text.len();
        while end > self.start.len() {
            let Before::One(at) = before[end] else { return };
            pieces.push(&text[at..end]);
            end = at;
        }
        pieces.reverse();
        // Up to the end of one of these pieces there is one way only, too; a read that ends within one was made in
        // another way, and cannot be of the same past.
        let mut ends = vec![false; text.len() + 1];
        ends[self.start.len()] = true;
        let mut end = self.start.len();
        for piece in &pieces {
            end += piece.len();
            ends[end] = true;
        }
        let (reads, within): (Vec<&Read<'_>>, Vec<_>) = reads().partition(|read| ends[read.text.len()]);
        for read in within {
            found.push((read.completed.max(longest.completed), vec![read.op, longest.op]));
        }
        self.in_order(&pieces, &reads, found);
    }

    /// The only pieces that the longest read can be made of, in their order; and the reads that fit, shortest first.
    fn in_order(&self, pieces: &[&[u8]], reads: &[&Read<'h>], found: &mut Vec<(usize, Vec<OpId>)>) {
        // Of the reads from each on, the one that completed first.
        let mut first_to_show: Vec<&Read<'_>> = reads.to_vec();
        for at in (1..reads.len()).rev() {
            if first_to_show[at].completed < first_to_show[at - 1].completed {
                first_to_show[at - 1] = first_to_show[at];
            }
        }
        let shown_by = |end: usize| {
            let at = reads.partition_point(|read| read.text.len() < end);
            first_to_show.get(at).copied()
        };
        // Of the reads from each on, the shortest, by invocation.
        let mut later: Vec<&Read<'_>> = reads.to_vec();
        later.sort_unstable_by_key(|read| read.invoked);
        let mut least = later.clone();
        for at in (1..later.len()).rev() {
            if least[at].text.len() < least[at - 1].text.len() {
                least[at - 1] = least[at];
            }
        }
        let least_after = |place: usize| {
            let at = later.partition_point(|read| read.invoked <= place);
            least.get(at).copied()
        };
        let mut places: FxHashMap<&[u8], Vec<(usize, usize)>> = FxHashMap::default();
        let mut end = self.start.len();
        for (number, piece) in pieces.iter().enumerate() {
            end += piece.len();
            places.entry(piece).or_default().push((number, end));
        }
        // More often than asked for, or not although it had been appended.
        let mut alone: Vec<(usize, usize, Append)> = Vec::new();
        for (piece, appends) in &self.appends {
            let there = places.get(piece).map_or(&[][..], Vec::as_slice);
            for (times, &(_, end)) in there.iter().enumerate() {
                let asked = appends.get(times).map_or(NEVER, |append| append.invoked);
                if let Some(read) = shown_by(end).filter(|read| read.completed < asked) {
                    found.push((read.completed, vec![read.op]));
                }
            }
            let mut done: Vec<&Append> = appends.iter().filter(|one| one.completed != NEVER).collect();
            done.sort_unstable_by_key(|append| append.completed);
            let missed = done.iter().enumerate().filter_map(|(times, append)| {
                let end = there.get(times).map_or(usize::MAX, |&(_, end)| end);
                let read = least_after(append.completed).filter(|read| read.text.len() < end)?;
                Some((read.completed, times, read.op))
            });
            if let Some((shows, times, read)) = missed.min() {
                let operations = done[..=times].iter().map(|one| one.op);
                found.push((shows, operations.chain([read]).collect()));
            }
            if let [append] = appends[..]
                && append.completed != NEVER
            {
                let number = there.first().map_or(usize::MAX, |&(number, _)| number);
                alone.push((append.completed, number, append));
            }
        }
        // Of those that completed first, the one that stands last.
        alone.sort_unstable_by_key(|&(completed, _, append)| (completed, append.op));
        for at in 1..alone.len() {
            let (completed, ..) = alone[at];
            if alone[at - 1].1 > alone[at].1 {
                alone[at] = (completed, alone[at - 1].1, alone[at - 1].2);
            }
        }
        for (piece, there) in &places {
            let (Some([append]), &[(number, end)]) = (self.appends.get(piece).map(Vec::as_slice), &there[..])
            else {
                continue;
            };
            let passed = alone.partition_point(|&(completed, ..)| completed < append.invoked);
            let Some(&(_, stands, earlier)) = passed.checked_sub(1).map(|last| &alone[last]) else {
                continue;
            };
            if stands > number
                && let Some(read) = shown_by(end)
            {
                found.push((read.completed.max(earlier.completed), vec![earlier.op, read.op]));
            }
        }
    }
}

/// Where the piece before a place may begin.
#[derive(Clone, Copy)]
enum Before {
    Nothing,
    One(usize),
    Several,
}
