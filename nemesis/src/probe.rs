//! What was seen when looking whether a fault is there, or gone.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::link::Link;
use crate::node::{NodeId, NodeState};

/// One observation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "probe", rename_all = "lowercase")]
pub enum Probe {
    /// Packets were sent over a link.
    Link(LinkProbe),
    /// A process was looked at.
    Process {
        /// Whose.
        node: NodeId,
        /// What it was seen doing.
        #[serde(flatten)]
        seen: NodeState,
        /// True if that is what was wanted.
        as_wanted: bool,
    },
    /// Something else was tried: a disk, a clock, a membership list.
    Trial {
        /// Whose.
        node: NodeId,
        /// What was tried and what came of it.
        seen: String,
        /// True if that is what was wanted.
        as_wanted: bool,
    },
}

impl Probe {
    /// True if what was seen is what was wanted.
    pub fn as_wanted(&self) -> bool {
        match self {
            Probe::Link(probe) => probe.as_wanted,
            Probe::Process { as_wanted, .. } | Probe::Trial { as_wanted, .. } => *as_wanted,
        }
    }
}

/// What became of packets sent over one link to see how it fares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinkProbe {
    /// The sender.
    pub from: NodeId,
    /// The receiver.
    pub to: NodeId,
    /// How the link was meant to be.
    pub wanted: Link,
    /// Packets sent.
    pub sent: u32,
    /// Packets that arrived, duplicates not counted.
    pub arrived: u32,
    /// Mean time of those that arrived, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mean_us: Option<u64>,
    /// Bits a second at which they came through, where the link is meant to be narrow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u64>,
    /// Packets of any kind that the link is known to have stopped since it was
    /// last changed, where the backend counts them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stopped: Option<u64>,
    /// True if the link behaves as wanted.
    pub as_wanted: bool,
}

impl fmt::Display for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Probe::Link(probe) => probe.fmt(f)?,
            Probe::Process { node, seen, .. } => write!(f, "{node} is {seen}")?,
            Probe::Trial { node, seen, .. } => write!(f, "{node}: {seen}")?,
        }
        f.write_str(if self.as_wanted() { "" } else { " (NOT as wanted)" })
    }
}

impl fmt::Display for LinkProbe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let arrow = if self.arrived == 0 { "-/->" } else { "->" };
        write!(
            f,
            "{} {arrow} {}: {} of {} arrived",
            self.from, self.to, self.arrived, self.sent
        )?;
        if let Some(us) = self.mean_us {
            write!(f, ", {}.{:03} ms", us / 1000, us % 1000)?;
        }
        if let Some(rate) = self.rate {
            write!(f, ", {} kbit/s", rate / 1000)?;
        }
        match self.stopped {
            Some(stopped) if stopped > 0 => write!(f, ", {stopped} stopped"),
            _ => Ok(()),
        }
    }
}
