//! What works on this machine, why the rest does not, and what would mend it.

use std::io::ErrorKind;
use std::path::Path;

use nix::errno::Errno;

use crate::backend::Unsupported;

/// Capability numbers (linux/capability.h).
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;

/// True if this process may make namespaces and devices as it is, without a
/// user namespace of its own.
pub fn can_administer() -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let held = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = held
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    [CAP_NET_ADMIN, CAP_SYS_ADMIN]
        .into_iter()
        .all(|capability| held & (1 << capability) != 0)
}

fn setting(path: &str) -> Option<String> {
    std::fs::read_to_string(path)
        .ok()
        .map(|text| text.trim().to_owned())
}

/// A setting of this machine that is known to keep users from namespaces.
pub fn known_restriction() -> Option<Unsupported> {
    if setting("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        return Some(Unsupported::new(
            "AppArmor keeps users from their own namespaces (Ubuntu's default)",
            "run: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ));
    }
    if setting("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        return Some(Unsupported::new(
            "this kernel keeps users from their own namespaces",
            "run: sudo sysctl -w kernel.unprivileged_userns_clone=1",
        ));
    }
    for kind in ["user", "net", "mnt", "pid"] {
        if setting(&format!("/proc/sys/user/max_{kind}_namespaces")).as_deref() == Some("0") {
            return Some(Unsupported::new(
                format!("no {kind} namespaces are allowed on this machine"),
                format!("run: sudo sysctl -w user.max_{kind}_namespaces=15000"),
            ));
        }
    }
    None
}

/// Why namespaces could not be made, given what the kernel answered.
pub fn why_no_namespaces(errno: Errno) -> Unsupported {
    if let Some(known) = known_restriction() {
        return known;
    }
    match errno {
        Errno::ENOSPC | Errno::EUSERS => Unsupported::new(
            "all namespaces that are allowed on this machine are in use",
            "run: sudo sysctl -w user.max_user_namespaces=15000 user.max_net_namespaces=15000",
        ),
        Errno::EINVAL => Unsupported::new(
            "this kernel was built without the namespaces that the lab needs",
            "use a kernel with CONFIG_USER_NS, CONFIG_NET_NS and CONFIG_PID_NS, or --cluster docker",
        ),
        _ if in_container() => Unsupported::new(
            format!("this container may not make namespaces ({})", errno.desc()),
            "start it with: docker run --privileged (or --security-opt seccomp=unconfined --security-opt apparmor=unconfined)",
        ),
        _ => Unsupported::new(
            format!("namespaces could not be made ({})", errno.desc()),
            "run as root, or allow users their own namespaces",
        ),
    }
}

fn in_container() -> bool {
    ["/.dockerenv", "/run/.containerenv"]
        .iter()
        .any(|mark| Path::new(mark).exists())
        || setting("/proc/1/cgroup")
            .is_some_and(|cgroup| cgroup.contains("docker") || cgroup.contains("kubepods"))
}

/// Why the TUN driver cannot be used.
pub(crate) fn why_no_tun(path: &Path, error: &std::io::Error) -> Unsupported {
    let path = path.display();
    match error.kind() {
        ErrorKind::NotFound => Unsupported::new(
            format!("there is no {path}"),
            "run: sudo modprobe tun (in a container: docker run --device /dev/net/tun)",
        ),
        ErrorKind::PermissionDenied => Unsupported::new(
            format!("you may not open {path}"),
            format!("run: sudo chmod 666 {path} (the usual mode)"),
        ),
        _ => Unsupported::new(format!("{path}: {error}"), "run: sudo modprobe tun"),
    }
}
