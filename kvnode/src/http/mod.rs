//! The HTTP side: what clients see.
//!
//! - [`request`] turns a query string or a JSON body into checked fields;
//! - [`routes`] says what is at each path: [`kv`] the keys, [`watch`] their changes,
//!   [`cluster`] the nodes;
//! - [`reply`] says it back, errors with their code and outcome;
//! - [`server`] carries it over connections, whose [`pace`] it minds, for those whose
//!   [`role`] allows it.

pub mod body;
pub mod cluster;
pub mod kv;
pub mod pace;
pub mod reply;
pub mod request;
pub mod role;
pub mod routes;
pub mod server;
pub mod watch;
