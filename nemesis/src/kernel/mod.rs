//! Links worsened by the kernel's own means: iptables cuts and loses, tc delays,
//! doubles, damages, reorders and narrows.
//!
//! The docker and ssh backends have nothing else, and the lab may be asked to use
//! them instead of its switch. A node's rules are laid in its own network: what it
//! does not hear at its `INPUT` ([`chain`]), what it sends badly at its device
//! ([`queues`]). Both name addresses of nodes only, so clients pass untouched.
//! Laying is idempotent, and leaves nothing of ours where nothing is worsened.

mod chain;
mod queues;

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::backend::Unsupported;
use crate::fault::Ability;
use crate::link::{Link, LinkMatrix};
use crate::namespace::Namespace;
use crate::node::NodeId;
use crate::probe::LinkProbe;

pub(crate) use chain::{CHAIN, Count, Counting};
pub(crate) use queues::ROOT;

/// Runs administrators' commands where a node's network is.
pub(crate) trait Shell {
    /// Runs a command to its end and returns what it printed.
    ///
    /// # Errors
    /// If it could not be run, or failed: with what it said.
    fn run(&self, command: &[&str], input: Option<&str>) -> std::io::Result<String>;
}

/// The addresses of each node: a node may have one in each of several networks.
pub(crate) type Addresses = BTreeMap<NodeId, Vec<Ipv4Addr>>;

/// Makes the links of one node, to and from it, be as the matrix says.
pub(crate) fn lay(
    shell: &impl Shell,
    node: &NodeId,
    links: &LinkMatrix,
    addresses: &Addresses,
    counting: Counting,
) -> std::io::Result<()> {
    let peers = |pick: &dyn Fn(&NodeId) -> Option<Link>| -> Vec<(Ipv4Addr, Link)> {
        let others = addresses.iter().filter(|(other, _)| *other != node);
        others
            .filter_map(|(other, addresses)| Some((addresses, pick(other)?)))
            .flat_map(|(addresses, link)| addresses.iter().map(move |address| (*address, link)))
            .collect()
    };
    let heard = peers(&|other| links.get(other, node).copied());
    let sent = peers(&|other| links.get(node, other).copied());
    chain::lay(shell, &heard, counting)?;
    queues::lay(shell, &sent)
}

/// Does something at each of these places, at all of them at once; the outcomes
/// are in their order.
pub(crate) fn everywhere<P: Send, T: Send>(
    places: impl IntoIterator<Item = P>,
    work: impl Fn(P) -> T + Sync,
) -> Vec<T> {
    let work = &work;
    std::thread::scope(|scope| {
        let places = places.into_iter();
        let all: Vec<_> = places.map(|place| scope.spawn(move || work(place))).collect();
        let done = all.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        done.collect()
    })
}

/// Adds to what a prober saw of cut links what the receivers' chains counted.
pub(crate) fn count_in(
    probes: &mut [LinkProbe],
    addresses: &Addresses,
    counts_of: impl Fn(&NodeId) -> std::io::Result<BTreeMap<Ipv4Addr, Count>> + Sync,
) -> std::io::Result<()> {
    let receivers: BTreeSet<&NodeId> = probes
        .iter()
        .filter_map(|probe| probe.wanted.cut.then_some(&probe.to))
        .collect();
    let of_each = everywhere(receivers.iter().copied(), counts_of);
    let known: BTreeMap<NodeId, BTreeMap<Ipv4Addr, Count>> = receivers
        .into_iter()
        .cloned()
        .zip(of_each)
        .map(|(node, counts)| Ok((node, counts?)))
        .collect::<std::io::Result<_>>()?;
    for probe in probes.iter_mut().filter(|probe| probe.wanted.cut) {
        let of = |address: &Ipv4Addr| known[&probe.to].get(address).map_or(0, |count| count.stopped);
        let stopped = addresses
            .get(&probe.from)
            .map_or(0, |addresses| addresses.iter().map(of).sum());
        probe.stopped = Some(stopped);
        probe.as_wanted &= stopped > 0;
    }
    Ok(())
}

/// What became of the packets of each sender at a node since its rules were laid.
pub(crate) fn counts(shell: &impl Shell) -> std::io::Result<BTreeMap<Ipv4Addr, Count>> {
    chain::counts(shell)
}

/// What the kernel of this machine can do to links, found out by trying it in a
/// network namespace that nobody else uses.
#[derive(Debug, Default)]
pub(crate) struct Means {
    tried: [OnceLock<Result<(), Unsupported>>; 4],
}

impl Means {
    /// Whether links can be worsened in this way.
    ///
    /// # Errors
    /// Why not.
    pub(crate) fn can(&self, ability: Ability) -> Result<(), Unsupported> {
        let place = match ability {
            Ability::Partition => 0,
            Ability::Loss => 1,
            Ability::Bandwidth => 2,
            _ => 3,
        };
        self.tried[place].get_or_init(|| can_here(ability)).clone()
    }
}

fn can_here(ability: Ability) -> Result<(), Unsupported> {
    let tried = Namespace::new(|| Ok(try_out(&Here, ability)));
    match tried {
        Ok((_, outcome)) => outcome,
        Err(error) => Err(Unsupported::new(
            format!("no network namespace to try it in ({error})"),
            "run it with sudo, or run the cluster in the lab",
        )),
    }
}

/// Tries on the loopback device of a network that nobody else uses.
pub(crate) fn try_out(shell: &impl Shell, ability: Ability) -> Result<(), Unsupported> {
    let shape = |link: &Link| queues::try_on_loopback(shell, link);
    let cut = |link: Link| chain::lay(shell, &[(Ipv4Addr::new(192, 0, 2, 1), link)], Counting::Stopped);
    match ability {
        Ability::Partition => cut(Link::CUT).map_err(|error| no_iptables(&error)),
        Ability::Loss => cut(queues::sample(Ability::Loss)).map_err(|error| {
            Unsupported::new(
                format!("iptables cannot lose packets by chance ({error})"),
                "use a kernel with xt_statistic (modprobe xt_statistic), or the lab's switch",
            )
        }),
        Ability::Bandwidth => shape(&queues::sample(Ability::Bandwidth)).map_err(|error| {
            Unsupported::new(
                format!("tc cannot make links narrow ({error})"),
                "use a kernel with sch_htb and cls_u32 (modprobe sch_htb cls_u32), or the lab's switch",
            )
        }),
        _ => shape(&queues::sample(Ability::Links)).map_err(|error| {
            Unsupported::new(
                format!(
                    "this kernel has no netem, so links cannot be delayed, doubled or reordered ({error})"
                ),
                "use a kernel with sch_netem (modprobe sch_netem), or the lab's switch",
            )
        }),
    }
}

fn no_iptables(error: &std::io::Error) -> Unsupported {
    if error.kind() == std::io::ErrorKind::NotFound {
        return Unsupported::new(
            "there is no iptables-restore",
            "run: sudo apt-get install iptables",
        );
    }
    Unsupported::new(
        format!("iptables does not work ({error})"),
        "use a kernel with nf_tables or ip_tables (modprobe ip_tables), or the lab's switch",
    )
}

/// The network that the calling thread is in.
pub(crate) struct Here;

impl Shell for Here {
    fn run(&self, command: &[&str], input: Option<&str>) -> std::io::Result<String> {
        spawn(command, input)
    }
}

impl Shell for Namespace {
    fn run(&self, command: &[&str], input: Option<&str>) -> std::io::Result<String> {
        self.inside(|| spawn(command, input))
    }
}

fn spawn(command: &[&str], input: Option<&str>) -> std::io::Result<String> {
    // Administrators' tools are often not on a user's PATH.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let mut child = Command::new(command[0]);
    child
        .args(&command[1..])
        .env("PATH", path)
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    // SAFETY: between fork and exec only system calls are made, no memory is
    // allocated and no lock is taken.
    unsafe { child.pre_exec(keep_power) };
    let mut child = child.spawn()?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        // One that ends without reading says why on its standard error.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output()?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(std::io::Error::other(format!("{}: {message}", command.join(" "))))
}

/// Lets the program that is about to be executed have the power over networks that
/// this process has. In a user namespace a plain user has it, but would lose it
/// with exec, since the user's id there is not root's.
fn keep_power() -> std::io::Result<()> {
    use nix::libc;
    #[repr(C)]
    struct Header {
        version: u32,
        pid: i32,
    }
    const VERSION_3: u32 = 0x2008_0522;
    const CAP_NET_ADMIN: u32 = 12;
    const CAP_NET_RAW: u32 = 13;
    const RAISE: libc::c_ulong = 2;
    let header = Header {
        version: VERSION_3,
        pid: 0,
    };
    // Effective, permitted, inheritable; the low words first, then the high ones.
    let mut sets = [[0u32; 3]; 2];
    // SAFETY: both point to memory of the size that version 3 has.
    if unsafe { libc::syscall(libc::SYS_capget, &raw const header, sets.as_mut_ptr()) } != 0 {
        return Ok(());
    }
    let wanted = (1 << CAP_NET_ADMIN) | (1 << CAP_NET_RAW);
    sets[0][2] |= sets[0][1] & wanted;
    // SAFETY: as above; the kernel reads. What it refuses the program will miss,
    // and say so.
    unsafe {
        libc::syscall(libc::SYS_capset, &raw const header, sets.as_ptr());
        for capability in [CAP_NET_ADMIN, CAP_NET_RAW] {
            libc::prctl(libc::PR_CAP_AMBIENT, RAISE, libc::c_ulong::from(capability), 0, 0);
        }
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use parking_lot::Mutex;

    use super::*;

    /// Writes down what is run, and answers as a machine would on which whatever
    /// has the word `lacks` in it fails.
    pub(crate) struct Scribe {
        pub(crate) lacks: &'static str,
        ran: Mutex<Vec<String>>,
    }

    impl Scribe {
        pub(crate) fn lacking(lacks: &'static str) -> Scribe {
            Scribe {
                lacks,
                ran: Mutex::default(),
            }
        }

        /// Every command that was run since last asked, with its input.
        pub(crate) fn ran(&self) -> String {
            std::mem::take(&mut *self.ran.lock()).concat()
        }
    }

    impl Shell for Scribe {
        fn run(&self, command: &[&str], input: Option<&str>) -> std::io::Result<String> {
            let line = format!("$ {}\n{}", command.join(" "), input.unwrap_or_default());
            self.ran.lock().push(line.clone());
            if line.contains(self.lacks) {
                return Err(std::io::Error::other("Error: Specified qdisc kind is unknown."));
            }
            Ok(match command {
                ["ip", ..] => "10.0.0.2 dev eth0 src 10.0.0.1 uid 0\n".to_owned(),
                ["tc", "qdisc", "show"] => "qdisc noqueue 0: dev eth0 root refcnt 2\n".to_owned(),
                _ => String::new(),
            })
        }
    }

    #[test]
    fn a_kernel_without_netem_is_found_out_and_told() {
        let shell = Scribe::lacking("netem");
        let why = try_out(&shell, Ability::Links).expect_err("there is no netem");
        assert_eq!(
            why.to_string(),
            "this kernel has no netem, so links cannot be delayed, doubled or reordered \
             (Error: Specified qdisc kind is unknown.); \
             use a kernel with sch_netem (modprobe sch_netem), or the lab's switch"
        );
        let ran = shell.ran();
        assert!(ran.contains("netem limit 100000 delay 1000us 0us reorder 10% duplicate 10% corrupt 10%"));
        assert!(
            ran.ends_with("$ tc qdisc del dev lo root\n"),
            "nothing is left of the trial: {ran}"
        );
        // What it can do nevertheless, it can.
        for ability in [Ability::Partition, Ability::Loss, Ability::Bandwidth] {
            assert_eq!(try_out(&shell, ability), Ok(()), "{ability}");
        }
        let shell = Scribe::lacking("statistic");
        let why = try_out(&shell, Ability::Loss).expect_err("there is no xt_statistic");
        assert!(why.mend.contains("modprobe xt_statistic"), "{why}");
        assert_eq!(try_out(&shell, Ability::Links), Ok(()));
    }

    #[test]
    fn what_is_done_everywhere_is_told_in_order() {
        assert_eq!(everywhere([3, 1, 2], |place| place * 10), [30, 10, 20]);
    }
}
