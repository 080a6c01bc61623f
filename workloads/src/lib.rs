//! Drives a cluster under faults, records the history, and reports the verdict.
