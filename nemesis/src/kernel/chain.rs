//! iptables rules in a node's network.
//!
//! Everything of ours is in one chain, which `iptables-restore --noflush`
//! replaces as a whole: there is no moment with half of the rules. What a node
//! does not hear is dropped at its own `INPUT`, by the sender's address: so a
//! link is cut one way, and clients, who come from other addresses, pass.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;

use super::Shell;
use crate::link::{Link, Probability};

/// Our chain.
pub(crate) const CHAIN: &str = "ORDEAL";

/// Whom the rules of a chain count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Counting {
    /// What they drop.
    Stopped,
    /// What comes from every node, dropped or not: where nobody can listen, that
    /// shows what arrives.
    All,
}

/// What a chain has counted of one sender.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Count {
    /// Packets dropped.
    pub(crate) stopped: u64,
    /// Packets seen and let through, where that is counted.
    pub(crate) passed: u64,
}

/// What `iptables-restore` is given so that exactly these links are cut or lossy.
/// `hooks` says how often `INPUT` leads into our chain already: someone who saved
/// and restored a table may have doubled it.
pub(crate) fn restore_text(heard: &[(Ipv4Addr, Link)], counting: Counting, hooks: usize) -> String {
    let mut text = format!("*filter\n:{CHAIN} - [0:0]\n");
    let mut empty = true;
    for (sender, link) in heard {
        let fate = match (link.cut, link.loss) {
            (true, _) => " -j DROP".to_owned(),
            (false, Probability::NEVER) if counting == Counting::Stopped => continue,
            (false, Probability::NEVER) => String::new(),
            // The match compares with less-than, and so never is true of all.
            (false, Probability::ALWAYS) => " -j DROP".to_owned(),
            (false, loss) => {
                format!(
                    " -m statistic --mode random --probability {:.8} -j DROP",
                    loss.get()
                )
            }
        };
        empty = false;
        let _ = writeln!(text, "-A {CHAIN} -s {sender}/32{fate}");
        if counting == Counting::All && fate.contains("statistic") {
            let _ = writeln!(text, "-A {CHAIN} -s {sender}/32");
        }
    }
    if empty {
        text += &format!("-D INPUT -j {CHAIN}\n").repeat(hooks);
        let _ = writeln!(text, "-X {CHAIN}");
    } else if hooks == 0 {
        let _ = writeln!(text, "-I INPUT 1 -j {CHAIN}");
    }
    text + "COMMIT\n"
}

/// Makes a node drop what the matrix wants dropped, and nothing else of ours.
pub(super) fn lay(shell: &impl Shell, heard: &[(Ipv4Addr, Link)], counting: Counting) -> std::io::Result<()> {
    let saved = shell.run(&["iptables-save", "-t", "filter"], None)?;
    let hook = format!("-A INPUT -j {CHAIN}");
    let hooks = saved.lines().filter(|line| *line == hook).count();
    let exists = hooks > 0 || saved.lines().any(|line| line.starts_with(&format!(":{CHAIN} ")));
    let good = heard
        .iter()
        .all(|(_, link)| !link.cut && link.loss == Probability::NEVER);
    if good && counting == Counting::Stopped && !exists {
        return Ok(());
    }
    let text = restore_text(heard, counting, hooks);
    shell
        .run(&["iptables-restore", "--noflush", "--wait", "5"], Some(&text))
        .map(drop)
}

/// What the chain has counted of each sender since the rules were laid.
pub(super) fn counts(shell: &impl Shell) -> std::io::Result<BTreeMap<Ipv4Addr, Count>> {
    let saved = shell.run(&["iptables-save", "-c", "-t", "filter"], None)?;
    Ok(parse_counts(&saved))
}

/// Reads `[12:720] -A ORDEAL -s 172.28.0.11/32 -j DROP`.
fn parse_counts(saved: &str) -> BTreeMap<Ipv4Addr, Count> {
    let ours = format!("-A {CHAIN} -s ");
    let line = |line: &str| {
        let (count, rule) = line.strip_prefix('[')?.split_once("] ")?;
        let sender: Ipv4Addr = rule.strip_prefix(&ours)?.split(['/', ' ']).next()?.parse().ok()?;
        let packets: u64 = count.split(':').next()?.parse().ok()?;
        Some((sender, rule.ends_with("-j DROP"), packets))
    };
    let mut counts: BTreeMap<Ipv4Addr, Count> = BTreeMap::new();
    for (sender, drops, packets) in saved.lines().filter_map(line) {
        let count = counts.entry(sender).or_default();
        *(if drops {
            &mut count.stopped
        } else {
            &mut count.passed
        }) += packets;
    }
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    const N2: Ipv4Addr = Ipv4Addr::new(172, 28, 0, 12);
    const N3: Ipv4Addr = Ipv4Addr::new(172, 28, 0, 13);

    fn lossy(share: &str) -> Link {
        Link {
            loss: share.parse().expect("a share"),
            ..Link::default()
        }
    }

    #[test]
    fn one_text_replaces_the_chain_as_a_whole() {
        let heard = [(N2, Link::CUT), (N3, lossy("12.5%")), (N3, lossy("100%"))];
        assert_eq!(
            restore_text(&heard, Counting::Stopped, 0),
            "*filter\n:ORDEAL - [0:0]\n-A ORDEAL -s 172.28.0.12/32 -j DROP\n\
             -A ORDEAL -s 172.28.0.13/32 -m statistic --mode random --probability 0.12500000 -j DROP\n\
             -A ORDEAL -s 172.28.0.13/32 -j DROP\n-I INPUT 1 -j ORDEAL\nCOMMIT\n"
        );
        // Laid again it is hooked already; and a good link needs no rule.
        assert_eq!(
            restore_text(&[(N2, Link::CUT), (N3, Link::default())], Counting::Stopped, 1),
            "*filter\n:ORDEAL - [0:0]\n-A ORDEAL -s 172.28.0.12/32 -j DROP\nCOMMIT\n"
        );
        let none = "*filter\n:ORDEAL - [0:0]\n-D INPUT -j ORDEAL\n-D INPUT -j ORDEAL\n-X ORDEAL\nCOMMIT\n";
        assert_eq!(restore_text(&[(N2, Link::default())], Counting::Stopped, 2), none);
        assert_eq!(restore_text(&[], Counting::Stopped, 2), none);
    }

    #[test]
    fn where_all_are_counted_each_sender_has_a_rule() {
        assert_eq!(
            restore_text(&[(N2, Link::default()), (N3, Link::CUT)], Counting::All, 1),
            "*filter\n:ORDEAL - [0:0]\n-A ORDEAL -s 172.28.0.12/32\n\
             -A ORDEAL -s 172.28.0.13/32 -j DROP\nCOMMIT\n"
        );
    }

    #[test]
    fn counters_are_read_from_what_iptables_saves() {
        let saved = "*filter\n:INPUT ACCEPT [0:0]\n:ORDEAL - [0:0]\n[30:2000] -A INPUT -j ORDEAL\n\
                     [12:720] -A ORDEAL -s 172.28.0.11/32 -j DROP\n[5:60] -A ORDEAL -s 172.28.0.12/32\nCOMMIT\n";
        assert_eq!(
            parse_counts(saved),
            BTreeMap::from([
                (
                    Ipv4Addr::new(172, 28, 0, 11),
                    Count {
                        stopped: 12,
                        passed: 0
                    }
                ),
                (
                    N2,
                    Count {
                        stopped: 0,
                        passed: 5
                    }
                )
            ])
        );
    }
}
