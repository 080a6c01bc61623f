//! Which nodes a fault hits.

use std::fmt;
use std::str::FromStr;

use rand::RngExt;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::grudge::{ShapeError, check_groups};
use crate::node::NodeId;

/// The nodes that a fault hits, before anyone knows which they are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Target {
    /// These nodes.
    Named(Vec<NodeId>),
    /// One random node.
    One,
    /// A random group smaller than half, at least one node.
    Minority,
    /// A random group that is just a majority.
    Majority,
    /// Every node.
    All,
    /// Who leads when the fault strikes.
    Leader,
    /// Everyone but the leader.
    Followers,
}

impl Target {
    /// The nodes it means now, in the order of `nodes`.
    ///
    /// # Errors
    /// If it names a node that does not exist or one twice, or needs a leader
    /// and none is known.
    pub fn resolve(
        &self,
        nodes: &[NodeId],
        leader: Option<&NodeId>,
        rng: &mut impl RngExt,
    ) -> Result<Vec<NodeId>, ShapeError> {
        let majority = nodes.len() / 2 + 1;
        let mut pick = |count: usize| {
            let mut shuffled: Vec<&NodeId> = nodes.iter().collect();
            shuffled.shuffle(rng);
            shuffled.truncate(count);
            nodes
                .iter()
                .filter(|node| shuffled.contains(node))
                .cloned()
                .collect::<Vec<_>>()
        };
        Ok(match self {
            Target::Named(named) => {
                check_groups(std::slice::from_ref(named), nodes)?;
                named.clone()
            }
            Target::One => pick(1),
            Target::Minority => pick((nodes.len() - majority.min(nodes.len())).max(1)),
            Target::Majority => pick(majority),
            Target::All => nodes.to_vec(),
            Target::Leader => vec![leader.ok_or(ShapeError::NoLeader)?.clone()],
            Target::Followers => {
                let leader = leader.ok_or(ShapeError::NoLeader)?;
                nodes.iter().filter(|node| *node != leader).cloned().collect()
            }
        })
    }

    /// True if it can only be resolved by asking the cluster who leads.
    pub fn needs_leader(&self) -> bool {
        matches!(self, Target::Leader | Target::Followers)
    }
}

/// The text names no target.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no target: name nodes (n1,n3), or one, minority, majority, all, leader, followers")]
pub struct BadTarget(String);

impl FromStr for Target {
    type Err = BadTarget;

    fn from_str(text: &str) -> Result<Target, BadTarget> {
        Ok(match text {
            "one" => Target::One,
            "minority" => Target::Minority,
            "majority" => Target::Majority,
            "all" => Target::All,
            "leader" => Target::Leader,
            "followers" => Target::Followers,
            names => Target::Named(
                names
                    .split(',')
                    .map(str::parse)
                    .collect::<Result<Vec<NodeId>, _>>()
                    .map_err(|_| BadTarget(text.to_owned()))?,
            ),
        })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Named(nodes) => {
                f.write_str(&nodes.iter().map(NodeId::as_str).collect::<Vec<_>>().join(","))
            }
            Target::One => f.write_str("one"),
            Target::Minority => f.write_str("minority"),
            Target::Majority => f.write_str("majority"),
            Target::All => f.write_str("all"),
            Target::Leader => f.write_str("leader"),
            Target::Followers => f.write_str("followers"),
        }
    }
}

impl TryFrom<String> for Target {
    type Error = BadTarget;

    fn try_from(text: String) -> Result<Target, BadTarget> {
        text.parse()
    }
}

impl From<Target> for String {
    fn from(target: Target) -> String {
        target.to_string()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    use super::*;

    #[test]
    fn targets_pick_as_many_as_they_say() {
        for n in 1..=9 {
            let nodes: Vec<NodeId> = (1..=n).map(NodeId::numbered).collect();
            for seed in 0..50 {
                let mut rng = ChaCha8Rng::seed_from_u64(seed);
                let mut count = |target: Target| {
                    target
                        .resolve(&nodes, Some(&nodes[0]), &mut rng)
                        .expect("resolvable")
                        .len()
                };
                assert_eq!(count(Target::One), 1);
                assert_eq!(count(Target::All), n);
                assert_eq!(count(Target::Leader), 1);
                assert_eq!(count(Target::Followers), n - 1);
                assert!(count(Target::Majority) * 2 > n);
                assert!(n < 3 || count(Target::Minority) * 2 < n);
            }
        }
    }

    #[test]
    fn unknown_and_repeated_nodes_are_refused() {
        let nodes: Vec<NodeId> = (1..=3).map(NodeId::numbered).collect();
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut resolve = |text: &str| {
            text.parse::<Target>()
                .expect("parses")
                .resolve(&nodes, None, &mut rng)
        };
        assert!(matches!(resolve("n4"), Err(ShapeError::UnknownNode { .. })));
        assert!(matches!(resolve("n1,n1"), Err(ShapeError::Overlap(_))));
        assert_eq!(resolve("leader"), Err(ShapeError::NoLeader));
        assert!("n1,,n2".parse::<Target>().is_err());
    }
}
