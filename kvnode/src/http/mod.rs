//! The HTTP side: what clients see.
//!
//! - [`request`] turns a query string or a JSON body into checked fields;
//! - [`routes`] says what each path does;
//! - [`reply`] says it back, errors with their code and outcome;
//! - [`server`] carries it over connections.

pub mod reply;
pub mod request;
pub mod routes;
pub mod server;
