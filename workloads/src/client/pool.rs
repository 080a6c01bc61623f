//! Connections that wait for their next request.
//!
//! A connection carries one request at a time. One that lost an answer is dropped, never used again: what
//! comes late would otherwise be taken for the answer to the next request.

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;

use parking_lot::Mutex;

/// Idle connections by the node that they lead to.
pub(super) struct Pool<C>(Mutex<HashMap<SocketAddr, Vec<C>>>);

impl<C> Default for Pool<C> {
    fn default() -> Self {
        Self(Mutex::new(HashMap::new()))
    }
}

impl<C> fmt::Debug for Pool<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let idle: usize = self.0.lock().values().map(Vec::len).sum();
        write!(f, "{idle} idle connections")
    }
}

impl<C> Pool<C> {
    /// An idle connection to `node`, the one used last.
    pub(super) fn take(&self, node: SocketAddr) -> Option<C> {
        self.0.lock().get_mut(&node)?.pop()
    }

    /// Gives a connection back whose last answer was read to its end.
    pub(super) fn give(&self, node: SocketAddr, connection: C) {
        self.0.lock().entry(node).or_default().push(connection);
    }

    /// Drops every idle connection to `node`: one of them was found broken, so the others likely are.
    pub(super) fn forget(&self, node: SocketAddr) {
        self.0.lock().remove(&node);
    }
}
