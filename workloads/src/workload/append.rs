//! Texts that are appended to: a read shows every write that came before it, in order.

use super::mix::keys;
use super::{Workload, plainly};
use crate::generator::Kind;

/// `get` and `append`.
pub(super) static APPEND: Workload = Workload {
    name: "append",
    about: "get and append on many keys; a text says which appends it has seen, how often, in which order",
    finds: "any lost, duplicated, reordered or resurrected write, at the first read after it",
    often: "every change to the log, snapshots or replication, 30 s",
    model: "kv",
    header: &[],
    needs: &["get", "append"],
    faults: None,
    load: |options| keys(options, vec![(Kind::Text, 1)]),
    speak: plainly,
};
