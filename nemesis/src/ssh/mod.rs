//! A cluster on other machines, reached by ssh. Experimental.
//!
//! Links are worsened by iptables and tc over there, with the very same chain as
//! in containers; processes are found, signalled and started by the commands that
//! the cluster file gives. Nothing is installed, and nothing of ours runs there
//! but a shell. Rules name addresses of nodes, so whoever works from another
//! machine is never cut off.

mod line;
mod pings;

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::backend::{Backend, BackendError, Unsupported, await_state};
use crate::cluster_file::ClusterNode;
use crate::damage::{self, Found, Wound};
use crate::fault::{Ability, Damage};
use crate::kernel::{self, Addresses, Count, Counting};
use crate::link::{Link, LinkMatrix};
use crate::node::{NodeId, NodeState};
use crate::probe::{LinkProbe, Probe};
use crate::prober;

use line::{Line, Spare, quoted};

/// Time between two looks whether a machine has lost its rules.
const GLANCE: Duration = Duration::from_secs(1);
/// Time between two looks at a process over there.
const LOOK: Duration = Duration::from_millis(10);

/// How the machines of a cluster are reached, and what runs on them. In the
/// commands `{node}` and `{address}` are filled in.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SshCluster {
    /// Further arguments of ssh: `["-i", "key", "-p", "2222"]`.
    #[serde(default)]
    pub options: Vec<String>,
    /// As whom; by default as ssh's own configuration says.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Where ssh goes for a node, if that is not its address.
    #[serde(default)]
    pub hosts: BTreeMap<NodeId, String>,
    /// The user is not root over there, and may `sudo` without a password.
    #[serde(default)]
    pub sudo: bool,
    /// Prints the process ids of the node, or nothing: `pgrep -x etcd`.
    pub pids: String,
    /// Starts the node, and returns: `systemctl start etcd`.
    pub start: String,
    /// The folder of its data, if it may be damaged or thrown away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub data: Option<String>,
}

/// Faults on machines reached by ssh.
#[derive(Debug)]
pub struct SshBackend {
    cluster: SshCluster,
    nodes: Vec<NodeId>,
    addresses: Addresses,
    lines: BTreeMap<NodeId, Line>,
    /// Nodes whose death was asked for.
    asked: BTreeSet<NodeId>,
    /// What each machine had of us when rules were last laid.
    marks: BTreeMap<NodeId, Mark>,
    glanced: Instant,
    means: BTreeMap<Ability, OnceLock<Result<(), Unsupported>>>,
}

/// By what a machine is known again, and what of ours it has.
#[derive(Debug, PartialEq, Eq)]
struct Mark {
    /// Another one with every boot.
    boot: String,
    /// Lines of ours in the filter table, and queues of ours.
    ours: String,
}

impl Mark {
    fn of(line: &Line) -> std::io::Result<Mark> {
        let (chain, root) = (kernel::CHAIN, kernel::ROOT);
        let printed = line.script(&format!(
            "cat /proc/sys/kernel/random/boot_id; iptables-save -t filter | grep -c {chain}; \
             tc qdisc show 2>/dev/null | grep -c ' {root} '; true"
        ))?;
        let (boot, ours) = printed.split_once('\n').unwrap_or((&printed, ""));
        Ok(Mark {
            boot: boot.to_owned(),
            ours: ours.to_owned(),
        })
    }
}

/// Why a cluster cannot be reached by ssh.
#[derive(Debug, thiserror::Error)]
pub enum SshError {
    /// A node's address is none that rules could name.
    #[error("node {node}: {address:?} is no IPv4 address: the rules on the other machines name it")]
    Address {
        /// Which node.
        node: NodeId,
        /// What the cluster file has.
        address: String,
    },
    /// A machine does not answer, or refuses.
    #[error("node {node} is not reached by `{command}`: {source}")]
    Unreachable {
        /// Which node.
        node: NodeId,
        /// How it was tried.
        command: String,
        /// What ssh said.
        source: std::io::Error,
    },
}

impl SshBackend {
    /// Connects to every machine.
    ///
    /// # Errors
    /// If one is not reached, or has no proper address.
    pub fn connect(cluster: &SshCluster, nodes: &[ClusterNode]) -> Result<SshBackend, SshError> {
        let mut addresses = Addresses::new();
        let mut lines = BTreeMap::new();
        for node in nodes {
            let address = node.address.parse().map_err(|_| SshError::Address {
                node: node.id.clone(),
                address: node.address.clone(),
            })?;
            addresses.insert(node.id.clone(), vec![address]);
            lines.insert(node.id.clone(), Line::new(command(cluster, node)));
        }
        let backend = SshBackend {
            cluster: cluster.clone(),
            nodes: nodes.iter().map(|node| node.id.clone()).collect(),
            addresses,
            lines,
            asked: BTreeSet::new(),
            marks: BTreeMap::new(),
            glanced: Instant::now(),
            means: Ability::ALL.map(|ability| (ability, OnceLock::new())).into(),
        };
        let greeted = backend.everywhere(|_, line| line.script("true"));
        for (node, greeted) in nodes.iter().zip(greeted) {
            greeted.map_err(|source| SshError::Unreachable {
                node: node.id.clone(),
                command: command(cluster, node).join(" "),
                source,
            })?;
        }
        Ok(backend)
    }

    /// Does something at all machines at once.
    fn everywhere<T: Send>(&self, work: impl Fn(&NodeId, &Line) -> T + Sync) -> Vec<T> {
        kernel::everywhere(&self.nodes, |node| work(node, &self.lines[node]))
    }

    fn line(&self, node: &NodeId) -> Result<&Line, BackendError> {
        self.lines
            .get(node)
            .ok_or_else(|| BackendError::UnknownNode(node.clone()))
    }

    fn filled(&self, text: &str, node: &NodeId) -> String {
        let address = self.addresses.get(node).and_then(|all| all.first());
        let address = address.map(Ipv4Addr::to_string).unwrap_or_default();
        text.replace("{node}", node.as_str())
            .replace("{address}", &address)
    }

    fn signal(
        &mut self,
        node: &NodeId,
        signal: &str,
        done: impl Fn(NodeState) -> bool,
    ) -> Result<(), BackendError> {
        let pids = self.filled(&self.cluster.pids, node);
        // One that ends meanwhile is no error; what came of it is looked at below.
        let script = format!("for p in $({pids}); do kill -{signal} \"$p\" 2>/dev/null; done; true");
        let what = format!("SIG{signal} to node {node}");
        self.line(node)?
            .script(&script)
            .map_err(BackendError::system(&what))?;
        await_state(self, node, &what, done, LOOK)
    }

    fn try_everywhere(&self, ability: Ability) -> Result<(), Unsupported> {
        let tried = self.everywhere(|node, line| {
            kernel::try_out(&Spare(line), ability)
                .map_err(|why| Unsupported::new(format!("on {node}: {}", why.reason), why.mend))
        });
        tried.into_iter().collect()
    }

    fn data(&self, node: &NodeId) -> Result<String, BackendError> {
        let data = self.cluster.data.as_ref();
        let data = data.ok_or_else(|| BackendError::unsupported("ssh", Ability::Damage, node))?;
        Ok(quoted(&self.filled(data, node)))
    }

    fn counts(&self) -> Result<BTreeMap<NodeId, BTreeMap<Ipv4Addr, Count>>, BackendError> {
        let counted = self.everywhere(|_, line| kernel::counts(line));
        let named = self.nodes.iter().zip(counted);
        named
            .map(|(node, counted)| {
                let counted =
                    counted.map_err(BackendError::system(format!("iptables counters of node {node}")))?;
                Ok((node.clone(), counted))
            })
            .collect()
    }
}

/// The ssh that leads to a shell on a node's machine.
fn command(cluster: &SshCluster, node: &ClusterNode) -> Vec<String> {
    let mut words: Vec<String> = ["ssh", "-T", "-o", "BatchMode=yes", "-o", "ConnectTimeout=5"]
        .map(str::to_owned)
        .to_vec();
    words.extend(["-o".to_owned(), "ServerAliveInterval=5".to_owned()]);
    words.extend(cluster.options.iter().cloned());
    if let Some(user) = &cluster.user {
        words.extend(["-l".to_owned(), user.clone()]);
    }
    words.push("--".to_owned());
    words.push(cluster.hosts.get(&node.id).unwrap_or(&node.address).clone());
    words.push(
        if cluster.sudo {
            "exec sudo -n sh"
        } else {
            "exec sh"
        }
        .to_owned(),
    );
    words
}

impl Backend for SshBackend {
    fn name(&self) -> &'static str {
        "ssh"
    }

    fn nodes(&self) -> &[NodeId] {
        &self.nodes
    }

    fn can(&self, ability: Ability) -> Result<(), Unsupported> {
        match ability {
            Ability::Kill | Ability::Pause | Ability::Membership => Ok(()),
            Ability::Partition | Ability::Loss | Ability::Bandwidth | Ability::Links => self.means[&ability]
                .get_or_init(|| self.try_everywhere(ability))
                .clone(),
            Ability::Damage if self.cluster.data.is_some() => Ok(()),
            Ability::Damage => Err(Unsupported::new(
                "nobody said where the nodes' data is",
                "add \"data\" to the backend in cluster.json",
            )),
            Ability::PowerFailure | Ability::Disk | Ability::Clock => Err(Unsupported::new(
                format!("the ssh backend has no {ability} faults"),
                "run the cluster in the lab",
            )),
        }
    }

    fn set_links(&mut self, links: &LinkMatrix) -> Result<(), BackendError> {
        // While anything is worse than good, everything is counted everywhere: we
        // have no socket over there to see by.
        let counting = if links.is_good() {
            Counting::Stopped
        } else {
            Counting::All
        };
        let laid = self.everywhere(|node, line| kernel::lay(line, node, links, &self.addresses, counting));
        for (node, laid) in self.nodes.iter().zip(laid) {
            laid.map_err(BackendError::system(format!(
                "rules on the machine of node {node}"
            )))?;
        }
        self.marks.clear();
        if !links.is_good() {
            let marks = self.everywhere(|_, line| Mark::of(line));
            let known = self.nodes.iter().cloned().zip(marks);
            self.marks = known
                .filter_map(|(node, mark)| Some((node, mark.ok()?)))
                .collect();
        }
        self.glanced = Instant::now();
        Ok(())
    }

    fn probe_links(
        &mut self,
        wanted: &LinkMatrix,
        links: &[(NodeId, NodeId)],
    ) -> Result<Vec<LinkProbe>, BackendError> {
        let before = self.counts()?;
        let seen = self.everywhere(|node, line| {
            let to = links.iter().filter(|(from, to)| from == node && to != node);
            let targets: Vec<(Ipv4Addr, Link)> = to
                .filter_map(|(from, to)| Some((self.addresses.get(to)?[0], *wanted.get(from, to)?)))
                .collect();
            if targets.is_empty() {
                return Ok(BTreeMap::new());
            }
            pings::ping(line, &targets)
        });
        let mut pings = BTreeMap::new();
        for (node, seen) in self.nodes.iter().zip(seen) {
            let seen = seen.map_err(BackendError::system(format!(
                "ping on the machine of node {node}"
            )))?;
            pings.insert(node.clone(), seen);
        }
        let after = self.counts()?;
        let report = |(from, to): &(NodeId, NodeId)| {
            let link = *wanted.get(from, to)?;
            let (source, target) = (self.addresses.get(from)?[0], self.addresses.get(to)?[0]);
            let pings = pings.get(from)?.get(&target).copied().unwrap_or_default();
            let grown = |pick: fn(&Count) -> u64| {
                let of = |counts: &BTreeMap<NodeId, BTreeMap<Ipv4Addr, Count>>| {
                    counts.get(to)?.get(&source).map(pick)
                };
                of(&after).map(|after| after.saturating_sub(of(&before).unwrap_or(0)))
            };
            Some(judge(
                from,
                to,
                &link,
                &pings,
                grown(|c| c.stopped),
                grown(|c| c.passed),
            ))
        };
        Ok(links.iter().filter_map(report).collect())
    }

    fn forgot_links(&mut self) -> bool {
        if self.marks.is_empty() || self.glanced.elapsed() < GLANCE {
            return false;
        }
        self.glanced = Instant::now();
        let marks = self.everywhere(|_, line| Mark::of(line));
        let mut forgot = false;
        for (node, mark) in self.nodes.iter().zip(marks) {
            // One that is not reached now may be on its way up again.
            if let (Ok(mark), Some(laid)) = (mark, self.marks.get(node))
                && mark != *laid
            {
                let why = if mark.boot == laid.boot {
                    "somebody changed the rules on it"
                } else {
                    "it was booted anew"
                };
                tracing::warn!(%node, "the machine is not as we left it ({why}): laying its links again");
                forgot = true;
            }
        }
        forgot
    }

    fn state(&mut self, node: &NodeId) -> Result<NodeState, BackendError> {
        let pids = self.filled(&self.cluster.pids, node);
        let script = format!(
            "for p in $({pids}); do sed -e 's/.*) //' -e 's/ .*//' \"/proc/$p/stat\" 2>/dev/null; done; true"
        );
        let printed = self
            .line(node)?
            .script(&script)
            .map_err(BackendError::system(format!("looking at node {node}")))?;
        let alive: Vec<&str> = printed
            .split_whitespace()
            .filter(|state| !matches!(*state, "Z" | "X"))
            .collect();
        Ok(if alive.is_empty() {
            NodeState::Dead {
                asked: self.asked.contains(node),
                status: None,
            }
        } else if alive.iter().all(|state| matches!(*state, "T" | "t")) {
            NodeState::Paused
        } else {
            NodeState::Running
        })
    }

    fn kill(&mut self, node: &NodeId) -> Result<(), BackendError> {
        if self.state(node)?.is_alive() {
            self.asked.insert(node.clone());
        }
        self.signal(node, "KILL", |state| !state.is_alive())
    }

    fn start(&mut self, node: &NodeId) -> Result<(), BackendError> {
        if self.state(node)?.is_alive() {
            return Ok(());
        }
        let start = self.filled(&self.cluster.start, node);
        // A subshell: an `exit` or a `cd` in it must not be ours.
        let started = self.line(node)?.script(&format!("( {start}\n)"));
        started.map_err(|error| BackendError::Start {
            node: node.clone(),
            why: error.to_string(),
            log: String::new(),
        })?;
        self.asked.remove(node);
        let what = format!("the start of node {node}");
        await_state(self, node, &what, NodeState::is_alive, LOOK)
    }

    fn pause(&mut self, node: &NodeId) -> Result<(), BackendError> {
        self.signal(node, "STOP", |state| state == NodeState::Paused)
    }

    fn resume(&mut self, node: &NodeId) -> Result<(), BackendError> {
        self.signal(node, "CONT", |state| state != NodeState::Paused)
    }

    fn damage(&mut self, node: &NodeId, damage: Damage, seed: u64) -> Result<Probe, BackendError> {
        let data = self.data(node)?;
        let line = self.line(node)?;
        let strike = || {
            let listed = line.script(&format!("find {data} -type f -printf '%s %p\\n'"))?;
            let found: Vec<Found> = listed
                .lines()
                .filter_map(|line| line.split_once(' '))
                .filter_map(|(length, path)| {
                    let length = length.parse().ok()?;
                    let path = path.into();
                    Some(Found { path, length })
                })
                .collect();
            let mut rng = ChaCha8Rng::seed_from_u64(seed);
            let Some(wounds) = damage::choose(damage, &found, &mut rng) else {
                return Ok((false, "there is nothing in its files to damage".to_owned()));
            };
            let mut seen = true;
            for wound in &wounds {
                seen &= strike(line, wound)?;
            }
            Ok((seen, damage::told(&wounds)))
        };
        let (as_wanted, seen) =
            strike().map_err(BackendError::system(format!("damaging files of node {node}")))?;
        Ok(Probe::Trial {
            node: node.clone(),
            seen,
            as_wanted,
        })
    }

    fn wipe(&mut self, node: &NodeId) -> Result<(), BackendError> {
        let data = self.data(node)?;
        self.line(node)?
            .script(&format!("find {data} -mindepth 1 -delete"))
            .map(drop)
            .map_err(BackendError::system(format!(
                "emptying the data folder of node {node}"
            )))
    }
}

/// Damages one file over there, and reads back that it did.
fn strike(line: &Line, wound: &Wound) -> std::io::Result<bool> {
    match wound {
        Wound::Cut { path, length, .. } => {
            let path = quoted(&path.to_string_lossy());
            let now = line.script(&format!(
                "truncate -s {length} {path} && sync {path} && stat -c %s {path}"
            ))?;
            Ok(now.trim() == length.to_string())
        }
        Wound::Flip { path, offset, bit } => {
            let path = quoted(&path.to_string_lossy());
            let read = || {
                let byte = line.script(&format!("od -An -tu1 -j {offset} -N 1 {path}"))?;
                byte.trim().parse::<u8>().map_err(std::io::Error::other)
            };
            let flipped = read()? ^ (1 << bit);
            line.script(&format!(
                "printf '\\{flipped:03o}' | dd of={path} bs=1 seek={offset} conv=notrunc,fsync status=none"
            ))?;
            Ok(read()? == flipped)
        }
    }
}

/// What is to be thought of a link, given what ping saw of the way there and back
/// and what the receiver's chain counted of the way there.
fn judge(
    from: &NodeId,
    to: &NodeId,
    link: &Link,
    pings: &pings::Pings,
    stopped: Option<u64>,
    passed: Option<u64>,
) -> LinkProbe {
    let sent = pings.sent;
    // Without a chain over there all is good, and answers are what shows it.
    let came = passed.map_or(pings.answered, |passed| u32::try_from(passed).unwrap_or(u32::MAX));
    let arrived = if link.cut {
        // All that was sent must be among what was stopped.
        sent - u32::try_from(stopped.unwrap_or(0)).unwrap_or(u32::MAX).min(sent)
    } else {
        came.min(sent)
    };
    let shows = prober::is_shown(link.duplicate, sent, u64::from(pings.doubled))
        && prober::is_narrow(link, pings.rate);
    let as_wanted = sent > 0 && shows && prober::behaves(link, sent, arrived, pings.mean, stopped);
    LinkProbe {
        from: from.clone(),
        to: to.clone(),
        wanted: *link,
        sent,
        arrived,
        mean_us: pings
            .mean
            .map(|mean| u64::try_from(mean.as_micros()).unwrap_or(u64::MAX)),
        rate: pings.rate,
        stopped: stopped.filter(|_| !link.is_good()),
        as_wanted,
    }
}
