//! The lab as a backend.

use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;

use crate::backend::{Backend, BackendError, Unsupported};
use crate::damage;
use crate::fault::{Ability, ClockFault, Damage, DiskFault};
use crate::lab::disk::Disk;
use crate::lab::rules::Rules;
use crate::lab::{Lab, Network};
use crate::link::{Link, LinkMatrix};
use crate::node::{NodeId, NodeState};
use crate::probe::{LinkProbe, Probe};

/// How long a sync is waited for that a failure of power can tear.
const BUSY: Duration = Duration::from_millis(100);

/// Faults in a lab.
#[derive(Debug)]
pub struct LabBackend {
    lab: Lab,
}

impl LabBackend {
    pub(super) fn new(lab: Lab) -> LabBackend {
        LabBackend { lab }
    }

    fn network(&self) -> &Network {
        &self.lab.inner.network
    }

    fn lay(&self, links: &LinkMatrix) -> Result<(), BackendError> {
        match self.network() {
            Network::Switch { switch, .. } => {
                let n = links.nodes().len();
                let all = (0..n * n).map(|k| *links.at(k / n, k % n)).collect();
                let laid = switch.board().lay(Rules::from_links(n, all));
                laid.map_err(BackendError::system("laying rules on the lab's switch"))
            }
            Network::Star(star) => star
                .lay(&self.lab.inner.machines, links)
                .map_err(BackendError::system("laying iptables rules in the lab")),
        }
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
            Ability::Partition | Ability::Links | Ability::Loss | Ability::Bandwidth => {
                match self.network() {
                    Network::Switch { .. } => Ok(()),
                    Network::Star(star) => star.means.can(ability),
                }
            }
            Ability::Kill | Ability::Pause | Ability::Damage => Ok(()),
            Ability::PowerFailure | Ability::Disk if self.lab.has_disks() => Ok(()),
            Ability::PowerFailure | Ability::Disk => Err(Unsupported::new(
                "this lab has no simulated disks",
                "start one with them: nemesis lab --disks, or workloads run --nemesis power-failure",
            )),
            Ability::Clock => self.lab.can_fake_clocks(),
            // It asks the system itself, not us.
            Ability::Membership => Ok(()),
        }
    }

    fn set_links(&mut self, links: &LinkMatrix) -> Result<(), BackendError> {
        self.lay(links)
    }

    fn probe_links(
        &mut self,
        wanted: &LinkMatrix,
        links: &[(NodeId, NodeId)],
    ) -> Result<Vec<LinkProbe>, BackendError> {
        let probes = match self.network() {
            Network::Switch { switch, prober } => prober.lock().probe(wanted, links, Some(switch.board())),
            Network::Star(star) => star.probe(&self.lab.inner.machines, wanted, links),
        };
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
        // What the disk was just about to sync when the power failed. The node is still heard: cut off, it
        // would have little to write.
        if torn {
            machine.with_disk(|disk| disk.be_busy(BUSY));
        }
        // With the power goes the network: a killed process's connections are
        // closed by its kernel, a dead machine's are not.
        let laid = match self.network() {
            Network::Switch { switch, .. } => switch.board().matrix(self.lab.nodes()),
            Network::Star(star) => star.laid(),
        };
        self.lay(&without(&laid, node))?;
        // A process that waits for a sync ends only when that fails.
        let killed = machine.kill_and(|| {
            machine.with_disk(Disk::power_off);
        });
        let seen = machine.with_disk(|disk| disk.power_on(torn));
        self.lay(&laid)?;
        killed?;
        let seen = seen.ok_or_else(|| BackendError::unsupported("lab", Ability::PowerFailure, node))?;
        Ok(Probe::Trial {
            node: node.clone(),
            seen,
            as_wanted: true,
        })
    }

    fn damage(&mut self, node: &NodeId, damage: Damage, seed: u64) -> Result<Probe, BackendError> {
        let machine = self.lab.machine(node)?;
        let mut rng = ChaCha8Rng::seed_from_u64(seed);
        let data = std::slice::from_ref(&machine.spec.data);
        let (as_wanted, seen) = damage::damage_folders(damage, data, &mut rng)
            .map_err(BackendError::system(format!("damaging files of node {node}")))?;
        Ok(Probe::Trial {
            node: node.clone(),
            seen,
            as_wanted,
        })
    }

    fn wipe(&mut self, node: &NodeId) -> Result<(), BackendError> {
        let machine = self.lab.machine(node)?;
        damage::empty(std::slice::from_ref(&machine.spec.data)).map_err(BackendError::system(format!(
            "emptying the data folder of node {node}"
        )))
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

/// The same links, and nothing gets to or from `node`.
fn without(links: &LinkMatrix, node: &NodeId) -> LinkMatrix {
    let mut links = links.clone();
    for other in links.nodes().to_vec() {
        links.worsen(node, &other, &Link::CUT);
        links.worsen(&other, node, &Link::CUT);
    }
    links
}
