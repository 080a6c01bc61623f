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

/// Whether containers' network namespaces can be entered and have rules laid.
///
/// # Errors
/// Why not.
pub fn can_cut_containers() -> Result<(), Unsupported> {
    if !can_administer() {
        return Err(Unsupported::new(
            "cutting links between containers takes root",
            "run it with sudo, or run the cluster in the lab",
        ));
    }
    let folders = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    if std::env::split_paths(&folders).any(|folder| folder.join("iptables-restore").exists()) {
        return Ok(());
    }
    Err(Unsupported::new(
        "there is no iptables-restore",
        "run: sudo apt-get install iptables",
    ))
}

/// One thing that may work here or not.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What was examined.
    pub what: &'static str,
    /// What it is needed for.
    pub gives: &'static str,
    /// Why it does not work, and what would mend it.
    pub why_not: Option<Unsupported>,
}

/// Examines this machine. It changes nothing.
pub fn examine() -> Vec<Finding> {
    let finding = |what, gives, outcome: Result<(), Unsupported>| Finding {
        what,
        gives,
        why_not: outcome.err(),
    };
    vec![
        finding("namespaces", "the lab", can_make_namespaces()),
        finding(
            "/dev/net/tun",
            "the lab's network",
            can_open(Path::new("/dev/net/tun"), why_no_tun),
        ),
        finding(
            "/dev/fuse",
            "simulated disks in the lab",
            can_open(Path::new("/dev/fuse"), why_no_fuse),
        ),
        finding(
            "libfaketime",
            "wrong clocks in the lab",
            find_faketime().map(drop),
        ),
        finding("docker", "compose clusters", docker()),
        finding(
            "iptables in containers",
            "partitions of compose clusters",
            can_cut_containers(),
        ),
    ]
}

/// Makes the namespaces of a lab in a child, which ends at once.
fn can_make_namespaces() -> Result<(), Unsupported> {
    let unshare = |flags: &[&str]| {
        std::process::Command::new("unshare")
            .args(flags)
            .arg("true")
            .output()
            .is_ok_and(|out| out.status.success())
    };
    let worked = (can_administer() && unshare(&["--net", "--mount", "--pid", "--fork"]))
        || unshare(&[
            "--user",
            "--map-current-user",
            "--net",
            "--mount",
            "--pid",
            "--fork",
        ]);
    if worked {
        Ok(())
    } else {
        Err(why_no_namespaces(Errno::EPERM))
    }
}

fn can_open(path: &Path, why_not: fn(&Path, &std::io::Error) -> Unsupported) -> Result<(), Unsupported> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let is_driver = |meta: std::fs::Metadata| {
        let major = nix::sys::stat::major(meta.rdev());
        // Both drivers have the major number of miscellaneous devices.
        if meta.file_type().is_char_device() && major == 10 {
            Ok(())
        } else {
            Err(std::io::Error::other("this is not the driver's device"))
        }
    };
    let opened = std::fs::OpenOptions::new().read(true).write(true).open(path);
    let outcome = opened.and_then(|device| device.metadata()).and_then(is_driver);
    outcome.map_err(|error| why_not(path, &error))
}

/// Why the FUSE driver cannot be used.
pub(crate) fn why_no_fuse(path: &Path, error: &std::io::Error) -> Unsupported {
    let path = path.display();
    match error.kind() {
        ErrorKind::NotFound => Unsupported::new(
            format!("there is no {path}"),
            "run: sudo modprobe fuse (in a container: docker run --device /dev/fuse)",
        ),
        ErrorKind::PermissionDenied => Unsupported::new(
            format!("you may not open {path}"),
            format!("run: sudo chmod 666 {path} (the usual mode)"),
        ),
        _ => Unsupported::new(format!("{path}: {error}"), "run: sudo modprobe fuse"),
    }
}

/// Where libfaketime is.
///
/// # Errors
/// If it is not installed.
pub fn find_faketime() -> Result<std::path::PathBuf, Unsupported> {
    let folders = [
        "/usr/lib/x86_64-linux-gnu/faketime",
        "/usr/lib/aarch64-linux-gnu/faketime",
        "/usr/lib64/faketime",
        "/usr/lib/faketime",
        "/usr/local/lib/faketime",
    ];
    let found = folders
        .iter()
        .map(|folder| Path::new(folder).join("libfaketimeMT.so.1"))
        .find(|path| path.exists());
    found.ok_or_else(|| {
        Unsupported::new(
            "libfaketime is not installed",
            "run: sudo apt-get install libfaketime",
        )
    })
}

fn docker() -> Result<(), Unsupported> {
    let output = std::process::Command::new("docker")
        .args(["version", "--format", "{{.Server.Version}}"])
        .output();
    match output {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => {
            let message = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
            let mend = if message.contains("permission denied") {
                "run: sudo usermod -aG docker $USER, and log in again"
            } else {
                "run: sudo systemctl start docker"
            };
            Err(Unsupported::new(message, mend))
        }
        Err(_) => Err(Unsupported::new(
            "there is no docker command",
            "install Docker, or use the lab",
        )),
    }
}
