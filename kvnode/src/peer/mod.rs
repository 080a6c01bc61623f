//! Talk between nodes: length-prefixed postcard frames over TCP.
//!
//! A connection opens with a [`message::Hello`] that names cluster, sender and
//! receiver; a node that is not meant, or that lost its disk, refuses. Then come
//! numbered requests one way and replies the other. Log entries, heartbeats, votes
//! and snapshots each have connections of their own, so that a heartbeat never waits
//! behind a megabyte of log; forwarded client requests share one per peer.
//!
//! - [`frame`] cuts the byte stream;
//! - [`message`] is what the frames say;
//! - [`network`] is openraft's side, one call at a time per [`mod@line`];
//! - [`company`] keeps commits from going alone;
//! - [`link`] carries many forwarded requests at once;
//! - [`server`] answers them all.

pub mod company;
pub mod frame;
pub mod line;
pub mod link;
pub mod message;
pub mod network;
pub mod server;
