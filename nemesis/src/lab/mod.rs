//! The lab: a cluster of plain processes on one machine, each with a network of
//! its own, made by nothing but the kernel and rootless.
//!
//! Every node gets a network namespace with one device, whose packets go through
//! a switch of ours in the runner: that is where links are cut, delayed, lossy.
//! (Asked to, or without a TUN driver, it has the kernel's own network instead,
//! and iptables cut it: see [`Net`].)
//! The node in place `i` (from 0) of the list has the address 10.99.0.(i+1). The
//! runner sits at 10.99.0.254 with a way to every node that no partition touches:
//! faults hit what is between nodes, never what is between node and client.
//!
//! ```no_run
//! use nemesis::lab::{self, Lab, LabOptions, NodeSpec};
//!
//! fn main() -> Result<(), Box<dyn std::error::Error>> {
//!     let seat = lab::enter()?; // before any thread; the caller stays outside
//!     let node = NodeSpec {
//!         id: "n1".parse()?,
//!         program: "/usr/bin/python3".into(),
//!         args: ["-m", "http.server", "8000"].map(Into::into).to_vec(),
//!         env: Vec::new(),
//!         dir: "store/n1".into(),
//!         data: "store/n1/data".into(),
//!         log: "store/n1/node.log".into(),
//!         forward: vec![lab::Forwarding { port: 8000, host_port: 0 }],
//!     };
//!     let lab = Lab::start(seat, &LabOptions::default(), vec![node])?;
//!     println!("curl http://{}", lab.forwarded(&"n1".parse()?, 8000).expect("just asked for"));
//!     lab.stop();
//!     Ok(())
//! }
//! ```

mod backend;
mod clock;
mod company;
mod disk;
mod enter;
mod forward;
mod machine;
mod net;
pub(crate) mod rules;
mod star;
mod switch;

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::backend::{BackendError, Unsupported};
use crate::doctor;
use crate::namespace::{Namespace, probe_socket};
use crate::node::{NodeId, NodeState};
use crate::prober::Prober;

pub use backend::LabBackend;
pub use enter::{EnterError, Seat, enter};
pub use machine::{Forwarding, NodeSpec};

/// Most nodes that fit into the lab's network.
pub const MAX_NODES: usize = 250;
/// The runner's own address.
pub const RUNNER: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 254);

/// Address of the node in this place of the list, counted from 0.
///
/// # Panics
/// If there is no room for so many: see [`MAX_NODES`].
pub fn address_of(place: usize) -> Ipv4Addr {
    assert!(place < MAX_NODES, "the lab has room for {MAX_NODES} nodes");
    Ipv4Addr::new(10, 99, 0, place as u8 + 1)
}

/// What carries packets between the nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Net {
    /// The switch; where there is no TUN driver, iptables.
    #[default]
    Auto,
    /// Our own switch in user space: exact, and able to do everything to a packet.
    Switch,
    /// The kernel's bridge, with iptables and tc in each node's namespace: what
    /// containers and real hosts have.
    Iptables,
}

impl std::fmt::Display for Net {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Net::Auto => "auto",
            Net::Switch => "switch",
            Net::Iptables => "iptables",
        })
    }
}

impl std::str::FromStr for Net {
    type Err = String;

    fn from_str(text: &str) -> Result<Net, String> {
        match text {
            "auto" => Ok(Net::Auto),
            "switch" => Ok(Net::Switch),
            "iptables" => Ok(Net::Iptables),
            other => Err(format!(
                "{other:?} is no network of the lab: use switch, iptables or auto"
            )),
        }
    }
}

/// How a lab is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LabOptions {
    /// Decides which packets are lost, delayed, duplicated, corrupted.
    pub seed: u64,
    /// What carries packets between the nodes.
    pub net: Net,
    /// The device file of the TUN driver.
    pub tun: PathBuf,
    /// Each node's data folder is a simulated disk, for power failures and the other
    /// disk faults, instead of the ordinary one. At the end what is on it stays in
    /// the folder.
    pub simulated_disks: bool,
    /// Nodes look at clocks that can be made wrong, by libfaketime. Each look
    /// then costs them some microseconds.
    pub fake_clocks: bool,
}

impl Default for LabOptions {
    fn default() -> LabOptions {
        LabOptions {
            seed: 0,
            net: Net::Auto,
            tun: "/dev/net/tun".into(),
            simulated_disks: false,
            fake_clocks: false,
        }
    }
}

/// Why a lab could not be made.
#[derive(Debug, thiserror::Error)]
pub enum LabError {
    /// No nodes, too many, or two of one name.
    #[error("{0}")]
    Nodes(String),
    /// This machine lacks something.
    #[error("no lab here: {0}")]
    Unsupported(#[from] Unsupported),
    /// A port of the host could not be opened.
    #[error("port {port} of 127.0.0.1 for node {node}: {source}; choose another, or 0 for any")]
    Port {
        /// Whose.
        node: NodeId,
        /// Which.
        port: u16,
        /// What the system said.
        source: std::io::Error,
    },
    /// Namespaces, devices or threads could not be made.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A node could not be started.
    #[error(transparent)]
    Start(#[from] BackendError),
}

/// How a switch has done so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Switched {
    /// Packets passed on between all ports.
    pub packets: u64,
    /// Processor time that it took, all told.
    pub busy: Duration,
}

/// A running lab. Clones are the same lab; it is taken down by [`Lab::stop`], or
/// with the last clone.
#[derive(Clone, Debug)]
pub struct Lab {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    nodes: Vec<NodeId>,
    machines: Vec<Arc<machine::Machine>>,
    forwards: Mutex<BTreeMap<(NodeId, u16), forward::Forward>>,
    network: Network,
    spawner: machine::Spawner,
    _seat: Seat,
}

/// What carries the packets, and shows how they fare.
#[derive(Debug)]
enum Network {
    Switch {
        switch: switch::Switch,
        prober: Mutex<Prober>,
    },
    Star(Box<star::Star>),
}

impl Lab {
    /// Makes the network and starts the nodes. Returns when their processes run,
    /// not when they are ready: see [`Lab::wait_until`].
    ///
    /// # Errors
    /// A [`LabError`]; nothing is then left running.
    pub fn start(seat: Seat, options: &LabOptions, specs: Vec<NodeSpec>) -> Result<Lab, LabError> {
        let nodes: Vec<NodeId> = specs.iter().map(|spec| spec.id.clone()).collect();
        check_nodes(&nodes)?;
        let net = choose_net(options)?;
        let library = if options.fake_clocks {
            Some(doctor::find_faketime()?)
        } else {
            None
        };
        let mut ports = Vec::new();
        let mut sockets = Vec::new();
        let mut machines = Vec::new();
        let mut wanted = Vec::new();
        if net == Net::Iptables {
            star::bridge(RUNNER).map_err(|errno| no_star(errno.into()))?;
        }
        for (place, spec) in specs.into_iter().enumerate() {
            let address = address_of(place);
            let (namespace, device) = Namespace::new(|| {
                net::loopback_up()?;
                if net == Net::Iptables {
                    return Ok(None);
                }
                // The driver makes devices in the namespace that opened it.
                let device = open_tun(&options.tun)?;
                net::tun(&device, address)?;
                Ok(Some(device))
            })
            .map_err(system(format!("the network of node {}", spec.id)))?;
            match device {
                Some(device) => ports.push(switch::Port {
                    device,
                    last_byte: address.octets()[3],
                }),
                None => star::cable(&namespace, place, address).map_err(no_star)?,
            }
            let socket = namespace
                .inside(|| probe_socket(address))
                .map_err(system(format!("a probe socket in node {}", spec.id)))?;
            sockets.push(socket);
            let id = spec.id.clone();
            wanted.extend(spec.forward.iter().map(|forward| (id.clone(), address, *forward)));
            let disk = if options.simulated_disks {
                Some(mount_disk(&spec.data, disk::seed_of(options.seed, place))?)
            } else {
                None
            };
            let clock = match &library {
                Some(library) => Some(
                    clock::Clock::new(library, &spec.dir)
                        .map_err(system(format!("the clock of node {}", spec.id)))?,
                ),
                None => None,
            };
            machines.push(machine::Machine::new(spec, namespace, disk, clock));
        }
        let network = if net == Net::Iptables {
            let star = star::Star::new(&nodes, sockets).map_err(system("probe sockets".into()))?;
            Network::Star(Box::new(star))
        } else {
            let device = open_tun(&options.tun)
                .and_then(|device| net::tun(&device, RUNNER).map(|()| device).map_err(Into::into))
                .map_err(system("the runner's network".into()))?;
            ports.push(switch::Port {
                device,
                last_byte: RUNNER.octets()[3],
            });
            let switch = switch::Switch::start(machines.len(), ports, options.seed)
                .map_err(system("starting the switch".into()))?;
            let sockets = sockets.into_iter().map(Some).collect();
            let prober = Prober::new(sockets).map_err(system("probe sockets".into()))?;
            Network::Switch {
                switch,
                prober: Mutex::new(prober),
            }
        };
        let spawner = machine::Spawner::start().map_err(system("starting the spawner".into()))?;
        let mut forwards = BTreeMap::new();
        for (node, address, forwarding) in wanted {
            let forward = open_forward(&seat, &node, address, forwarding)?;
            forwards.insert((node, forwarding.port), forward);
        }
        let lab = Lab {
            inner: Arc::new(Inner {
                nodes,
                machines,
                forwards: Mutex::new(forwards),
                network,
                spawner,
                _seat: seat,
            }),
        };
        for machine in &lab.inner.machines {
            machine.start(&lab.inner.spawner)?;
        }
        Ok(lab)
    }

    /// The nodes, in order.
    pub fn nodes(&self) -> &[NodeId] {
        &self.inner.nodes
    }

    /// Address of a node, as the other nodes and the runner reach it.
    pub fn address(&self, node: &NodeId) -> Option<Ipv4Addr> {
        self.inner
            .nodes
            .iter()
            .position(|other| other == node)
            .map(address_of)
    }

    /// Where on the host's loopback this port of the node is reached.
    pub fn forwarded(&self, node: &NodeId, port: u16) -> Option<SocketAddr> {
        self.inner
            .forwards
            .lock()
            .get(&(node.clone(), port))
            .map(forward::Forward::host)
    }

    /// What the node's process is doing.
    ///
    /// # Errors
    /// If there is no such node.
    pub fn state(&self, node: &NodeId) -> Result<NodeState, BackendError> {
        self.machine(node)?.state()
    }

    /// The node's log file.
    pub fn log(&self, node: &NodeId) -> Option<&Path> {
        self.machine(node).ok().map(|machine| machine.spec.log.as_path())
    }

    /// The last lines of the node's log.
    pub fn log_tail(&self, node: &NodeId, lines: usize) -> Vec<String> {
        self.log(node)
            .map(|log| machine::tail(log, lines))
            .unwrap_or_default()
    }

    /// Waits until `ready` (asked again and again) says so.
    ///
    /// # Errors
    /// If the node dies before, or `patience` runs out: with the last lines of
    /// its log.
    pub fn wait_until(
        &self,
        node: &NodeId,
        ready: impl FnMut() -> bool,
        patience: Duration,
    ) -> Result<(), BackendError> {
        self.machine(node)?.wait_until(ready, patience)
    }

    /// Whether the nodes' data is on simulated disks.
    pub fn has_disks(&self) -> bool {
        self.inner
            .machines
            .iter()
            .all(|machine| machine.with_disk(|_| ()).is_some())
    }

    /// Whether the nodes' clocks can be made wrong.
    ///
    /// # Errors
    /// Why not.
    pub fn can_fake_clocks(&self) -> Result<(), Unsupported> {
        doctor::find_faketime()?;
        for machine in &self.inner.machines {
            if machine.clock().is_none() {
                return Err(Unsupported::new(
                    "this lab was started without wrong clocks",
                    "start one with them: nemesis lab --clocks, or workloads run --nemesis clock",
                ));
            }
            clock::can_be_fooled(&machine.spec.program)?;
        }
        Ok(())
    }

    /// What carries packets between the nodes: never [`Net::Auto`].
    pub fn net(&self) -> Net {
        match &self.inner.network {
            Network::Switch { .. } => Net::Switch,
            Network::Star(_) => Net::Iptables,
        }
    }

    /// How the switch has done so far; none where the kernel carries the packets.
    pub fn switched(&self) -> Option<Switched> {
        match &self.inner.network {
            Network::Switch { switch, .. } => Some(Switched {
                packets: switch.board().passed(),
                busy: switch.busy(),
            }),
            Network::Star(_) => None,
        }
    }

    /// A backend for a [`Nemesis`](crate::Nemesis).
    pub fn backend(&self) -> LabBackend {
        LabBackend::new(self.clone())
    }

    /// Kills all nodes and closes their forwarded ports. Harmless when repeated.
    pub fn stop(&self) {
        self.inner.stop();
    }

    fn machine(&self, node: &NodeId) -> Result<&Arc<machine::Machine>, BackendError> {
        let found = self
            .inner
            .machines
            .iter()
            .find(|machine| machine.spec.id == *node);
        found.ok_or_else(|| BackendError::UnknownNode(node.clone()))
    }
}

impl Inner {
    fn stop(&self) {
        self.forwards.lock().clear();
        // All at once: each takes as long as its process takes to die.
        std::thread::scope(|scope| {
            for machine in &self.machines {
                scope.spawn(|| {
                    if let Err(error) = machine.kill() {
                        tracing::warn!(%error, "taking the lab down");
                    }
                });
            }
        });
        self.spawner.stop();
        self.machines.iter().for_each(|machine| machine.unmount());
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.stop();
    }
}

fn check_nodes(nodes: &[NodeId]) -> Result<(), LabError> {
    if nodes.is_empty() || nodes.len() > MAX_NODES {
        return Err(LabError::Nodes(format!(
            "a lab has 1 to {MAX_NODES} nodes, not {}",
            nodes.len()
        )));
    }
    match (1..nodes.len()).find(|k| nodes[..*k].contains(&nodes[*k])) {
        Some(k) => Err(LabError::Nodes(format!("node {} is named twice", nodes[k]))),
        None => Ok(()),
    }
}

fn open_tun(path: &Path) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)
}

/// Which network it is to be.
fn choose_net(options: &LabOptions) -> Result<Net, LabError> {
    let why_no_switch = match (options.net, open_tun(&options.tun)) {
        (Net::Iptables, _) => return can_iptables().map(|()| Net::Iptables).map_err(Into::into),
        (_, Ok(_)) => return Ok(Net::Switch),
        (_, Err(error)) => doctor::why_no_tun(&options.tun, &error),
    };
    if options.net == Net::Auto && can_iptables().is_ok() {
        tracing::warn!("{why_no_switch}; until then the lab has the kernel's network, with iptables");
        return Ok(Net::Iptables);
    }
    Err(why_no_switch.into())
}

fn can_iptables() -> Result<(), Unsupported> {
    crate::kernel::Means::default().can(crate::fault::Ability::Partition)
}

fn no_star(source: std::io::Error) -> LabError {
    match source.raw_os_error().map(nix::errno::Errno::from_raw) {
        Some(nix::errno::Errno::EOPNOTSUPP | nix::errno::Errno::ENOPKG | nix::errno::Errno::ENOTTY) => {
            Unsupported::new(
                format!("this kernel has no bridge or no veth devices ({source})"),
                "run: sudo modprobe bridge veth; or use the switch (--net switch)",
            )
            .into()
        }
        _ => system("the lab's bridge".into())(source),
    }
}

fn mount_disk(path: &Path, seed: u64) -> Result<disk::Disk, LabError> {
    disk::Disk::mount(path, seed).map_err(|error| match OpenOptions::new().read(true).open(disk::DEVICE) {
        Err(device) => doctor::why_no_fuse(Path::new(disk::DEVICE), &device).into(),
        Ok(_) => system(format!("a simulated disk at {}", path.display()))(error),
    })
}

fn open_forward(
    seat: &Seat,
    node: &NodeId,
    address: Ipv4Addr,
    wanted: Forwarding,
) -> Result<forward::Forward, LabError> {
    let refused = |source| LabError::Port {
        node: node.clone(),
        port: wanted.host_port,
        source,
    };
    let (listener, host) = seat.listen_on_host(wanted.host_port).map_err(refused)?;
    forward::Forward::start(listener, host, SocketAddr::from((address, wanted.port)))
        .map_err(system(format!("forwarding to node {node}")))
}

fn system(what: String) -> impl FnOnce(std::io::Error) -> LabError {
    move |source| LabError::System { what, source }
}
