//! Drives a cluster under faults, records the history, and reports the verdict.

pub mod binary;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod config;
pub mod evidence;
pub mod generator;
pub mod hand;
pub mod list;
pub mod live;
pub mod recorder;
pub mod report;
pub mod runner;
pub mod store;
pub mod system;
