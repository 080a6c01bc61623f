//! iptables rules in a container's network namespace.
//!
//! Everything of ours is in one chain, which `iptables-restore --noflush`
//! replaces as a whole: there is no moment with half of the rules. What a node
//! does not hear is dropped at its own `INPUT`, by the sender's address: so a
//! link is cut one way, and clients, who come from other addresses, pass.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Output, Stdio};

use crate::namespace::Namespace;

/// Our chain.
pub(crate) const CHAIN: &str = "ORDEAL";

/// What `iptables-restore` is given so that exactly these senders are dropped.
/// `hooked` says whether `INPUT` leads into our chain already.
pub(crate) fn restore_text(dropped: &[Ipv4Addr], hooked: bool) -> String {
    let mut text = format!("*filter\n:{CHAIN} - [0:0]\n");
    for sender in dropped {
        let _ = writeln!(text, "-A {CHAIN} -s {sender}/32 -j DROP");
    }
    match (dropped.is_empty(), hooked) {
        (false, false) => {
            let _ = writeln!(text, "-I INPUT 1 -j {CHAIN}");
        }
        (true, true) => {
            let _ = writeln!(text, "-D INPUT -j {CHAIN}");
        }
        _ => {}
    }
    if dropped.is_empty() {
        let _ = writeln!(text, "-X {CHAIN}");
    }
    text + "COMMIT\n"
}

/// Makes a container drop what these senders send, and nothing else of ours.
pub(crate) fn lay(namespace: &Namespace, dropped: &[Ipv4Addr]) -> std::io::Result<()> {
    let saved = run(namespace, &["iptables-save", "-t", "filter"], None)?;
    let hooked = saved.lines().any(|line| line == format!("-A INPUT -j {CHAIN}"));
    let exists = hooked || saved.lines().any(|line| line.starts_with(&format!(":{CHAIN} ")));
    if dropped.is_empty() && !exists {
        return Ok(());
    }
    // A chain of ours that is hooked twice (someone restored a saved table) must
    // not survive its removal.
    let mut text = restore_text(dropped, hooked);
    let hooks = saved
        .lines()
        .filter(|line| *line == format!("-A INPUT -j {CHAIN}"))
        .count();
    if dropped.is_empty() && hooks > 1 {
        let unhook = format!("-D INPUT -j {CHAIN}\n");
        text = text.replacen(&unhook, &unhook.repeat(hooks), 1);
    }
    run(
        namespace,
        &["iptables-restore", "--noflush", "--wait", "5"],
        Some(&text),
    )
    .map(drop)
}

/// How many packets of each dropped sender were stopped since the rules were laid.
pub(crate) fn counts(namespace: &Namespace) -> std::io::Result<BTreeMap<Ipv4Addr, u64>> {
    let saved = run(namespace, &["iptables-save", "-c", "-t", "filter"], None)?;
    Ok(parse_counts(&saved))
}

/// Reads `[12:720] -A ORDEAL -s 172.28.0.11/32 -j DROP`.
fn parse_counts(saved: &str) -> BTreeMap<Ipv4Addr, u64> {
    let ours = format!("-A {CHAIN} -s ");
    let line = |line: &str| {
        let (count, rule) = line.strip_prefix('[')?.split_once("] ")?;
        let sender = rule.strip_prefix(&ours)?.split(['/', ' ']).next()?.parse().ok()?;
        Some((sender, count.split(':').next()?.parse().ok()?))
    };
    saved.lines().filter_map(line).collect()
}

/// Runs a command of the host inside a container's network namespace.
fn run(namespace: &Namespace, command: &[&str], input: Option<&str>) -> std::io::Result<String> {
    let output = namespace.inside(|| spawn(command, input))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    Err(std::io::Error::other(format!("{}: {message}", command.join(" "))))
}

fn spawn(command: &[&str], input: Option<&str>) -> std::io::Result<Output> {
    // Administrators' tools are often not on a user's PATH.
    let path = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let mut child = Command::new(command[0])
        .args(&command[1..])
        .env("PATH", path)
        .stdin(if input.is_some() {
            Stdio::piped()
        } else {
            Stdio::null()
        })
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let (Some(input), Some(mut stdin)) = (input, child.stdin.take()) {
        stdin.write_all(input.as_bytes())?;
    }
    child.wait_with_output()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_text_replaces_the_chain_as_a_whole() {
        let senders = [Ipv4Addr::new(172, 28, 0, 12), Ipv4Addr::new(172, 28, 0, 13)];
        assert_eq!(
            restore_text(&senders, false),
            "*filter\n:ORDEAL - [0:0]\n-A ORDEAL -s 172.28.0.12/32 -j DROP\n\
             -A ORDEAL -s 172.28.0.13/32 -j DROP\n-I INPUT 1 -j ORDEAL\nCOMMIT\n"
        );
        assert_eq!(
            restore_text(&[], true),
            "*filter\n:ORDEAL - [0:0]\n-D INPUT -j ORDEAL\n-X ORDEAL\nCOMMIT\n"
        );
    }

    #[test]
    fn counters_are_read_from_what_iptables_saves() {
        let saved = "*filter\n:INPUT ACCEPT [0:0]\n:ORDEAL - [0:0]\n[30:2000] -A INPUT -j ORDEAL\n\
                     [12:720] -A ORDEAL -s 172.28.0.11/32 -j DROP\nCOMMIT\n";
        assert_eq!(
            parse_counts(saved),
            BTreeMap::from([(Ipv4Addr::new(172, 28, 0, 11), 12)])
        );
    }
}
