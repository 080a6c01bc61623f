//! Real processes, real sockets, real files, SIGKILL.

mod harness;
mod http;

mod api;
mod bootstrap;
mod cli;
mod durability;
mod failover;
mod features;
mod membership;
mod planted;
