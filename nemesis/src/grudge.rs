//! Shapes of partitions, as pure functions from nodes to the links that are cut.
//!
//! A *grudge* (Jepsen's word) is the set of directed links over which nothing
//! gets through. Which nodes stand where is chosen with the caller's random
//! source, so a seed gives the same partition again.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

use rand::RngExt;
use rand::seq::SliceRandom;
use serde::{Deserialize, Serialize};

use crate::node::{NodeId, join};

/// How the cluster is taken apart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Shape {
    /// One node, this or a random one, alone.
    One(Option<NodeId>),
    /// A random group, smaller than half, apart from the rest.
    Minority,
    /// Two groups as equal as can be: of an even number, neither has a majority.
    Halves,
    /// The smallest group that is a majority, apart from the rest.
    Majority,
    /// Every node hears a majority, and no two hear the same one: nodes on a
    /// ring reach their neighbours. (Jepsen's `majorities-ring`. Of three nodes
    /// this is only possible one way round: each hears its predecessor.)
    MajoritiesRing,
    /// Two halves that see each other only through one node between them.
    Bridge,
    /// The leader alone.
    Leader,
    /// Each pair of nodes cut with even chances, at least one pair.
    Random,
    /// These groups apart from each other. Nodes not named keep all their links.
    Groups(Vec<Vec<NodeId>>),
}

/// Whether both directions of a link are cut, or which.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Nothing gets through either way.
    #[default]
    Both,
    /// What the first (isolated) group sends is lost; it still hears the others.
    Out,
    /// The first (isolated) group hears nothing; what it sends arrives.
    In,
}

/// Why a shape cannot be laid over these nodes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// The text names no shape.
    #[error(
        "{0:?} is no partition: use one [NODE], minority, halves, majority, majorities-ring, bridge, leader, random, or groups like n1,n2/n3,n4,n5"
    )]
    Unknown(String),
    /// A group names a node that does not exist.
    #[error("unknown node {node}: the nodes are {known}")]
    UnknownNode {
        /// The name that was given.
        node: NodeId,
        /// The names there are.
        known: String,
    },
    /// A node stands in two groups, or twice in one.
    #[error("node {0} is named twice: a node belongs to one group")]
    Overlap(NodeId),
    /// The shape needs more nodes.
    #[error("{shape} needs at least {needs} nodes, here are {nodes}")]
    TooFew {
        /// The shape.
        shape: Shape,
        /// How many nodes it needs.
        needs: usize,
        /// How many there are.
        nodes: usize,
    },
    /// No node is known to lead right now.
    #[error("no leader is known right now: try again, or name a node")]
    NoLeader,
}

/// The directed links that are cut, and in which groups that leaves the nodes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grudge {
    /// Cut links: nothing gets from the first node to the second.
    pub cuts: BTreeSet<(NodeId, NodeId)>,
    /// The partition in words: `n1, n2 | n3, n4, n5`.
    pub sentence: String,
}

/// Lays `shape` over `nodes`. `leader` is who leads now, where known.
///
/// # Errors
/// A [`ShapeError`] if the shape names unknown or overlapping nodes, needs more
/// nodes than there are, or needs a leader and none is known.
pub fn grudge(
    shape: &Shape,
    direction: Direction,
    nodes: &[NodeId],
    leader: Option<&NodeId>,
    rng: &mut impl RngExt,
) -> Result<Grudge, ShapeError> {
    let needs = match shape {
        Shape::Minority | Shape::MajoritiesRing | Shape::Bridge => 3,
        _ => 2,
    };
    if nodes.len() < needs {
        return Err(ShapeError::TooFew {
            shape: shape.clone(),
            needs,
            nodes: nodes.len(),
        });
    }
    let mut shuffled = nodes.to_vec();
    shuffled.shuffle(rng);
    let majority = nodes.len() / 2 + 1;
    let split = |at: usize| vec![shuffled[..at].to_vec(), shuffled[at..].to_vec()];
    let groups = match shape {
        Shape::One(None) => split(1),
        Shape::One(Some(node)) => alone(nodes, node)?,
        Shape::Leader => alone(nodes, leader.ok_or(ShapeError::NoLeader)?)?,
        Shape::Minority => split(rng.random_range(1..=nodes.len() - majority)),
        Shape::Halves => split(nodes.len() / 2),
        Shape::Majority => split(majority),
        Shape::Groups(groups) => {
            check_groups(groups, nodes)?;
            groups.clone()
        }
        Shape::MajoritiesRing => return Ok(ring(&shuffled, direction)),
        Shape::Bridge => return Ok(bridge(&shuffled, direction)),
        Shape::Random => return Ok(random(nodes, direction, rng)),
    };
    Ok(apart(&groups, direction))
}

fn alone(nodes: &[NodeId], node: &NodeId) -> Result<Vec<Vec<NodeId>>, ShapeError> {
    check_groups(&[vec![node.clone()]], nodes)?;
    let rest = nodes.iter().filter(|other| *other != node).cloned().collect();
    Ok(vec![vec![node.clone()], rest])
}

/// Every named node exists and is named once.
pub(crate) fn check_groups(groups: &[Vec<NodeId>], nodes: &[NodeId]) -> Result<(), ShapeError> {
    let mut seen = BTreeSet::new();
    for node in groups.iter().flatten() {
        if !nodes.contains(node) {
            return Err(ShapeError::UnknownNode {
                node: node.clone(),
                known: join(nodes),
            });
        }
        if !seen.insert(node) {
            return Err(ShapeError::Overlap(node.clone()));
        }
    }
    Ok(())
}

/// Cuts the link from `a` to `b` as the direction says, `a` being on the first side.
fn cut(cuts: &mut BTreeSet<(NodeId, NodeId)>, a: &NodeId, b: &NodeId, direction: Direction) {
    if direction != Direction::In {
        cuts.insert((a.clone(), b.clone()));
    }
    if direction != Direction::Out {
        cuts.insert((b.clone(), a.clone()));
    }
}

fn apart(groups: &[Vec<NodeId>], direction: Direction) -> Grudge {
    let mut cuts = BTreeSet::new();
    for (i, first) in groups.iter().enumerate() {
        for second in &groups[i + 1..] {
            for a in first {
                for b in second {
                    cut(&mut cuts, a, b, direction);
                }
            }
        }
    }
    let arrow = match direction {
        Direction::Both => " | ",
        Direction::Out => " -/-> ",
        Direction::In => " <-/- ",
    };
    let sides: Vec<String> = groups.iter().map(join).collect();
    Grudge {
        cuts,
        sentence: sides.join(arrow),
    }
}

/// Nodes on a ring hear their neighbours up to the distance that makes a majority.
fn ring(ring: &[NodeId], direction: Direction) -> Grudge {
    let n = ring.len();
    let reach = (n / 2).div_ceil(2);
    let mut cuts = BTreeSet::new();
    for (i, from) in ring.iter().enumerate() {
        for (j, to) in ring.iter().enumerate() {
            let ahead = (j + n - i) % n;
            let hears = match n {
                3 => ahead <= 1,
                _ => ahead.min(n - ahead) <= reach,
            };
            // One way: of two nodes out of reach, only the link that points
            // forward on the ring is cut, so each still hears a majority.
            let forward = ahead * 2 < n || (ahead * 2 == n && i < j);
            let pointed = match direction {
                Direction::Both => true,
                Direction::Out => forward,
                Direction::In => !forward,
            };
            if !hears && (pointed || n == 3) {
                cuts.insert((from.clone(), to.clone()));
            }
        }
    }
    let names: Vec<&str> = ring.iter().map(NodeId::as_str).collect();
    Grudge {
        cuts,
        sentence: format!("ring {} -> {}", names.join(" -> "), names[0]),
    }
}

fn bridge(nodes: &[NodeId], direction: Direction) -> Grudge {
    let (middle, rest) = nodes.split_first().expect("a bridge has at least three nodes");
    let (left, right) = rest.split_at(rest.len() / 2);
    let halves = apart(&[left.to_vec(), right.to_vec()], direction);
    Grudge {
        sentence: format!("{}, bridged by {middle}", halves.sentence),
        ..halves
    }
}

fn random(nodes: &[NodeId], direction: Direction, rng: &mut impl RngExt) -> Grudge {
    let pairs: Vec<(&NodeId, &NodeId)> = (0..nodes.len())
        .flat_map(|i| (i + 1..nodes.len()).map(move |j| (&nodes[i], &nodes[j])))
        .collect();
    let sure = rng.random_range(0..pairs.len());
    let mut cuts = BTreeSet::new();
    for (k, (a, b)) in pairs.into_iter().enumerate() {
        let turned = rng.random_bool(0.5);
        if rng.random_bool(0.5) || k == sure {
            let (a, b) = if turned { (b, a) } else { (a, b) };
            cut(&mut cuts, a, b, direction);
        }
    }
    let words: Vec<String> = cuts.iter().map(|(a, b)| format!("{a} -/-> {b}")).collect();
    Grudge {
        cuts,
        sentence: words.join(", "),
    }
}

impl FromStr for Shape {
    type Err = ShapeError;

    fn from_str(text: &str) -> Result<Shape, ShapeError> {
        let unknown = || ShapeError::Unknown(text.to_owned());
        let words: Vec<&str> = text.split_whitespace().collect();
        let shape = match words[..] {
            ["one"] => Shape::One(None),
            ["one", node] => Shape::One(Some(node.parse().map_err(|_| unknown())?)),
            ["minority"] => Shape::Minority,
            ["halves"] => Shape::Halves,
            ["majority"] => Shape::Majority,
            ["majorities-ring"] => Shape::MajoritiesRing,
            ["bridge"] => Shape::Bridge,
            ["leader"] => Shape::Leader,
            ["random"] => Shape::Random,
            [groups] if groups.contains('/') => {
                let group = |names: &str| {
                    names
                        .split(',')
                        .map(str::parse)
                        .collect::<Result<Vec<NodeId>, _>>()
                        .map_err(|_| unknown())
                };
                let groups = groups.split('/').map(group).collect::<Result<Vec<_>, _>>()?;
                let mut seen = BTreeSet::new();
                for node in groups.iter().flatten() {
                    if !seen.insert(node) {
                        return Err(ShapeError::Overlap(node.clone()));
                    }
                }
                Shape::Groups(groups)
            }
            _ => return Err(unknown()),
        };
        Ok(shape)
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::One(None) => f.write_str("one"),
            Shape::One(Some(node)) => write!(f, "one {node}"),
            Shape::Minority => f.write_str("minority"),
            Shape::Halves => f.write_str("halves"),
            Shape::Majority => f.write_str("majority"),
            Shape::MajoritiesRing => f.write_str("majorities-ring"),
            Shape::Bridge => f.write_str("bridge"),
            Shape::Leader => f.write_str("leader"),
            Shape::Random => f.write_str("random"),
            Shape::Groups(groups) => {
                let group =
                    |nodes: &Vec<NodeId>| nodes.iter().map(NodeId::as_str).collect::<Vec<_>>().join(",");
                f.write_str(&groups.iter().map(group).collect::<Vec<_>>().join("/"))
            }
        }
    }
}

impl TryFrom<String> for Shape {
    type Error = ShapeError;

    fn try_from(text: String) -> Result<Shape, ShapeError> {
        text.parse()
    }
}

impl From<Shape> for String {
    fn from(shape: Shape) -> String {
        shape.to_string()
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::ChaCha8Rng;

    use super::*;

    fn nodes(n: usize) -> Vec<NodeId> {
        (1..=n).map(NodeId::numbered).collect()
    }

    fn lay(shape: &str, direction: Direction, n: usize, seed: u64) -> Grudge {
        let nodes = nodes(n);
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        grudge(
            &shape.parse().expect("a shape"),
            direction,
            &nodes,
            Some(&nodes[1]),
            &mut rng,
        )
        .expect("it fits")
    }

    /// The nodes that each node hears, itself included.
    fn heard(grudge: &Grudge, n: usize) -> Vec<BTreeSet<NodeId>> {
        let hears = |to: &NodeId| {
            nodes(n)
                .into_iter()
                .filter(|from| !grudge.cuts.contains(&(from.clone(), to.clone())))
                .collect()
        };
        nodes(n).iter().map(hears).collect()
    }

    /// Sizes of the groups that see each other, smallest first.
    fn group_sizes(grudge: &Grudge, n: usize) -> Vec<usize> {
        let groups: BTreeSet<BTreeSet<NodeId>> = heard(grudge, n).into_iter().collect();
        let mut sizes: Vec<usize> = groups.iter().map(BTreeSet::len).collect();
        sizes.sort_unstable();
        sizes
    }

    #[test]
    fn every_shape_leaves_the_groups_that_it_promises() {
        for seed in 0..200 {
            for n in 2..=9 {
                assert_eq!(
                    group_sizes(&lay("one", Direction::Both, n, seed), n),
                    sorted([1, n - 1])
                );
                assert_eq!(
                    group_sizes(&lay("leader", Direction::Both, n, seed), n),
                    sorted([1, n - 1])
                );
                assert_eq!(
                    group_sizes(&lay("halves", Direction::Both, n, seed), n),
                    sorted([n / 2, n.div_ceil(2)])
                );
                let majority = n / 2 + 1;
                if n > 2 {
                    let sizes = group_sizes(&lay("majority", Direction::Both, n, seed), n);
                    assert_eq!(sizes, sorted([n - majority, majority]), "seed {seed}");
                    let sizes = group_sizes(&lay("minority", Direction::Both, n, seed), n);
                    assert!(
                        sizes[0] <= n - majority && sizes.iter().sum::<usize>() == n,
                        "seed {seed} {sizes:?}"
                    );
                }
                assert!(!lay("random", Direction::Both, n, seed).cuts.is_empty());
            }
        }
    }

    fn sorted<const N: usize>(mut sizes: [usize; N]) -> Vec<usize> {
        sizes.sort_unstable();
        sizes.to_vec()
    }

    #[test]
    fn on_the_ring_everyone_hears_a_majority_and_no_two_the_same() {
        for n in 3..=11 {
            for direction in [Direction::Both, Direction::Out, Direction::In] {
                let heard = heard(&lay("majorities-ring", direction, n, n as u64), n);
                assert!(
                    heard.iter().all(|set| set.len() > n / 2),
                    "{n} nodes {direction:?}: {heard:?}"
                );
                if direction == Direction::Both {
                    let distinct: BTreeSet<_> = heard.iter().collect();
                    assert_eq!(distinct.len(), n, "{n} nodes: {heard:?}");
                }
                assert!(
                    heard.iter().any(|set| set.len() < n),
                    "{n} nodes: nothing was cut"
                );
            }
        }
    }

    #[test]
    fn a_bridge_reaches_everyone_and_joins_two_halves() {
        for n in 3..=8 {
            let heard = heard(&lay("bridge", Direction::Both, n, 7), n);
            assert_eq!(
                heard.iter().filter(|set| set.len() == n).count(),
                1,
                "{n} nodes: {heard:?}"
            );
            assert!(
                heard
                    .iter()
                    .all(|set| set.len() == n || set.len() <= n.div_ceil(2) + 1),
                "{heard:?}"
            );
        }
    }

    #[test]
    fn one_way_cuts_half_of_the_links() {
        for shape in [
            "one n2",
            "halves",
            "bridge",
            "leader",
            "n1,n2/n3,n4,n5",
            "majorities-ring",
        ] {
            let both = lay(shape, Direction::Both, 5, 3).cuts;
            let out = lay(shape, Direction::Out, 5, 3).cuts;
            let back = lay(shape, Direction::In, 5, 3).cuts;
            assert_eq!(out.len() * 2, both.len(), "{shape}");
            assert!(
                out.is_disjoint(&back) && out.union(&back).count() == both.len(),
                "{shape}"
            );
        }
        let out = lay("one n2", Direction::Out, 3, 0).cuts;
        assert!(out.iter().all(|(from, _)| from.as_str() == "n2"), "{out:?}");
    }

    #[test]
    fn nodes_that_no_group_names_keep_their_links() {
        let cuts = lay("n1/n2", Direction::Both, 5, 0).cuts;
        assert_eq!(cuts.len(), 2, "{cuts:?}");
    }

    #[test]
    fn a_seed_gives_the_same_partition_again() {
        for shape in [
            "one",
            "minority",
            "halves",
            "majority",
            "majorities-ring",
            "bridge",
            "random",
        ] {
            assert_eq!(
                lay(shape, Direction::Both, 7, 99),
                lay(shape, Direction::Both, 7, 99),
                "{shape}"
            );
        }
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut rng = ChaCha8Rng::seed_from_u64(0);
        let mut lay = |shape: &str, n: usize| {
            let shape = shape.parse::<Shape>()?;
            grudge(&shape, Direction::Both, &nodes(n), None, &mut rng)
        };
        assert!(matches!(lay("n1,n2/n2,n3", 3), Err(ShapeError::Overlap(_))));
        assert!(matches!(lay("n1/n9", 3), Err(ShapeError::UnknownNode { .. })));
        assert!(matches!(lay("one n9", 3), Err(ShapeError::UnknownNode { .. })));
        assert!(matches!(
            lay("bridge", 2),
            Err(ShapeError::TooFew { needs: 3, .. })
        ));
        assert!(matches!(lay("one", 1), Err(ShapeError::TooFew { .. })));
        assert!(matches!(lay("leader", 3), Err(ShapeError::NoLeader)));
        for bad in ["", "half", "n1", "n1,/n2", "one n1 n2", "/"] {
            assert!(matches!(lay(bad, 3), Err(ShapeError::Unknown(_))), "{bad:?}");
        }
    }

    #[test]
    fn shapes_read_back_as_written() {
        for text in ["one", "one n2", "majorities-ring", "n1,n2/n3,n4,n5"] {
            assert_eq!(text.parse::<Shape>().expect("a shape").to_string(), text);
        }
    }
}
