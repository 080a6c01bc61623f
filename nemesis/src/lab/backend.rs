//! The lab as a backend.

use crate::backend::{Backend, BackendError, Unsupported};
use crate::fault::Ability;
use crate::lab::Lab;
use crate::lab::rules::Rules;
use crate::link::LinkMatrix;
use crate::node::{NodeId, NodeState};
use crate::probe::LinkProbe;

/// Faults in a lab.
#[derive(Debug)]
pub struct LabBackend {
    lab: Lab,
}

impl LabBackend {
    pub(super) fn new(lab: Lab) -> LabBackend {
        LabBackend { lab }
    }
}

impl Backend for LabBackend {
    fn name(&self) -> &'static str {
        "lab"
    }

    fn nodes(&self) -> &[NodeId] {
        self.lab.nodes()
    }

    fn can(&self, ability: Ability) -> Result<(), Unsupported> {
        match ability {
            Ability::Partition | Ability::Links | Ability::Kill | Ability::Pause => Ok(()),
            _ => Err(Unsupported::new(
                format!("this lab has no {ability} faults"),
                "leave them out",
            )),
        }
    }

    fn set_links(&mut self, links: &LinkMatrix) -> Result<(), BackendError> {
        let n = links.nodes().len();
        let all = (0..n * n).map(|k| *links.at(k / n, k % n)).collect();
        let laid = self.lab.inner.switch.board().lay(Rules::from_links(n, all));
        laid.map_err(BackendError::system("laying rules on the lab's switch"))
    }

    fn probe_links(
        &mut self,
        wanted: &LinkMatrix,
        links: &[(NodeId, NodeId)],
    ) -> Result<Vec<LinkProbe>, BackendError> {
        let board = self.lab.inner.switch.board();
        let probes = self.lab.inner.prober.lock().probe(wanted, links, board);
        probes.map_err(BackendError::system("probing links of the lab"))
    }

    fn state(&mut self, node: &NodeId) -> Result<NodeState, BackendError> {
        self.lab.machine(node)?.state()
    }

    fn kill(&mut self, node: &NodeId) -> Result<(), BackendError> {
        self.lab.machine(node)?.kill()
    }

    fn start(&mut self, node: &NodeId) -> Result<(), BackendError> {
        self.lab.machine(node)?.start(&self.lab.inner.spawner)
    }

    fn pause(&mut self, node: &NodeId) -> Result<(), BackendError> {
        self.lab.machine(node)?.pause()
    }

    fn resume(&mut self, node: &NodeId) -> Result<(), BackendError> {
        self.lab.machine(node)?.resume()
    }
}
