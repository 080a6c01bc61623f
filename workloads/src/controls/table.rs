//! The rows: which store under which faults must get which verdict.

use std::time::Duration;

/// A verdict that a row must get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Never a violation.
    Legal,
    /// A violation, found within the row's time.
    Illegal,
}

impl Verdict {
    /// As people say it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Legal => "legal",
            Self::Illegal => "ILLEGAL",
        }
    }
}

/// One control.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Row {
    /// What is tested, for people; unique.
    pub name: &'static str,
    /// The system, with its variant.
    pub system: &'static str,
    /// What the clients do.
    pub workload: &'static str,
    /// Nodes of the cluster.
    pub nodes: u8,
    /// The faults.
    pub nemesis: &'static str,
    /// How long the load lasts at most.
    pub time_limit: Duration,
    /// Operations a second.
    pub rate: u32,
    /// Keys at a time: few where a violation needs reads close behind writes.
    pub keys: u8,
    /// How long a client waits for an answer.
    pub timeout: Duration,
    /// Decides load and faults.
    pub seed: u64,
    /// The verdict that it must get.
    pub expected: Verdict,
}

impl Row {
    /// The arguments of `workloads` that run it, all but the store.
    #[must_use]
    pub fn arguments(&self) -> Vec<String> {
        let Self {
            system,
            workload,
            nodes,
            nemesis,
            time_limit,
            rate,
            keys,
            timeout,
            seed,
            ..
        } = self;
        let mut words = vec!["run".to_owned()];
        let flags = [
            ("--system", (*system).to_owned()),
            ("--workload", (*workload).to_owned()),
            ("--nodes", nodes.to_string()),
            ("--nemesis", (*nemesis).to_owned()),
            ("--time-limit", format!("{}s", time_limit.as_secs())),
            ("--rate", rate.to_string()),
            ("--keys", keys.to_string()),
            ("--timeout", format!("{}s", timeout.as_secs())),
            ("--seed", seed.to_string()),
        ];
        for (flag, value) in flags {
            words.extend([flag.to_owned(), value]);
        }
        words
    }
}

const LEGAL: Row = Row {
    name: "",
    system: "",
    workload: "cas-register",
    nodes: 3,
    nemesis: "none",
    time_limit: Duration::from_secs(30),
    rate: 500,
    keys: 10,
    timeout: Duration::from_secs(2),
    seed: 1,
    expected: Verdict::Legal,
};

const ILLEGAL: Row = Row {
    rate: 1000,
    keys: 4,
    expected: Verdict::Illegal,
    ..LEGAL
};

/// All controls, in the order in which they are run.
pub const ROWS: &[Row] = &[
    Row {
        name: "etcd, linearizable reads",
        system: "etcd",
        nemesis: "partition,pause,kill-one,kill-all",
        ..LEGAL
    },
    Row {
        name: "etcd, cas in two requests",
        system: "etcd:two-step-cas",
        nemesis: "partition-one,partition-halves,pause-one",
        ..LEGAL
    },
    Row {
        name: "etcd, serializable reads",
        system: "etcd:serializable",
        nemesis: "partition",
        ..ILLEGAL
    },
    Row {
        name: "zookeeper, get",
        system: "zookeeper",
        nemesis: "partition,pause",
        ..ILLEGAL
    },
    Row {
        name: "zookeeper, sync then get",
        system: "zookeeper:sync",
        nemesis: "partition-n1",
        ..LEGAL
    },
    Row {
        name: "zookeeper, sync at a paused leader",
        system: "zookeeper:sync",
        nemesis: "pause-leader",
        time_limit: Duration::from_secs(60),
        // What was asked before the pause is answered after it, if somebody still waits.
        timeout: Duration::from_secs(10),
        ..ILLEGAL
    },
    Row {
        name: "redis, read at a replica",
        system: "redis-sentinel",
        nemesis: "partition",
        ..ILLEGAL
    },
    Row {
        name: "redis sentinel, partition",
        system: "redis-sentinel:master-reads",
        nemesis: "partition-leader",
        ..ILLEGAL
    },
    Row {
        name: "redis sentinel, pause",
        system: "redis-sentinel:master-reads",
        nemesis: "pause-leader",
        ..ILLEGAL
    },
    Row {
        name: "redis sentinel, kill",
        system: "redis-sentinel:master-reads",
        nemesis: "kill-leader",
        time_limit: Duration::from_secs(60),
        ..ILLEGAL
    },
    Row {
        name: "redis, master only",
        system: "redis-sentinel:master-only",
        nemesis: "partition-n2",
        ..LEGAL
    },
    Row {
        name: "postgres, async replica read",
        system: "postgres",
        ..ILLEGAL
    },
    Row {
        name: "postgres, synchronous_commit=off",
        system: "postgres:async-commit",
        nodes: 1,
        nemesis: "kill-one",
        time_limit: Duration::from_secs(60),
        ..ILLEGAL
    },
    Row {
        name: "postgres, one node",
        system: "postgres",
        nodes: 1,
        nemesis: "kill-one",
        time_limit: Duration::from_secs(60),
        ..LEGAL
    },
    Row {
        name: "dqlite-demo",
        system: "dqlite-demo",
        workload: "register",
        nemesis: "partition-one,partition-halves,partition-majority,pause-one,kill-one",
        rate: 200,
        ..LEGAL
    },
    // Before 2.10 the leader of a stream holds a conditional write against what it has applied, not against what
    // it has proposed (nats-server issue 4320): of two at once both are accepted.
    Row {
        name: "nats, conditional writes",
        system: "nats",
        ..ILLEGAL
    },
    Row {
        name: "nats, plain writes",
        system: "nats",
        workload: "register",
        ..LEGAL
    },
];
