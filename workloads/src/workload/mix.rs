//! Everything that can be done to single keys: the default, and its narrower forms.

use super::{Load, LoadOptions, Workload, get, plainly};
use crate::generator::{Context, Generator, Invocation, Kind, Mixed, MixedOptions, Next};
use crate::system::Outcome;

/// The default: registers, keys that are deleted, texts that are appended to, and appends that are sent more
/// than once, as far as the store can do these things.
pub(super) static MIX: Workload = Workload {
    name: "mix",
    about: "everything a store can do to single keys: get, set, cas, delete, append, repeated requests",
    finds: "stale reads, lost and duplicated writes, resurrected values, cas that are not atomic, snapshots and \
            sessions that forget",
    often: "every change, 30 s; nightly with other seeds",
    model: "kv",
    header: &[],
    needs: &["get", "set", "cas"],
    faults: None,
    load: |options| {
        let mut kinds = vec![(Kind::Register, 4)];
        kinds.extend(options.deletes.then_some((Kind::Mortal, 2)));
        kinds.extend(options.appends.then_some((Kind::Text, 2)));
        kinds.extend(options.repeats.then_some((Kind::Repeated, 3)));
        keys(options, kinds)
    },
    speak: plainly,
};

/// Registers, deletes and appends, each sent once.
pub(super) static KV: Workload = Workload {
    name: "kv",
    about: "get, set, cas, delete and append on many keys, each sent once",
    finds: "stale reads, lost writes, resurrected values, cas that are not atomic",
    often: "every change, 30 s",
    model: "kv",
    header: &[],
    needs: &["get", "set", "cas", "delete", "append"],
    faults: None,
    load: |options| {
        keys(
            options,
            vec![(Kind::Register, 2), (Kind::Mortal, 2), (Kind::Text, 1)],
        )
    },
    speak: plainly,
};

/// Appends that are sent again when their answer was lost.
pub(super) static RETRIES: Workload = Workload {
    name: "retries",
    about: "appends under an Idempotency-Key, sent again when the answer is lost, by few clients at once",
    finds: "requests that are applied twice, or dropped as repetitions that they are not; sessions lost in snapshots",
    often: "every change to sessions, snapshots or forwarding; nightly",
    model: "kv",
    header: &[],
    needs: &["get", "append"],
    faults: None,
    load: |options| keys(options, vec![(Kind::Repeated, 1)]),
    speak: plainly,
};

/// The mix while members come and go.
pub(super) static CHURN: Workload = Workload {
    name: "churn",
    about: "the kv mix while members are removed, come back, and fail",
    finds: "votes of nodes that do not belong, two quorums, learners that vote before they have the data",
    often: "every change to membership; nightly",
    model: "kv",
    header: &[],
    needs: &["get", "set", "cas"],
    faults: Some("membership"),
    load: MIX.load,
    speak: plainly,
};

/// A load on keys of these kinds.
pub(super) fn keys(options: &LoadOptions, kinds: Vec<(Kind, u32)>) -> Box<dyn Load> {
    let options = MixedOptions {
        seed: options.seed,
        keys: options.keys,
        choice: options.choice,
        operations_per_key: options.operations_per_key,
        kinds,
        ..MixedOptions::default()
    };
    Box::new(Keys {
        mixed: Mixed::new(options.clone()),
        options,
    })
}

struct Keys {
    mixed: Mixed,
    options: MixedOptions,
}

impl Generator for Keys {
    fn next(&mut self, context: Context) -> Next {
        self.mixed.next(context)
    }

    fn update(&mut self, context: Context, invocation: &Invocation, outcome: &Outcome) {
        self.mixed.update(context, invocation, outcome);
    }
}

impl Load for Keys {
    fn final_reads(&self, _node: usize) -> Vec<Invocation> {
        self.mixed.keys_used().into_iter().map(get).collect()
    }

    fn shares(&self) -> Vec<(&'static str, f64)> {
        self.options.shares()
    }
}
