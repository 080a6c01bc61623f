//! Faults among nodes whose network is in the runner.

use std::sync::Arc;

use nemesis::probe::LinkProbe;
use nemesis::{Ability, Backend, BackendError, LinkMatrix, NodeId, NodeState, Unsupported};

use super::Network;
use super::network::Fate;
use super::process::Process;

/// Messages tried over a link that is bad in some share of all.
const SAMPLE: u32 = 200;

/// Faults in a cluster of [`Process`]es.
#[derive(Debug)]
pub(super) struct StdinJsonBackend {
    nodes: Vec<NodeId>,
    network: Arc<Network>,
    processes: Arc<Vec<Process>>,
}

impl StdinJsonBackend {
    pub(super) fn new(nodes: Vec<NodeId>, network: Arc<Network>, processes: Arc<Vec<Process>>) -> Self {
        Self {
            nodes,
            network,
            processes,
        }
    }

    fn process(&self, node: &NodeId) -> Result<&Process, BackendError> {
        let found = self.processes.iter().find(|process| process.id() == node);
        found.ok_or_else(|| BackendError::UnknownNode(node.clone()))
    }
}

impl Backend for StdinJsonBackend {
    fn name(&self) -> &'static str {
        "stdin-json"
    }

    fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    fn can(&self, ability: Ability) -> Result<(), Unsupported> {
        match ability {
            Ability::Partition | Ability::Links | Ability::Kill | Ability::Pause => Ok(()),
            other => Err(Unsupported::new(
                format!("nodes on standard input and output have no {other} to break"),
                "leave that fault away, or run a store with a network of its own",
            )),
        }
    }

    fn set_links(&mut self, links: &LinkMatrix) -> Result<(), BackendError> {
        self.network.lay(links);
        Ok(())
    }

    fn probe_links(
        &mut self,
        wanted: &LinkMatrix,
        links: &[(NodeId, NodeId)],
    ) -> Result<Vec<LinkProbe>, BackendError> {
        let probes = links.iter().filter_map(|(from, to)| {
            let (a, b) = (wanted.index_of(from)?, wanted.index_of(to)?);
            Some(self.probe(wanted, (from, a), (to, b)))
        });
        Ok(probes.collect())
    }

    fn state(&mut self, node: &NodeId) -> Result<NodeState, BackendError> {
        Ok(self.process(node)?.state())
    }

    fn kill(&mut self, node: &NodeId) -> Result<(), BackendError> {
        self.process(node)?.kill()
    }

    fn start(&mut self, node: &NodeId) -> Result<(), BackendError> {
        self.process(node)?.start()
    }

    fn pause(&mut self, node: &NodeId) -> Result<(), BackendError> {
        self.process(node)?.set_paused(true)
    }

    fn resume(&mut self, node: &NodeId) -> Result<(), BackendError> {
        self.process(node)?.set_paused(false)
    }
}

impl StdinJsonBackend {
    /// Asks the network what becomes of messages on this link, as it decides for every message.
    fn probe(
        &self,
        wanted: &LinkMatrix,
        (from, a): (&NodeId, usize),
        (to, b): (&NodeId, usize),
    ) -> LinkProbe {
        let link = *wanted.at(a, b);
        let sent = if link.is_good() || link.cut { 1 } else { SAMPLE };
        let stopped_before = self.network.stopped(a, b);
        let fates: Vec<Fate> = (0..sent).map(|_| self.network.fate(a, b)).collect();
        let took: Vec<u128> = fates
            .iter()
            .filter_map(|fate| match fate {
                Fate::Arrives { after, .. } => Some(after.as_micros()),
                Fate::Lost => None,
            })
            .collect();
        let twice = fates
            .iter()
            .any(|fate| matches!(fate, Fate::Arrives { twice: true, .. }));
        let arrived = u32::try_from(took.len()).unwrap_or(u32::MAX);
        let mean_us = (arrived > 0).then(|| (took.iter().sum::<u128>() / u128::from(arrived)) as u64);
        let slow = |wanted: u128| mean_us.is_some_and(|mean| u128::from(mean) * 2 >= wanted);
        let as_wanted = if link.cut {
            arrived == 0
        } else if link.is_good() {
            arrived == sent
        } else {
            let lossy = link.loss.get() == 0.0 || arrived < sent;
            let doubled = link.duplicate.get() == 0.0 || twice;
            let delayed = link.delay.is_none_or(|delay| slow(delay.mean.0.as_micros()));
            // There is no bandwidth here to take away.
            lossy && doubled && delayed && link.bandwidth.is_none()
        };
        LinkProbe {
            from: from.clone(),
            to: to.clone(),
            wanted: link,
            sent,
            arrived,
            mean_us,
            rate: None,
            stopped: Some(self.network.stopped(a, b) - stopped_before),
            as_wanted,
        }
    }
}
