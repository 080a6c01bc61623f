//! How packets fare from one node to another, and the full matrix of it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::duration::Span;
use crate::fault::Ability;
use crate::node::NodeId;

/// A probability from 0 to 1, written `5%` or `0.05`.
#[derive(Clone, Copy, Debug, Default, PartialEq, PartialOrd, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Probability(f64);

impl Probability {
    /// Never.
    pub const NEVER: Probability = Probability(0.0);
    /// Always.
    pub const ALWAYS: Probability = Probability(1.0);

    /// The probability `value`, if it is one.
    pub fn new(value: f64) -> Option<Probability> {
        (0.0..=1.0).contains(&value).then_some(Probability(value))
    }

    /// As a number from 0 to 1.
    pub fn get(self) -> f64 {
        self.0
    }

    /// At least one of two independent things happens.
    pub(crate) fn or(self, other: Probability) -> Probability {
        Probability((1.0 - (1.0 - self.0) * (1.0 - other.0)).clamp(0.0, 1.0))
    }
}

/// Not a probability.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0} is not a probability: write 5% or 0.05, from 0 to 1")]
pub struct BadProbability(String);

impl TryFrom<f64> for Probability {
    type Error = BadProbability;

    fn try_from(value: f64) -> Result<Probability, BadProbability> {
        Probability::new(value).ok_or_else(|| BadProbability(value.to_string()))
    }
}

impl From<Probability> for f64 {
    fn from(probability: Probability) -> f64 {
        probability.0
    }
}

impl FromStr for Probability {
    type Err = BadProbability;

    fn from_str(text: &str) -> Result<Probability, BadProbability> {
        let bad = || BadProbability(text.to_owned());
        let value = match text.strip_suffix('%') {
            Some(percent) => percent.parse::<f64>().map_err(|_| bad())? / 100.0,
            None => text.parse().map_err(|_| bad())?,
        };
        Probability::new(value).ok_or_else(bad)
    }
}

impl fmt::Display for Probability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Six digits of a percentage are finer than any link; rounding keeps
        // 0.07 from printing as 7.000000000000001%.
        write!(f, "{}%", (self.0 * 1e8).round() / 1e6)
    }
}

/// How the delays of a link spread around their mean.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Distribution {
    /// Evenly over mean +- jitter.
    #[default]
    Uniform,
    /// Normal with jitter as its standard deviation, never below zero.
    Normal,
    /// A long tail: most delays a little under the mean, a few many jitters above.
    Pareto,
}

/// Time that each packet of a link takes longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delay {
    /// Mean delay.
    pub mean: Span,
    /// Spread around the mean; what it means depends on the distribution.
    #[serde(default)]
    pub jitter: Span,
    /// Shape of the spread.
    #[serde(default)]
    pub distribution: Distribution,
}

impl Delay {
    /// The time by which nearly every packet (all, if uniform) has arrived.
    pub fn upper(&self) -> Duration {
        let spread = match self.distribution {
            Distribution::Uniform => 1,
            Distribution::Normal => 4,
            Distribution::Pareto => 12,
        };
        self.mean.0 + self.jitter.0 * spread
    }
}

/// What befalls the packets from one node to another. The default is a good link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Link {
    /// Nothing gets through.
    #[serde(skip_serializing_if = "is_false")]
    pub cut: bool,
    /// Each packet is late.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay: Option<Delay>,
    /// Share of packets that vanish.
    #[serde(skip_serializing_if = "is_never")]
    pub loss: Probability,
    /// Share of packets that arrive twice.
    #[serde(skip_serializing_if = "is_never")]
    pub duplicate: Probability,
    /// Share of packets that overtake those sent before them: they skip the
    /// delay. Without it a delayed link keeps its order, as a real path mostly does.
    #[serde(skip_serializing_if = "is_never")]
    pub reorder: Probability,
    /// Share of packets in which one bit is flipped; the receiver's checksum
    /// then throws nearly all of them away.
    #[serde(skip_serializing_if = "is_never")]
    pub corrupt: Probability,
    /// Bits per second that fit through; what exceeds a short queue is dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bandwidth: Option<u64>,
}

fn is_false(value: &bool) -> bool {
    !value
}

fn is_never(value: &Probability) -> bool {
    value.0 == 0.0
}

impl Link {
    /// A link through which nothing gets.
    pub const CUT: Link = Link {
        cut: true,
        delay: None,
        loss: Probability::NEVER,
        duplicate: Probability::NEVER,
        reorder: Probability::NEVER,
        corrupt: Probability::NEVER,
        bandwidth: None,
    };

    /// True for a link that does nothing to its packets.
    pub fn is_good(&self) -> bool {
        *self == Link::default()
    }

    /// What a backend must be able to do for it.
    pub fn needs(&self) -> Ability {
        let Link {
            delay,
            loss,
            duplicate,
            reorder,
            corrupt,
            bandwidth,
            ..
        } = self;
        let never = |share: &Probability| *share == Probability::NEVER;
        let only_stops = delay.is_none() && [duplicate, reorder, corrupt].into_iter().all(never);
        match (only_stops, never(loss), bandwidth) {
            (true, true, None) => Ability::Partition,
            (true, false, None) => Ability::Loss,
            (true, true, Some(_)) => Ability::Bandwidth,
            _ => Ability::Links,
        }
    }

    /// The link under both faults at once: delays add, the narrower bandwidth
    /// counts, and chances combine as those of independent accidents.
    pub fn and(&self, other: &Link) -> Link {
        Link {
            cut: self.cut || other.cut,
            delay: match (self.delay, other.delay) {
                (Some(a), Some(b)) => Some(Delay {
                    mean: Span(a.mean.0 + b.mean.0),
                    jitter: Span(a.jitter.0 + b.jitter.0),
                    distribution: if a.jitter >= b.jitter {
                        a.distribution
                    } else {
                        b.distribution
                    },
                }),
                (a, b) => a.or(b),
            },
            loss: self.loss.or(other.loss),
            duplicate: self.duplicate.or(other.duplicate),
            reorder: self.reorder.or(other.reorder),
            corrupt: self.corrupt.or(other.corrupt),
            bandwidth: match (self.bandwidth, other.bandwidth) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            },
        }
    }
}

impl fmt::Display for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.cut {
            return f.write_str("cut");
        }
        let mut parts = Vec::new();
        if let Some(delay) = self.delay {
            let mut text = format!("delay {}", delay.mean);
            if delay.jitter.0 > Duration::ZERO {
                text += &format!(" +- {}", delay.jitter);
            }
            match delay.distribution {
                Distribution::Uniform => {}
                Distribution::Normal => text += " normal",
                Distribution::Pareto => text += " pareto",
            }
            parts.push(text);
        }
        let shares = [
            ("loss", self.loss),
            ("duplicate", self.duplicate),
            ("reorder", self.reorder),
            ("corrupt", self.corrupt),
        ];
        for (name, share) in shares.into_iter().filter(|(_, share)| !is_never(share)) {
            parts.push(format!("{name} {share}"));
        }
        if let Some(bits) = self.bandwidth {
            parts.push(format!("bandwidth {}", Bandwidth(bits)));
        }
        f.write_str(if parts.is_empty() { "good" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

/// Bits per second, written `1mbit`, `512kbit`, `9600bit`, `2gbit`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bandwidth(pub u64);

/// Not a bandwidth.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a bandwidth: write 1mbit, 512kbit, 9600bit (at least 1bit)")]
pub struct BadBandwidth(String);

const RATES: [(&str, u64); 4] = [
    ("gbit", 1_000_000_000),
    ("mbit", 1_000_000),
    ("kbit", 1_000),
    ("bit", 1),
];

impl FromStr for Bandwidth {
    type Err = BadBandwidth;

    fn from_str(text: &str) -> Result<Bandwidth, BadBandwidth> {
        let bad = || BadBandwidth(text.to_owned());
        let (unit, scale) = RATES
            .iter()
            .find(|(unit, _)| text.ends_with(unit))
            .ok_or_else(bad)?;
        let number: u64 = text[..text.len() - unit.len()].parse().map_err(|_| bad())?;
        match number.checked_mul(*scale) {
            Some(bits) if bits > 0 => Ok(Bandwidth(bits)),
            _ => Err(bad()),
        }
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, scale) = RATES
            .iter()
            .find(|(_, scale)| self.0.is_multiple_of(*scale))
            .unwrap_or(&("bit", 1));
        write!(f, "{}{unit}", self.0 / scale)
    }
}

/// The state of every link of a cluster: one full matrix, so that applying it
/// leaves no question about what was there before.
///
/// Invariants: a square over a fixed list of distinct nodes; a node's link to
/// itself is good.
#[derive(Clone, Debug, PartialEq)]
pub struct LinkMatrix {
    nodes: Vec<NodeId>,
    links: Vec<Link>,
}

impl LinkMatrix {
    /// Every link of `nodes` good.
    ///
    /// # Panics
    /// If a node is named twice.
    pub fn good(nodes: &[NodeId]) -> LinkMatrix {
        for (i, node) in nodes.iter().enumerate() {
            assert!(!nodes[..i].contains(node), "node {node} is named twice");
        }
        LinkMatrix {
            nodes: nodes.to_vec(),
            links: vec![Link::default(); nodes.len() * nodes.len()],
        }
    }

    /// The nodes, in the order of the rows and columns.
    pub fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    /// Place of `node` among the nodes.
    pub fn index_of(&self, node: &NodeId) -> Option<usize> {
        self.nodes.iter().position(|other| other == node)
    }

    /// The link from the `from`th to the `to`th node.
    pub fn at(&self, from: usize, to: usize) -> &Link {
        &self.links[from * self.nodes.len() + to]
    }

    /// The link from one node to another; none if either is unknown.
    pub fn get(&self, from: &NodeId, to: &NodeId) -> Option<&Link> {
        Some(self.at(self.index_of(from)?, self.index_of(to)?))
    }

    /// Adds a fault to the link from one node to another. Unknown nodes and a
    /// node's link to itself are left alone.
    pub fn worsen(&mut self, from: &NodeId, to: &NodeId, by: &Link) {
        let (Some(row), Some(column)) = (self.index_of(from), self.index_of(to)) else {
            return;
        };
        if row != column {
            let link = &mut self.links[row * self.nodes.len() + column];
            *link = link.and(by);
        }
    }

    /// True if nothing is wrong with any link.
    pub fn is_good(&self) -> bool {
        self.links.iter().all(Link::is_good)
    }

    /// The links that are not good.
    pub fn worsened(&self) -> impl Iterator<Item = (&NodeId, &NodeId, &Link)> {
        self.pairs().filter(|(_, _, link)| !link.is_good())
    }

    /// Every link from a node to another one.
    pub fn pairs(&self) -> impl Iterator<Item = (&NodeId, &NodeId, &Link)> {
        let n = self.nodes.len();
        (0..n * n)
            .filter(move |k| k / n != k % n)
            .map(move |k| (&self.nodes[k / n], &self.nodes[k % n], &self.links[k]))
    }
}

/// One link with its ends, as it stands in files.
#[derive(Serialize, Deserialize)]
struct Entry {
    from: NodeId,
    to: NodeId,
    link: Link,
}

#[derive(Serialize, Deserialize)]
struct MatrixForm {
    nodes: Vec<NodeId>,
    worsened: Vec<Entry>,
}

impl Serialize for LinkMatrix {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let worsened = self
            .worsened()
            .map(|(from, to, link)| Entry {
                from: from.clone(),
                to: to.clone(),
                link: *link,
            })
            .collect();
        MatrixForm {
            nodes: self.nodes.clone(),
            worsened,
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for LinkMatrix {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<LinkMatrix, D::Error> {
        let form = MatrixForm::deserialize(deserializer)?;
        if (1..form.nodes.len()).any(|i| form.nodes[..i].contains(&form.nodes[i])) {
            return Err(serde::de::Error::custom("a node is named twice"));
        }
        let mut matrix = LinkMatrix::good(&form.nodes);
        for entry in &form.worsened {
            matrix.worsen(&entry.from, &entry.to, &entry.link);
        }
        Ok(matrix)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_on_one_link_combine() {
        let half = Link {
            loss: Probability(0.5),
            bandwidth: Some(1000),
            ..Link::default()
        };
        let other = Link {
            loss: Probability(0.5),
            bandwidth: Some(500),
            ..Link::default()
        };
        let both = half.and(&other);
        assert_eq!((both.loss.get(), both.bandwidth), (0.75, Some(500)));
        assert!(both.and(&Link::CUT).cut);
    }

    #[test]
    fn a_matrix_survives_json_and_never_cuts_a_node_from_itself() {
        let nodes = [NodeId::numbered(1), NodeId::numbered(2)];
        let mut matrix = LinkMatrix::good(&nodes);
        matrix.worsen(&nodes[0], &nodes[0], &Link::CUT);
        assert!(matrix.is_good());
        matrix.worsen(&nodes[0], &nodes[1], &Link::CUT);
        let json = serde_json::to_string(&matrix).expect("plain data");
        assert_eq!(
            json,
            r#"{"nodes":["n1","n2"],"worsened":[{"from":"n1","to":"n2","link":{"cut":true}}]}"#
        );
        assert_eq!(
            serde_json::from_str::<LinkMatrix>(&json).expect("what we wrote"),
            matrix
        );
    }

    #[test]
    fn shares_and_rates_read_as_people_write_them() {
        assert_eq!("5%".parse(), Ok(Probability(0.05)));
        assert_eq!(Probability(0.07).to_string(), "7%");
        assert!("101%".parse::<Probability>().is_err());
        assert!("NaN".parse::<Probability>().is_err());
        assert_eq!("512kbit".parse(), Ok(Bandwidth(512_000)));
        assert_eq!(Bandwidth(512_000).to_string(), "512kbit");
        for bad in ["0bit", "5", "mbit", "-1mbit"] {
            assert!(bad.parse::<Bandwidth>().is_err(), "{bad}");
        }
    }
}
