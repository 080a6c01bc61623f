//! Compiles the operations of a register: values and what is done to them become numbers.

use rustc_hash::{FxHashMap, FxHashSet};

use super::register::{Function, RegisterRules, appended, given, is_mismatch};
use super::register_machine::{Effect, RegisterMachine, Revisions, Versioned};
use super::text::{Beginnings, Growth, Piece, Spine, TextHash, Texts};
use crate::engine::{Call, CallId, ClassId, Moment, Need, Packed, Problem, StateId};
use crate::history::{History, OpId, Operation, Outcome, Value, Word};
use crate::subhistory::Moments;

/// Numbers for values and classes while a subhistory is compiled.
struct Compiler<'h> {
    history: &'h History,
    rules: &'h RegisterRules,
    /// What each function of the history is here.
    functions: Vec<Option<Function>>,
    /// The numbers of small whole numbers, where they have one.
    small: Vec<StateId>,
    /// No whole number above this is looked for in `small`.
    most_small: usize,
    /// The numbers of all else.
    values: FxHashMap<Word, StateId>,
    pairs: FxHashMap<Value, StateId>,
    next_value: u32,
    effects: Vec<Effect>,
    versioned: Vec<Versioned>,
    versions: FxHashMap<Versioned, u32>,
    /// The classes that are about each value.
    about: Vec<About>,
    /// The classes of exchanges, linked by the value that they take away.
    exchanges: Vec<Exchange>,
    /// The classes of all else.
    classes: FxHashMap<Effect, ClassId>,
    pieces: Vec<Piece>,
    piece_numbers: FxHashMap<Word, u32>,
    texts: Texts,
    spine: Spine<'h>,
    /// Whether values must be known as texts, because some operation appends.
    appends: bool,
    revisions: bool,
    /// Whether the key is only appended to and read, so far as was seen.
    grows: bool,
}

/// Which classes are about a value, where there are such.
#[derive(Clone, Copy)]
struct About {
    reads: ClassId,
    differs: ClassId,
    writes: ClassId,
    /// The exchange of it that was met last, and how many are linked.
    exchanges: u32,
    linked: u32,
}

struct Exchange {
    to: StateId,
    class: ClassId,
    before: u32,
}

const NO_STATE: StateId = StateId(u32::MAX);
const NO_CLASS: ClassId = ClassId(u32::MAX);
/// More exchanges of a value than this are looked up.
const LINKED: u32 = 8;

/// What is known, or from now on the next.
fn known_or(class: &mut ClassId, next: ClassId) -> ClassId {
    if *class == NO_CLASS {
        *class = next;
    }
    *class
}

/// Whole numbers up to here are looked for in a table however few moments there are.
const LEAST_SMALL: usize = 64;

/// A subhistory as a problem for the register.
pub(crate) fn compile_register(
    history: &History,
    rules: &RegisterRules,
    moments: &Moments<'_>,
) -> Problem<RegisterMachine> {
    let mut compiler = Compiler::new(history, rules, moments);
    let init = compiler.value(history.pool_word(&rules.init), &rules.init);
    let mut calls: Vec<Call> = Vec::with_capacity(moments.operations());
    let mut packed = Vec::with_capacity(moments.len());
    let mut numbers: FxHashMap<OpId, CallId> = FxHashMap::default();
    let mut waiting = moments.numbering();
    for (op, completes) in moments.iter() {
        if completes {
            if let Some(call) = waiting.get(op) {
                packed.push(Packed::completed(call));
            }
            continue;
        }
        let operation = history.operation(op);
        let complete = moments.is_complete(op);
        let Some((effect, need)) = compiler.effect(operation, complete) else {
            continue;
        };
        let call = CallId(calls.len() as u32);
        let after = moments.after(op, |before| numbers.get(&before).copied());
        let class = compiler.class(effect, after.is_some());
        calls.push(Call {
            op,
            class,
            need,
            after,
        });
        packed.push(Packed::invoked(call));
        if need == Need::Required {
            waiting.put(op, call);
        }
        if moments.has_ties() && need == Need::Required {
            numbers.insert(op, call);
        }
    }
    let growth = compiler.growth(&calls, &packed);
    let longest = growth.as_ref().and_then(|_| compiler.longest());
    let beginnings = compiler.beginnings();
    let revisions = compiler.revisions.then(|| {
        let mut revisions = Revisions::default();
        revisions.number(init, None);
        revisions
    });
    let machine = RegisterMachine {
        effects: compiler.effects,
        versioned: compiler.versioned,
        init: if revisions.is_some() { StateId(0) } else { init },
        pieces: compiler.pieces,
        texts: compiler.texts,
        next_value: compiler.next_value,
        beginnings,
        growth,
        revisions,
        longest,
    };
    Problem {
        machine,
        calls,
        moments: packed,
    }
}

impl<'h> Compiler<'h> {
    fn new(history: &'h History, rules: &'h RegisterRules, moments: &Moments<'_>) -> Self {
        let functions: Vec<Option<Function>> = history.functions.iter().map(|f| Function::named(f)).collect();
        let function = |op| functions[usize::from(history.operation(op).record().f)];
        let appends =
            history.knows("append") && moments.invoked().any(|op| function(op) == Some(Function::Append));
        let by_revision =
            |op| function(op) == Some(Function::Cas) && history.operation(op).asked_rev().is_some();
        let revisions = !history.details.is_empty() && moments.invoked().any(by_revision);
        let seen = |op| {
            let record = history.operation(op).record();
            let known = record.outcome == Outcome::Ok && moments.is_complete(op);
            (known && function(op) == Some(Function::Get)).then(|| history.pool.text(record.output))?
        };
        let texts = appends.then(|| moments.invoked().filter_map(seen));
        let longest = texts.and_then(|texts| texts.max_by_key(|text| text.len()));
        Compiler {
            history,
            rules,
            small: Vec::new(),
            most_small: 2 * moments.len() + LEAST_SMALL,
            values: FxHashMap::default(),
            pairs: FxHashMap::default(),
            next_value: 0,
            effects: Vec::new(),
            versioned: Vec::new(),
            versions: FxHashMap::default(),
            about: Vec::new(),
            exchanges: Vec::new(),
            classes: FxHashMap::default(),
            pieces: Vec::new(),
            piece_numbers: FxHashMap::default(),
            texts: Texts::default(),
            spine: Spine::of(longest.unwrap_or("")),
            appends,
            revisions,
            grows: appends && !revisions,
            functions,
        }
    }

    /// What an operation does, and whether it must have; nothing if it certainly did nothing and saw nothing.
    fn effect(&mut self, operation: Operation<'_>, complete: bool) -> Option<(Effect, Need)> {
        let record = operation.record();
        let known = complete && record.outcome != Outcome::Info;
        let need = if known { Need::Required } else { Need::Optional };
        let function = self.functions[usize::from(record.f)].expect("histories are validated first");
        let told = if known { operation.told_rev() } else { None };
        if record.outcome == Outcome::Fail && (!known || function != Function::Cas) {
            return None;
        }
        let effect = match function {
            Function::Get if !known => return None,
            Function::Get => Effect::Reads(self.word(record.output)),
            Function::Set => {
                self.grows = false;
                let to = self.word(given(record));
                self.written(to, told)
            }
            Function::Delete => {
                self.grows = false;
                let to = self.word(Word::NIL);
                self.written(to, told)
            }
            Function::Append => {
                let piece = self.piece(given(record));
                match self.revisions {
                    true => self.versioned(Versioned::Appends { piece, told }),
                    false => Effect::Appends(piece),
                }
            }
            Function::Cas => {
                self.grows = false;
                self.cas(operation, known, told)?
            }
        };
        Some((effect, need))
    }

    fn cas(&mut self, operation: Operation<'_>, known: bool, told: Option<i64>) -> Option<Effect> {
        let record = operation.record();
        let asked = operation.asked_rev();
        // Only a cas by revision may leave out the expected value; histories are validated first.
        let (from, to) = self
            .history
            .pool
            .pair(record.input)
            .unwrap_or((Word::NIL, record.input));
        let failed = record.outcome == Outcome::Fail;
        if failed && !is_mismatch(operation, self.rules) {
            return None;
        }
        let current = operation
            .details()
            .and_then(|details| details.current.present())
            .filter(|_| failed);
        let current = current.map(|current| self.word(current));
        if let Some(asked) = asked {
            let from = (from != Word::NIL).then(|| self.word(from));
            let to = self.word(to);
            return Some(if failed {
                self.versioned(Versioned::Differs { from, asked, current })
            } else {
                self.versioned(Versioned::Exchanges {
                    from,
                    asked: Some(asked),
                    to,
                    told,
                })
            });
        }
        let (from, to) = (self.word(from), self.word(to));
        Some(match (failed, current) {
            (true, Some(current)) if current == from => Effect::Impossible,
            (true, Some(current)) => Effect::Reads(current),
            (true, None) => Effect::Differs(from),
            (false, _) if from == to && !known => return None,
            (false, _) if from == to => Effect::Reads(from),
            (false, _) if self.revisions => self.versioned(Versioned::Exchanges {
                from: Some(from),
                asked: None,
                to,
                told,
            }),
            (false, _) => Effect::Exchanges(from, to),
        })
    }

    fn written(&mut self, to: StateId, told: Option<i64>) -> Effect {
        match self.revisions {
            true => self.versioned(Versioned::Writes(to, told)),
            false => Effect::Writes(to),
        }
    }

    fn versioned(&mut self, versioned: Versioned) -> Effect {
        let next = self.versioned.len() as u32;
        let place = *self.versions.entry(versioned).or_insert(next);
        if place == next {
            self.versioned.push(versioned);
        }
        Effect::Versioned(place)
    }

    fn class(&mut self, effect: Effect, own: bool) -> ClassId {
        let next = ClassId(self.effects.len() as u32);
        let class = match effect {
            _ if own => next,
            Effect::Reads(value) => known_or(&mut self.about(value).reads, next),
            Effect::Differs(value) => known_or(&mut self.about(value).differs, next),
            Effect::Writes(value) => known_or(&mut self.about(value).writes, next),
            Effect::Exchanges(from, to) => self.exchange(from, to, next),
            _ => *self.classes.entry(effect).or_insert(next),
        };
        if class == next {
            self.effects.push(effect);
        }
        class
    }

    /// The class of an exchange: the one that is known, or the next.
    fn exchange(&mut self, from: StateId, to: StateId, next: ClassId) -> ClassId {
        let About {
            exchanges, linked, ..
        } = *self.about(from);
        let mut at = exchanges;
        while let Some(exchange) = self.exchanges.get(at as usize) {
            if exchange.to == to {
                return exchange.class;
            }
            at = exchange.before;
        }
        if linked == LINKED {
            return *self.classes.entry(Effect::Exchanges(from, to)).or_insert(next);
        }
        let place = self.exchanges.len() as u32;
        self.exchanges.push(Exchange {
            to,
            class: next,
            before: exchanges,
        });
        let about = self.about(from);
        (about.exchanges, about.linked) = (place, linked + 1);
        next
    }

    fn about(&mut self, value: StateId) -> &mut About {
        let at = value.0 as usize;
        if at >= self.about.len() {
            let nothing = About {
                reads: NO_CLASS,
                differs: NO_CLASS,
                writes: NO_CLASS,
                exchanges: u32::MAX,
                linked: 0,
            };
            self.about.resize(at + 1, nothing);
        }
        &mut self.about[at]
    }

    fn word(&mut self, word: Word) -> StateId {
        let small = word.as_small().filter(|&number| number <= self.most_small);
        if let Some(&known) = small.and_then(|number| self.small.get(number))
            && known != NO_STATE
        {
            return known;
        }
        if small.is_none()
            && let Some(&known) = self.values.get(&word)
        {
            return known;
        }
        let value = self.history.pool.value(word);
        let number = self.value(Some(word), &value);
        self.remember(word, number);
        number
    }

    fn remember(&mut self, word: Word, number: StateId) {
        match word.as_small().filter(|&small| small <= self.most_small) {
            Some(small) => {
                if small >= self.small.len() {
                    self.small.resize(small + 1, NO_STATE);
                }
                self.small[small] = number;
            }
            None => drop(self.values.insert(word, number)),
        }
    }

    /// Pairs are not shared in the pool, and the initial value may not be in it: those go by their content.
    fn value(&mut self, word: Option<Word>, value: &Value) -> StateId {
        let by_content = word.is_none() || matches!(value, Value::List(elements) if elements.len() == 2);
        if by_content && let Some(&known) = self.pairs.get(value) {
            return known;
        }
        let number = StateId(self.next_value);
        self.next_value += 1;
        match word {
            Some(word) if !by_content => self.remember(word, number),
            _ => drop(self.pairs.insert(value.clone(), number)),
        }
        if self.appends {
            let text = appended(value, &Value::Nil);
            let text = text.as_str().expect("appending makes a text");
            // Nothing and the empty text differ when read; appending makes texts only.
            let hash = self.spine.hash(text);
            if value.as_str().is_some() {
                self.texts.insert(hash, number);
            } else {
                self.texts.name(number, hash);
            }
        }
        number
    }

    fn piece(&mut self, word: Word) -> u32 {
        if let Some(&known) = self.piece_numbers.get(&word) {
            return known;
        }
        let text = appended(&self.history.pool.value(word), &Value::Nil);
        let number = self.pieces.len() as u32;
        self.pieces
            .push(Piece::of(text.as_str().expect("appending makes a text")));
        self.piece_numbers.insert(word, number);
        number
    }

    /// Every text that can still become one that somebody saw or expected.
    fn beginnings(&mut self) -> Beginnings {
        if !self.appends {
            return Beginnings::default();
        }
        let mut seen = FxHashSet::default();
        for effect in &self.effects {
            match *effect {
                Effect::Reads(value) | Effect::Differs(value) | Effect::Exchanges(value, _) => {
                    seen.insert(value);
                }
                Effect::Versioned(place) => match self.versioned[place as usize] {
                    Versioned::Exchanges { from, .. } => seen.extend(from),
                    Versioned::Differs { from, current, .. } => seen.extend(from.iter().chain(&current)),
                    Versioned::Writes(..) | Versioned::Appends { .. } => {}
                },
                Effect::Impossible | Effect::Writes(_) | Effect::Appends(_) => {}
            }
        }
        let words = self.values.iter().filter(|(_, value)| seen.contains(value));
        let mut texts: Vec<&str> = words
            .filter_map(|(word, _)| self.history.pool.text(*word))
            .collect();
        texts.extend(
            self.pairs
                .iter()
                .filter(|(_, value)| seen.contains(value))
                .filter_map(|(text, _)| text.as_str()),
        );
        texts.sort_by_key(|text| std::cmp::Reverse(text.len()));
        let texts: Vec<(&str, TextHash)> = texts
            .into_iter()
            .map(|text| (text, self.spine.hash(text)))
            .collect();
        let mut beginnings = Beginnings::of(std::mem::replace(&mut self.spine, Spine::of("")));
        for (text, hash) in texts {
            beginnings.add(text, hash);
        }
        beginnings
    }

    /// The longest text among those that were read.
    fn longest(&self) -> Option<Box<str>> {
        let texts = self
            .values
            .keys()
            .filter_map(|word| self.history.pool.text(*word));
        let longest = texts.max_by_key(|text| text.len()).unwrap_or("");
        Some(longest.into())
    }

    /// What bounds a text that only grows.
    fn growth(&self, calls: &[Call], moments: &[Packed]) -> Option<Growth> {
        if !self.grows {
            return None;
        }
        let mut shortest = vec![u64::MAX; moments.len() + 1];
        for (at, moment) in moments.iter().enumerate().rev() {
            shortest[at] = shortest[at + 1];
            let Moment::Invoked(call) = moment.moment() else {
                continue;
            };
            if let Effect::Reads(value) = self.effects[calls[call.0 as usize].class.0 as usize] {
                let hash = self.texts.hash(value).unwrap_or(TextHash::EMPTY);
                shortest[at] = shortest[at].min(hash.length());
            }
        }
        Some(Growth { shortest })
    }
}
