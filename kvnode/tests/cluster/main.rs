//! Real processes, real sockets, real files, SIGKILL.

mod harness;
mod http;

mod api;
mod backup;
mod bootstrap;
mod certs;
mod cli;
mod deploy;
mod disk;
mod durability;
mod failover;
mod features;
mod limits;
mod load;
mod membership;
mod operations;
mod peers;
mod planted;
mod restored;
mod security;
mod terminal;
