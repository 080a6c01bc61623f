//! What a nemesis did and saw, as it goes into a history and onto a terminal.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::effect::Effect;
use crate::fault::Fault;
use crate::journal::FaultId;
use crate::link::LinkMatrix;
use crate::node::{EndStatus, NodeId, NodeState};
use crate::probe::{LinkProbe, Probe};

/// Something that happened to the cluster by our hand, or in spite of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "lowercase")]
pub enum Record {
    /// A fault was applied.
    Applied(Applied),
    /// A fault was undone.
    Undone(Undone),
    /// A node died without being told to.
    Crashed {
        /// Which.
        node: NodeId,
        /// How, where that is known.
        status: Option<EndStatus>,
    },
    /// Something that had to be done between faults (an expiry, the next turn of
    /// a flapping link, rules laid again) could not be done.
    Trouble {
        /// What and why.
        message: String,
    },
}

/// A fault, applied and looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Applied {
    /// The number by which to undo it.
    pub id: FaultId,
    /// What was asked for.
    pub fault: Fault,
    /// Whom it hit: `n1, n2 | n3, n4, n5`.
    pub description: String,
    /// What it means for each link, process, disk and clock.
    pub effect: Effect,
    /// What was seen when looking whether it is there.
    pub seen: Vec<Probe>,
    /// True if everything looked at was as the fault wants it.
    pub bit: bool,
    /// True if nothing remains to be undone (a restart).
    pub over: bool,
}

/// A fault, undone and looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Undone {
    /// Its number.
    pub id: FaultId,
    /// What it was.
    pub fault: Fault,
    /// Whom it had hit.
    pub description: String,
    /// What was seen when looking whether it is gone.
    pub seen: Vec<Probe>,
    /// True if everything looked at was as it should be without it. (Other
    /// faults may still be in force: "should be" includes them.)
    pub healed: bool,
}

/// All faults undone and the whole cluster looked at.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Healed {
    /// What was undone.
    pub undone: Vec<Undone>,
    /// Every link and every process.
    pub seen: Vec<Probe>,
    /// True if every link carries packets and every node that we had taken down
    /// or stopped runs again.
    pub healed: bool,
}

/// The cluster at a glance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// `lab`, `docker`.
    pub backend: String,
    /// Who leads, where the cluster says so.
    pub leader: Option<NodeId>,
    /// Each node and what its process is doing.
    pub nodes: Vec<(NodeId, NodeState)>,
    /// How each link is meant to be.
    pub links: LinkMatrix,
    /// What became of packets sent over every link just now.
    pub reach: Vec<LinkProbe>,
    /// The faults in force.
    pub faults: Vec<InForce>,
}

/// A fault in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InForce {
    /// Its number.
    pub id: FaultId,
    /// What it is.
    pub fault: Fault,
    /// Whom it hits.
    pub description: String,
    /// Milliseconds since it was applied, or since it was found in the journal.
    pub since_ms: u64,
    /// Milliseconds until it is undone by itself, if it will be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left_ms: Option<u64>,
}

impl fmt::Display for Applied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.id, self.fault, self.description)?;
        f.write_str(if self.bit { "" } else { " (did NOT bite)" })
    }
}

impl fmt::Display for Undone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {} undone", self.id, self.fault, self.description)?;
        f.write_str(if self.healed { "" } else { " (NOT healed)" })
    }
}
