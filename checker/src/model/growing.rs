//! Texts that are only appended to and read: the reads say in which order things were appended.
//!
//! A text that only grows is, at every read, a beginning of what it is later. So all reads are beginnings of the
//! longest, and that one says what was appended, piece after piece. Where only one operation can have appended the
//! next piece (by its text, and because reads that do not show it yet must be able to come before it, and reads
//! that do after it), the order of all is forced, and it is a linearization or there is none.

use rustc_hash::FxHashMap;

use super::register_machine::{Grown, RegisterMachine};
use super::text::TextHash;
use crate::engine::{Blocks, CallId, NEVER, Need, Problem, Span};

/// Decides a problem of appends and reads, where the order is forced.
pub(crate) fn decide(problem: &Problem<RegisterMachine>) -> Blocks {
    let machine = &problem.machine;
    let Some(longest) = machine.longest() else {
        return Blocks::NotApplicable;
    };
    let is_strange = |class| match machine.grown(class) {
        Grown::Read(..) => false,
        Grown::Append(piece) => piece.length() == 0,
        Grown::Otherwise => true,
    };
    let mut calls = problem.calls.iter();
    if calls.any(|call| call.after.is_some() || is_strange(call.class)) {
        return Blocks::NotApplicable;
    }
    let spans = problem.spans();
    let length = longest.len();
    let mut hashes = vec![TextHash::EMPTY];
    for byte in longest.bytes() {
        let last = *hashes.last().expect("the empty beginning is there");
        hashes.push(last.then(std::iter::once(byte)));
    }
    // Reads by length, and appends by what they append.
    let mut reads: Vec<Vec<CallId>> = vec![Vec::new(); length + 1];
    let mut pieces: FxHashMap<TextHash, Vec<CallId>> = FxHashMap::default();
    let start = machine.begins_with();
    if hashes.get(start.length() as usize) != Some(&start) {
        return Blocks::NotApplicable;
    }
    for (number, call) in problem.calls.iter().enumerate() {
        let id = CallId(number as u32);
        match machine.grown(call.class) {
            Grown::Read(state, hash) => {
                let at = hash.length() as usize;
                let there = if at == start.length() as usize {
                    machine.is_init(state)
                } else {
                    at > start.length() as usize && hashes.get(at) == Some(&hash) && machine.is_text(state)
                };
                if !there {
                    return Blocks::Illegal;
                }
                reads[at].push(id);
            }
            Grown::Append(piece) => pieces.entry(piece).or_default().push(id),
            Grown::Otherwise => return Blocks::NotApplicable,
        }
    }
    let Some(lengths) = lengths(&pieces) else {
        return Blocks::NotApplicable;
    };
    // The latest invocation of reads up to each length, and the earliest completion of those from it on.
    let mut latest = vec![0; length + 1];
    let mut earliest = vec![NEVER; length + 2];
    for at in 0..=length {
        let invoked = reads[at].iter().map(|read| spans[read.0 as usize].invoked).max();
        latest[at] = invoked.unwrap_or(0).max(if at > 0 { latest[at - 1] } else { 0 });
    }
    for at in (0..=length).rev() {
        let completed = reads[at]
            .iter()
            .map(|read| spans[read.0 as usize].completed)
            .min();
        earliest[at] = completed.unwrap_or(NEVER).min(earliest[at + 1]);
    }
    let mut order: Vec<CallId> = Vec::with_capacity(problem.calls.len());
    let mut appended = vec![false; problem.calls.len()];
    let mut at = start.length() as usize;
    order.extend(sorted(&reads[at], &spans));
    while at < length {
        let mut found = None;
        for &piece in &lengths {
            let end = at + piece;
            let Some(hash) = hashes.get(end).map(|end| end.after(hashes[at], piece)) else {
                break;
            };
            for &call in pieces.get(&hash).map_or(&[][..], |calls| calls) {
                let span = spans[call.0 as usize];
                let in_time = span.completed > latest[at] && span.invoked < earliest[end];
                if appended[call.0 as usize] || !in_time {
                    continue;
                }
                if found.is_some() {
                    return Blocks::NotApplicable;
                }
                found = Some((call, end));
            }
        }
        let Some((call, end)) = found else {
            return Blocks::Illegal;
        };
        // A read that ends within the piece saw what cannot have been.
        if reads[at + 1..end].iter().any(|reads| !reads.is_empty()) {
            return Blocks::Illegal;
        }
        appended[call.0 as usize] = true;
        order.push(call);
        order.extend(sorted(&reads[end], &spans));
        at = end;
    }
    let unseen: Vec<CallId> = (0..problem.calls.len() as u32)
        .map(CallId)
        .filter(|&id| {
            let call = problem.call(id);
            let appends = matches!(machine.grown(call.class), Grown::Append(_));
            appends && call.need == Need::Required && !appended[id.0 as usize]
        })
        .collect();
    order.extend(sorted(&unseen, &spans));
    let mut last_invoked = 0;
    let in_time = order.iter().all(|call| {
        let span = spans[call.0 as usize];
        let fits = span.completed >= last_invoked;
        last_invoked = last_invoked.max(span.invoked);
        fits
    });
    if in_time {
        Blocks::Legal(order)
    } else {
        Blocks::Illegal
    }
}

/// The lengths of pieces, the least first; nothing if they are many.
fn lengths(pieces: &FxHashMap<TextHash, Vec<CallId>>) -> Option<Vec<usize>> {
    let mut lengths: Vec<usize> = pieces.keys().map(|piece| piece.length() as usize).collect();
    lengths.sort_unstable();
    lengths.dedup();
    (lengths.len() <= MOST_LENGTHS).then_some(lengths)
}

/// With pieces of more lengths than this, the search decides.
const MOST_LENGTHS: usize = 64;

fn sorted(calls: &[CallId], spans: &[Span]) -> Vec<CallId> {
    let mut calls = calls.to_vec();
    calls.sort_by_key(|call| spans[call.0 as usize].invoked);
    calls
}
