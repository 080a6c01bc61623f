//! A Raft-replicated HTTP key-value store, the first subject of Ordeal.
