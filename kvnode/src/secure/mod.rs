//! Who may talk to this node, and how both sides know each other.
//!
//! Connections are TLS 1.3 (rustls on *ring*, which compiles in a third of the time of
//! the alternative). Clients check the node's certificate and show a bearer token, which
//! has a [role](tokens::Role); nodes show each other certificates, both ways. All of it
//! is optional on the loopback and demanded beyond it, unless the operator says
//! otherwise: see [`Config::check`](crate::config::Config::check).
//!
//! - [`keyring`] holds what the operator's files say, and reads them again when they
//!   change;
//! - [`tokens`] knows tokens by their hashes;
//! - [`stream`] is a connection, encrypted or not;
//! - [`access`] is the same for those who call a node: the client and the tools.

pub mod access;
pub mod keyring;
pub mod pem;
pub mod stream;
pub mod tokens;
