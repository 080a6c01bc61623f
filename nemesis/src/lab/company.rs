//! All processes of one machine, whatever group or session they are in.
//!
//! A node's process group is not all of it: PostgreSQL gives each of its servers a session of its own, so that a
//! signal to the group would stop the one that listens and leave those that answer. What they do not leave is the
//! node's network namespace.

use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;

use nix::unistd::{Pid, getpid};

/// The processes in the network namespace `namespace` that have not ended, but for those that we started there
/// ourselves, other than `node`: a tool that works on the namespace is not the machine's.
///
/// None are found where `/proc` is not that of our pid namespace: its numbers would be other processes'.
pub(super) fn within(namespace: &File, node: Option<Pid>) -> Vec<Pid> {
    let us = getpid();
    let here = fs::read_link("/proc/self");
    if here.ok().as_deref().and_then(|name| name.to_str()) != Some(us.to_string().as_str()) {
        return Vec::new();
    }
    let (Ok(wanted), Ok(entries)) = (namespace.metadata(), fs::read_dir("/proc")) else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok().map(Pid::from_raw));
    // What has ended and was not waited for has no namespace any more.
    let in_it = |pid: &Pid| {
        fs::metadata(format!("/proc/{pid}/ns/net"))
            .is_ok_and(|found| (found.dev(), found.ino()) == (wanted.dev(), wanted.ino()))
    };
    pids.filter(in_it)
        .filter(|pid| {
            Some(*pid) == node || Stat::of(&format!("/proc/{pid}/stat")).is_some_and(|stat| stat.parent != us)
        })
        .collect()
}

/// Whether each thread of a process is stopped or has ended.
pub(super) fn is_still(pid: Pid) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task"));
    threads.into_iter().flatten().flatten().all(|thread| {
        let stat = Stat::of(&thread.path().join("stat").to_string_lossy());
        stat.is_none_or(|stat| matches!(stat.state, 'T' | 't' | 'Z' | 'X'))
    })
}

/// What the kernel says of a process or a thread, as far as it matters here (proc_pid_stat(5)).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: char,
    parent: Pid,
}

impl Stat {
    /// None where there is no such process any more.
    fn of(path: &str) -> Option<Stat> {
        Stat::parse(&fs::read_to_string(path).ok()?)
    }

    fn parse(text: &str) -> Option<Stat> {
        // A program's name may hold spaces and parentheses: what counts comes after the last of them.
        let mut fields = text.rsplit_once(')')?.1.split_whitespace();
        Some(Stat {
            state: fields.next()?.chars().next()?,
            parent: Pid::from_raw(fields.next()?.parse().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_hides_nothing() {
        let stat = |state, parent| {
            Some(Stat {
                state,
                parent: Pid::from_raw(parent),
            })
        };
        assert_eq!(Stat::parse("7 (a) b (c) T 31 7 7 0 -1"), stat('T', 31));
        assert_eq!(Stat::parse("7 (sh) S 1"), stat('S', 1));
        assert_eq!(Stat::parse("7 (sh"), None);
    }

    #[test]
    fn we_are_found_in_our_own_network_and_run() {
        let network = File::open("/proc/self/ns/net").expect("every process has one");
        let us = getpid();
        assert!(within(&network, Some(us)).contains(&us));
        assert!(!is_still(us));
    }
}
