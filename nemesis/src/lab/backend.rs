//! The lab as a backend.

use crate::backend::{Backend, BackendError, Unsupported};
use crate::fault::{Ability, ClockFault, DiskFault};
use crate::lab::Lab;
use crate::lab::disk::Disk;
use crate::lab::rules::Rules;
use crate::link::LinkMatrix;
use crate::node::{NodeId, NodeState};
use crate::probe::{LinkProbe, Probe};

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
            Ability::PowerFailure | Ability::Disk if self.lab.has_disks() => Ok(()),
            Ability::PowerFailure | Ability::Disk => Err(Unsupported::new(
                "this lab has no simulated disks",
                "start it with them (`--disks`)",
            )),
            Ability::Clock => self.lab.can_fake_clocks(),
            // It asks the system itself, not us.
            Ability::Membership => Ok(()),
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

    fn power_off(&mut self, node: &NodeId, torn: bool) -> Result<Probe, BackendError> {
        let machine = self.lab.machine(node)?;
        // With the power goes the network: a killed process's connections are
        // closed by its kernel, a dead machine's are not.
        let board = self.lab.inner.switch.board();
        let place = self.lab.nodes().iter().position(|other| other == node);
        let (_, rules) = board.current();
        let lay = |rules| {
            board
                .lay(rules)
                .map_err(BackendError::system("laying rules on the lab's switch"))
        };
        if let Some(place) = place {
            lay(rules.without(place))?;
        }
        let killed = machine.kill();
        let seen = machine.with_disk(|disk| disk.lose(torn));
        lay(Rules::clone(&rules))?;
        killed?;
        let seen = seen.ok_or_else(|| BackendError::unsupported("lab", Ability::PowerFailure, node))?;
        Ok(Probe::Trial {
            node: node.clone(),
            seen,
            as_wanted: true,
        })
    }

    fn set_disk(&mut self, node: &NodeId, faults: &[DiskFault]) -> Result<Probe, BackendError> {
        let set_and_try = |disk: &Disk| match disk.set_faults(faults) {
            Ok(Some(flipped)) => (true, flipped),
            Ok(None) => disk.trial(),
            Err(why) => (false, why),
        };
        let seen = self.lab.machine(node)?.with_disk(set_and_try);
        let (as_wanted, seen) = seen.ok_or_else(|| BackendError::unsupported("lab", Ability::Disk, node))?;
        Ok(Probe::Trial {
            node: node.clone(),
            seen,
            as_wanted,
        })
    }

    fn set_clock(&mut self, node: &NodeId, fault: Option<ClockFault>) -> Result<Probe, BackendError> {
        let machine = self.lab.machine(node)?;
        let clock = machine
            .clock()
            .ok_or_else(|| BackendError::unsupported("lab", Ability::Clock, node))?;
        clock
            .set(fault)
            .map_err(BackendError::system(format!("the clock of node {node}")))?;
        let (as_wanted, seen) = clock.trial();
        Ok(Probe::Trial {
            node: node.clone(),
            seen,
            as_wanted,
        })
    }
}
