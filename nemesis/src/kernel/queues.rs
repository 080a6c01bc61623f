//! tc queues at a node's device: what it sends over bad links is held back there.
//!
//! A root of ours (`htb`) has one class for each address that is sent to badly,
//! found by `u32`; in the class a `netem` does what netem can, or a short queue
//! waits for a narrow link. All other traffic goes straight through the root.
//! Loss is not here: iptables can lose on more kernels than tc can.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::Shell;
use crate::fault::Ability;
use crate::link::{Delay, Distribution, Link, Probability};

/// Handle of our root: what has it is ours.
pub(crate) const ROOT: &str = "d1e:";
/// How much a narrow link queues before it drops, in milliseconds. As the lab's switch.
const QUEUE_MS: u64 = 200;
/// Packets that netem holds at most.
const HELD: u32 = 100_000;

/// The part of a link that is tc's.
fn shaped(link: &Link) -> Link {
    if link.cut {
        return Link::default();
    }
    Link {
        loss: Probability::NEVER,
        ..*link
    }
}

/// A link that takes what `ability` names.
pub(super) fn sample(ability: Ability) -> Link {
    let tenth = Probability::new(0.1).expect("a share");
    match ability {
        Ability::Loss => Link {
            loss: tenth,
            ..Link::default()
        },
        Ability::Bandwidth => Link {
            bandwidth: Some(1_000_000),
            ..Link::default()
        },
        _ => Link {
            delay: Some(Delay {
                mean: crate::Span::from_millis(1),
                jitter: crate::Span::default(),
                distribution: Distribution::Uniform,
            }),
            duplicate: tenth,
            reorder: tenth,
            corrupt: tenth,
            ..Link::default()
        },
    }
}

/// Whether tc takes such a link, on the loopback device of a spare network.
pub(super) fn try_on_loopback(shell: &impl Shell, link: &Link) -> std::io::Result<()> {
    let text = batch("lo", &[(Ipv4Addr::LOCALHOST, *link)]);
    let outcome = shell.run(&["tc", "-batch", "-"], Some(&text)).map(drop);
    let _ = shell.run(&["tc", "qdisc", "del", "dev", "lo", "root"], None);
    outcome
}

/// What `tc -batch` is given so that a device without a root of ours sends badly
/// to these addresses.
fn batch(device: &str, sent: &[(Ipv4Addr, Link)]) -> String {
    let mut text = format!("qdisc add dev {device} root handle {ROOT} htb default 0\n");
    for (class, (address, link)) in (1..).zip(sent) {
        let rate = link
            .bandwidth
            .map_or_else(|| "10gbit quantum 60000".to_owned(), |bits| format!("{bits}bit"));
        let _ = writeln!(
            text,
            "class add dev {device} parent {ROOT} classid {ROOT}{class:x} htb rate {rate}"
        );
        let queue = match (netem(link), link.bandwidth) {
            (Some(netem), _) => netem,
            (None, Some(bits)) => format!("bfifo limit {}", (bits / 8 * QUEUE_MS / 1000).max(3000)),
            (None, None) => continue,
        };
        let _ = writeln!(
            text,
            "qdisc add dev {device} parent {ROOT}{class:x} handle {:x}: {queue}",
            0xd1e + class
        );
        let _ = writeln!(
            text,
            "filter add dev {device} parent {ROOT} protocol ip prio 1 u32 match ip dst {address}/32 flowid {ROOT}{class:x}"
        );
    }
    text
}

/// What netem must do for a link; none if nothing.
fn netem(link: &Link) -> Option<String> {
    let mut text = format!("netem limit {HELD}");
    let before = text.len();
    let percent = |share: Probability| format!("{}%", share.get() * 100.0);
    if let Some(delay) = &link.delay {
        let us = |span: crate::Span| format!("{}us", span.0.as_micros());
        let _ = write!(text, " delay {} {}", us(delay.mean), us(delay.jitter));
        match delay.distribution {
            Distribution::Normal => text += " distribution normal",
            Distribution::Pareto => text += " distribution pareto",
            Distribution::Uniform => {}
        }
    }
    if link.reorder != Probability::NEVER {
        // netem reorders only what it delays.
        if link.delay.is_none() {
            text += " delay 1000us";
        }
        let _ = write!(text, " reorder {}", percent(link.reorder));
    }
    if link.duplicate != Probability::NEVER {
        let _ = write!(text, " duplicate {}", percent(link.duplicate));
    }
    if link.corrupt != Probability::NEVER {
        let _ = write!(text, " corrupt {}", percent(link.corrupt));
    }
    (text.len() > before).then_some(text)
}

/// Makes a node send badly to these addresses, and well to all others.
pub(super) fn lay(shell: &impl Shell, sent: &[(Ipv4Addr, Link)]) -> std::io::Result<()> {
    let bad: Vec<(Ipv4Addr, Link)> = sent
        .iter()
        .map(|(address, link)| (*address, shaped(link)))
        .filter(|(_, link)| !link.is_good())
        .collect();
    let before = match shell.run(&["tc", "qdisc", "show"], None) {
        Ok(shown) => roots(&shown),
        // Without tc there can be no root of ours, and none is wanted.
        Err(_) if bad.is_empty() => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut by_device: BTreeMap<String, Vec<(Ipv4Addr, Link)>> = BTreeMap::new();
    for (address, link) in bad {
        let route = shell.run(&["ip", "-o", "route", "get", &address.to_string()], None)?;
        let device = device_of(&route)
            .ok_or_else(|| std::io::Error::other(format!("no way to {address}: {}", route.trim())))?;
        by_device.entry(device).or_default().push((address, link));
    }
    for (device, root) in &before {
        match root.as_str() {
            ROOT => drop(shell.run(&["tc", "qdisc", "del", "dev", device, "root"], None)?),
            // The kernel's own choice has no number.
            "0:" => {}
            other if by_device.contains_key(device) => {
                return Err(std::io::Error::other(format!(
                    "{device} has queues of its own (root {other}), which would be lost: remove them first (tc qdisc del dev {device} root)"
                )));
            }
            _ => {}
        }
    }
    for (device, sent) in &by_device {
        let text = batch(device, sent);
        if let Err(error) = shell.run(&["tc", "-batch", "-"], Some(&text)) {
            // Half of it is none.
            let _ = shell.run(&["tc", "qdisc", "del", "dev", device, "root"], None);
            return Err(error);
        }
    }
    Ok(())
}

/// Devices and the handles of their roots, from `qdisc htb d1e: dev eth0 root ...`.
fn roots(shown: &str) -> Vec<(String, String)> {
    let line = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let device = words.iter().position(|word| *word == "dev")?;
        (words.first() == Some(&"qdisc") && words.contains(&"root"))
            .then(|| Some((words.get(device + 1)?.to_string(), words.get(2)?.to_string())))?
    };
    shown.lines().filter_map(line).collect()
}

/// The device of `10.0.0.2 dev eth0 src 10.0.0.1 uid 0`.
fn device_of(route: &str) -> Option<String> {
    let mut words = route.split_whitespace();
    words.find(|word| *word == "dev")?;
    words.next().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::super::tests::Scribe;
    use super::*;

    const N2: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 2);
    const N3: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 3);

    fn link(json: &str) -> Link {
        serde_json::from_str(json).expect("a link")
    }

    #[test]
    fn each_bad_link_has_a_class_of_its_own() {
        let slow =
            link(r#"{"delay":{"mean":"50ms","jitter":"20ms","distribution":"normal"},"duplicate":0.25}"#);
        let narrow = link(r#"{"bandwidth":1000000}"#);
        let expected = "\
qdisc add dev eth0 root handle d1e: htb default 0
class add dev eth0 parent d1e: classid d1e:1 htb rate 10gbit quantum 60000
qdisc add dev eth0 parent d1e:1 handle d1f: netem limit 100000 delay 50000us 20000us distribution normal duplicate 25%
filter add dev eth0 parent d1e: protocol ip prio 1 u32 match ip dst 10.0.0.2/32 flowid d1e:1
class add dev eth0 parent d1e: classid d1e:2 htb rate 1000000bit
qdisc add dev eth0 parent d1e:2 handle d20: bfifo limit 25000
filter add dev eth0 parent d1e: protocol ip prio 1 u32 match ip dst 10.0.0.3/32 flowid d1e:2
";
        assert_eq!(batch("eth0", &[(N2, slow), (N3, narrow)]), expected);
    }

    #[test]
    fn netem_is_told_everything_that_it_can_do() {
        for (json, expected) in [
            ("{}", None),
            (r#"{"loss":0.5}"#, None),
            (
                r#"{"reorder":0.2}"#,
                Some("netem limit 100000 delay 1000us reorder 20%"),
            ),
            (
                r#"{"delay":{"mean":"10ms"},"reorder":0.5,"corrupt":0.01}"#,
                Some("netem limit 100000 delay 10000us 0us reorder 50% corrupt 1%"),
            ),
            (
                r#"{"delay":{"mean":"10ms","jitter":"2ms","distribution":"pareto"}}"#,
                Some("netem limit 100000 delay 10000us 2000us distribution pareto"),
            ),
        ] {
            assert_eq!(netem(&shaped(&link(json))).as_deref(), expected, "{json}");
        }
    }

    #[test]
    fn what_tc_and_ip_show_is_read() {
        let shown = "qdisc noqueue 0: dev lo root refcnt 2 \n\
                     qdisc htb d1e: dev eth0 root refcnt 2 r2q 10 default 0 direct_packets_stat 0\n\
                     qdisc netem d1f: dev eth0 parent d1e:1 limit 1000 delay 50ms\n";
        let expected = [("lo", "0:"), ("eth0", "d1e:")].map(|(a, b)| (a.to_owned(), b.to_owned()));
        assert_eq!(roots(shown), expected);
        let route = "10.0.0.2 dev eth0 src 10.0.0.1 uid 0 \\    cache \n";
        assert_eq!(device_of(route).as_deref(), Some("eth0"));
        assert_eq!(device_of("unreachable"), None);
    }

    #[test]
    fn a_delay_is_laid_in_three_commands_and_taken_away_whole() {
        let slow = link(r#"{"delay":{"mean":"50ms","jitter":"20ms"}}"#);
        let shell = Scribe::lacking("no such word");
        lay(&shell, &[(N2, slow), (N3, Link::default())]).expect("lays");
        assert_eq!(
            shell.ran(),
            "$ tc qdisc show\n\
             $ ip -o route get 10.0.0.2\n\
             $ tc -batch -\n\
             qdisc add dev eth0 root handle d1e: htb default 0\n\
             class add dev eth0 parent d1e: classid d1e:1 htb rate 10gbit quantum 60000\n\
             qdisc add dev eth0 parent d1e:1 handle d1f: netem limit 100000 delay 50000us 20000us\n\
             filter add dev eth0 parent d1e: protocol ip prio 1 u32 match ip dst 10.0.0.2/32 flowid d1e:1\n"
        );
        // A kernel that refuses half-way is left with nothing of ours.
        let shell = Scribe::lacking("netem");
        lay(&shell, &[(N2, slow)]).expect_err("there is no netem");
        assert!(shell.ran().ends_with("$ tc qdisc del dev eth0 root\n"));
        // Nothing bad to send, and nothing of ours there: nothing is changed.
        lay(&shell, &[(N2, Link::CUT)]).expect("nothing to do");
        assert_eq!(shell.ran(), "$ tc qdisc show\n");
    }
}
