//! Registers: the smallest thing that can be wrong.

use super::mix::keys;
use super::{Workload, plainly};
use crate::generator::Kind;

/// `get` and `set`.
pub(super) static REGISTER: Workload = Workload {
    name: "register",
    about: "get and set on many keys, every written value unique",
    finds: "stale reads, lost writes, values that come back",
    often: "every change, 10 s; any store can do it",
    model: "kv",
    header: &[],
    needs: &["get", "set"],
    faults: None,
    load: |options| keys(options, vec![(Kind::Plain, 1)]),
    speak: plainly,
};

/// `get`, `set` and `cas`.
pub(super) static CAS_REGISTER: Workload = Workload {
    name: "cas-register",
    about: "get, set and cas on many keys, every written value unique",
    finds: "what register finds, and cas that are not atomic",
    often: "every change, 30 s",
    model: "kv",
    header: &[],
    needs: &["get", "set", "cas"],
    faults: None,
    load: |options| keys(options, vec![(Kind::Register, 1)]),
    speak: plainly,
};
