//! What works on this machine, why the rest does not, and what would mend it.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use crate::backend::Unsupported;
use crate::fault::Ability;
use crate::kernel::Means;

/// Where the doctor looks: this machine, or one that a test makes up.
trait Surroundings {
    /// What a file says.
    fn read(&self, path: &str) -> Option<String>;
    /// Whether there is such a file.
    fn exists(&self, path: &str) -> bool;
    /// Opens the device of a driver and sees that it is one.
    fn open(&self, path: &str) -> std::io::Result<()>;
    /// Runs a command: whether it succeeded, and what it said if not. None if there
    /// is no such command.
    fn run(&self, command: &[&str]) -> Option<Result<(), String>>;
    /// What the kernel can do to links.
    fn links(&self, ability: Ability) -> Result<(), Unsupported>;
}

/// The machine that we are on.
struct ThisMachine {
    means: Means,
}

impl ThisMachine {
    fn new() -> ThisMachine {
        ThisMachine {
            means: Means::default(),
        }
    }
}

impl Surroundings for ThisMachine {
    fn read(&self, path: &str) -> Option<String> {
        std::fs::read_to_string(path).ok()
    }

    fn exists(&self, path: &str) -> bool {
        Path::new(path).exists()
    }

    fn open(&self, path: &str) -> std::io::Result<()> {
        use std::os::unix::fs::{FileTypeExt, MetadataExt};
        let opened = std::fs::OpenOptions::new().read(true).write(true).open(path)?;
        let meta = opened.metadata()?;
        // All the drivers have the major number of miscellaneous devices.
        if meta.file_type().is_char_device() && nix::sys::stat::major(meta.rdev()) == 10 {
            Ok(())
        } else {
            Err(std::io::Error::other("this is not the driver's device"))
        }
    }

    fn run(&self, command: &[&str]) -> Option<Result<(), String>> {
        let output = std::process::Command::new(command[0])
            .args(&command[1..])
            .stdin(std::process::Stdio::null())
            .output()
            .ok()?;
        let said = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
        Some(if output.status.success() {
            Ok(())
        } else {
            Err(said)
        })
    }

    fn links(&self, ability: Ability) -> Result<(), Unsupported> {
        self.means.can(ability)
    }
}

/// Capability numbers (linux/capability.h).
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;

/// True if this process may make namespaces and devices as it is, without a
/// user namespace of its own.
pub fn can_administer() -> bool {
    administers(&ThisMachine::new())
}

fn administers(here: &impl Surroundings) -> bool {
    let status = here.read("/proc/self/status").unwrap_or_default();
    let held = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let held = held
        .and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok())
        .unwrap_or(0);
    [CAP_NET_ADMIN, CAP_SYS_ADMIN]
        .into_iter()
        .all(|capability| held & (1 << capability) != 0)
}

/// A setting of this machine that is known to keep users from namespaces.
pub fn known_restriction() -> Option<Unsupported> {
    restriction(&ThisMachine::new())
}

fn restriction(here: &impl Surroundings) -> Option<Unsupported> {
    let is = |path: &str, value: &str| here.read(path).is_some_and(|text| text.trim() == value);
    if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        return Some(Unsupported::new(
            "AppArmor keeps users from their own namespaces (Ubuntu's default)",
            "run: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
        ));
    }
    if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        return Some(Unsupported::new(
            "this kernel keeps users from their own namespaces",
            "run: sudo sysctl -w kernel.unprivileged_userns_clone=1",
        ));
    }
    let none = |kind: &&str| is(&format!("/proc/sys/user/max_{kind}_namespaces"), "0");
    let kind = ["user", "net", "mnt", "pid"].into_iter().find(none)?;
    Some(Unsupported::new(
        format!("no {kind} namespaces are allowed on this machine"),
        format!("run: sudo sysctl -w user.max_{kind}_namespaces=15000"),
    ))
}

/// Why namespaces could not be made, given what the kernel answered.
pub fn why_no_namespaces(errno: Errno) -> Unsupported {
    no_namespaces(&ThisMachine::new(), errno)
}

fn no_namespaces(here: &impl Surroundings, errno: Errno) -> Unsupported {
    if let Some(known) = restriction(here) {
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
        _ if in_container(here) => Unsupported::new(
            format!("this container may not make namespaces ({})", errno.desc()),
            "start it with: docker run --privileged (or --security-opt seccomp=unconfined --security-opt apparmor=unconfined)",
        ),
        _ => Unsupported::new(
            format!("namespaces could not be made ({})", errno.desc()),
            "run as root, or allow users their own namespaces",
        ),
    }
}

fn in_container(here: &impl Surroundings) -> bool {
    let marked = ["/.dockerenv", "/run/.containerenv"]
        .iter()
        .any(|mark| here.exists(mark));
    marked
        || here
            .read("/proc/1/cgroup")
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
    cuts_containers(&ThisMachine::new())
}

fn cuts_containers(here: &impl Surroundings) -> Result<(), Unsupported> {
    if !administers(here) {
        return Err(Unsupported::new(
            "cutting links between containers takes root",
            "run it with sudo, or run the cluster in the lab",
        ));
    }
    let folders = std::env::var("PATH").unwrap_or_default() + ":/usr/sbin:/sbin";
    let there = |folder: PathBuf| here.exists(&folder.join("iptables-restore").to_string_lossy());
    if std::env::split_paths(&folders).any(there) {
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
    examined(&ThisMachine::new())
}

fn examined(here: &impl Surroundings) -> Vec<Finding> {
    let finding = |what, gives, outcome: Result<(), Unsupported>| Finding {
        what,
        gives,
        why_not: outcome.err(),
    };
    let device = |path: &str, why_not: fn(&Path, &std::io::Error) -> Unsupported| {
        here.open(path).map_err(|error| why_not(Path::new(path), &error))
    };
    vec![
        finding("namespaces", "the lab", makes_namespaces(here)),
        finding(
            "/dev/net/tun",
            "the lab's switch (without it: --net iptables)",
            device("/dev/net/tun", why_no_tun),
        ),
        finding(
            "/dev/fuse",
            "simulated disks in the lab (without it: nemesis damage)",
            device("/dev/fuse", why_no_fuse),
        ),
        finding("libfaketime", "wrong clocks in the lab", faketime(here).map(drop)),
        finding("docker", "compose clusters", docker(here)),
        finding(
            "iptables in containers",
            "partitions of compose clusters",
            cuts_containers(here),
        ),
        finding(
            "iptables statistic",
            "loss without the lab's switch",
            here.links(Ability::Loss),
        ),
        finding(
            "tc htb",
            "narrow links without the lab's switch",
            here.links(Ability::Bandwidth),
        ),
        finding(
            "tc netem",
            "delay, duplication, reordering without the lab's switch",
            here.links(Ability::Links),
        ),
        finding("ssh", "clusters on other machines", ssh(here)),
    ]
}

/// Makes the namespaces of a lab in a child, which ends at once.
fn makes_namespaces(here: &impl Surroundings) -> Result<(), Unsupported> {
    const PLAIN: [&str; 5] = ["unshare", "--net", "--mount", "--pid", "--fork"];
    let unshare = |more: &[&str]| here.run(&[&PLAIN[..], more, &["true"]].concat());
    let as_user = || unshare(&["--user", "--map-current-user"]);
    if administers(here) && unshare(&[]) == Some(Ok(())) {
        return Ok(());
    }
    match as_user() {
        Some(Ok(())) => Ok(()),
        Some(Err(_)) => Err(no_namespaces(here, Errno::EPERM)),
        None => Err(Unsupported::new(
            "there is no unshare command to try it with",
            "run: sudo apt-get install util-linux",
        )),
    }
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
pub fn find_faketime() -> Result<PathBuf, Unsupported> {
    faketime(&ThisMachine::new())
}

fn faketime(here: &impl Surroundings) -> Result<PathBuf, Unsupported> {
    let folders = [
        "/usr/lib/x86_64-linux-gnu/faketime",
        "/usr/lib/aarch64-linux-gnu/faketime",
        "/usr/lib64/faketime",
        "/usr/lib/faketime",
        "/usr/local/lib/faketime",
    ];
    let found = folders
        .iter()
        .map(|folder| format!("{folder}/libfaketimeMT.so.1"))
        .find(|path| here.exists(path));
    found.map(PathBuf::from).ok_or_else(|| {
        Unsupported::new(
            "libfaketime is not installed",
            "run: sudo apt-get install libfaketime",
        )
    })
}

fn docker(here: &impl Surroundings) -> Result<(), Unsupported> {
    match here.run(&["docker", "version", "--format", "{{.Server.Version}}"]) {
        Some(Ok(())) => Ok(()),
        Some(Err(message)) => Err(if message.contains("permission denied") {
            Unsupported::new(
                "you may not ask the Docker engine",
                "run: sudo usermod -aG docker $USER, and log in again",
            )
        } else {
            Unsupported::new(message, "run: sudo systemctl start docker")
        }),
        None => Err(Unsupported::new(
            "there is no docker command",
            "install Docker, or use the lab",
        )),
    }
}

fn ssh(here: &impl Surroundings) -> Result<(), Unsupported> {
    match here.run(&["ssh", "-V"]) {
        Some(Ok(())) => Ok(()),
        _ => Err(Unsupported::new(
            "there is no ssh command",
            "run: sudo apt-get install openssh-client",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    /// A machine that a test makes up: one where everything works, for a start.
    struct Pretended {
        files: BTreeMap<String, String>,
        /// Devices that cannot be opened, and why.
        closed: BTreeMap<String, ErrorKind>,
        /// Commands that are missing, or fail with these words.
        missing: BTreeSet<&'static str>,
        failing: BTreeMap<&'static str, &'static str>,
    }

    const ROOT: &str = "Name:\tx\nCapEff:\t000001ffffffffff\n";
    const USER: &str = "Name:\tx\nCapEff:\t0000000000000000\n";

    impl Pretended {
        fn new(status: &str) -> Pretended {
            let mut machine = Pretended {
                files: BTreeMap::new(),
                closed: BTreeMap::new(),
                missing: BTreeSet::new(),
                failing: BTreeMap::new(),
            };
            machine.file("/proc/self/status", status);
            machine.file("/usr/sbin/iptables-restore", "");
            machine.file("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1", "");
            machine
        }

        fn file(&mut self, path: &str, text: &str) {
            self.files.insert(path.to_owned(), text.to_owned());
        }

        /// What does not work here: what, why, and what mends it.
        fn lacks(&self) -> Vec<(&'static str, String)> {
            let findings = examined(self).into_iter();
            findings
                .filter_map(|finding| Some((finding.what, finding.why_not?.to_string())))
                .collect()
        }
    }

    impl Surroundings for Pretended {
        fn read(&self, path: &str) -> Option<String> {
            self.files.get(path).cloned()
        }

        fn exists(&self, path: &str) -> bool {
            self.files.contains_key(path)
        }

        fn open(&self, path: &str) -> std::io::Result<()> {
            self.closed.get(path).map_or(Ok(()), |kind| Err((*kind).into()))
        }

        fn run(&self, command: &[&str]) -> Option<Result<(), String>> {
            if self.missing.contains(command[0]) {
                return None;
            }
            // Without a user namespace of its own only root may make others.
            if command[0] == "unshare" && !command.contains(&"--user") && !administers(self) {
                return Some(Err("unshare failed: Operation not permitted".to_owned()));
            }
            let said = self.failing.get(command[0]);
            Some(said.map_or(Ok(()), |said| Err((*said).to_owned())))
        }

        fn links(&self, _: Ability) -> Result<(), Unsupported> {
            Ok(())
        }
    }

    #[test]
    fn root_on_a_whole_machine_lacks_nothing() {
        assert_eq!(Pretended::new(ROOT).lacks(), []);
    }

    #[test]
    fn a_plain_user_with_namespaces_has_all_of_the_lab() {
        let lacks = Pretended::new(USER).lacks();
        assert_eq!(lacks.len(), 1, "{lacks:?}");
        assert_eq!(
            lacks[0],
            (
                "iptables in containers",
                "cutting links between containers takes root; run it with sudo, or run the cluster in the lab"
                    .to_owned()
            )
        );
    }

    /// What is said of `namespaces` on a machine that forbids them.
    fn without_namespaces(mut machine: Pretended) -> String {
        machine
            .failing
            .insert("unshare", "unshare failed: Operation not permitted");
        let lacks = machine.lacks();
        assert_eq!(lacks[0].0, "namespaces", "{lacks:?}");
        lacks[0].1.clone()
    }

    #[test]
    fn settings_that_forbid_namespaces_are_named_with_the_command_that_mends_them() {
        for (path, value, mend) in [
            (
                "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
                "1\n",
                "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
            ),
            (
                "/proc/sys/kernel/unprivileged_userns_clone",
                "0\n",
                "sudo sysctl -w kernel.unprivileged_userns_clone=1",
            ),
            (
                "/proc/sys/user/max_net_namespaces",
                "0\n",
                "sudo sysctl -w user.max_net_namespaces=15000",
            ),
        ] {
            let mut machine = Pretended::new(USER);
            machine.file(path, value);
            let said = without_namespaces(machine);
            assert!(said.ends_with(mend), "{path}: {said}");
        }
        // The same settings, set so that they forbid nothing.
        let mut machine = Pretended::new(USER);
        machine.file("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "0\n");
        machine.file("/proc/sys/kernel/unprivileged_userns_clone", "1\n");
        assert!(without_namespaces(machine).contains("run as root"));
    }

    #[test]
    fn root_in_a_container_is_told_how_to_start_it() {
        for mark in ["/.dockerenv", "/run/.containerenv", "/proc/1/cgroup"] {
            let mut machine = Pretended::new("CapEff:\t00000000a80425fb\n");
            machine.file(mark, "0::/docker/0123\n");
            let said = without_namespaces(machine);
            assert!(said.contains("docker run --privileged"), "{mark}: {said}");
        }
    }

    #[test]
    fn what_kernels_lack_is_told_from_what_they_refuse() {
        let machine = Pretended::new(USER);
        for (errno, expected) in [
            (Errno::ENOSPC, "in use"),
            (Errno::EINVAL, "CONFIG_USER_NS"),
            (Errno::EPERM, "run as root"),
        ] {
            let said = no_namespaces(&machine, errno).to_string();
            assert!(said.contains(expected), "{errno}: {said}");
        }
    }

    #[test]
    fn devices_that_are_missing_or_closed_are_told_apart() {
        for (path, gone, closed) in [
            ("/dev/net/tun", "sudo modprobe tun", "sudo chmod 666 /dev/net/tun"),
            ("/dev/fuse", "sudo modprobe fuse", "sudo chmod 666 /dev/fuse"),
        ] {
            for (kind, expected) in [
                (ErrorKind::NotFound, gone),
                (ErrorKind::PermissionDenied, closed),
                (ErrorKind::Other, gone),
            ] {
                let mut machine = Pretended::new(ROOT);
                machine.closed.insert(path.to_owned(), kind);
                let lacks = machine.lacks();
                assert_eq!((lacks.len(), lacks[0].0), (1, path), "{lacks:?}");
                assert!(lacks[0].1.contains(expected), "{kind}: {lacks:?}");
            }
        }
    }

    #[test]
    fn what_is_not_installed_comes_with_its_package() {
        let mut machine = Pretended::new(ROOT);
        machine.files.retain(|path, _| path.starts_with("/proc"));
        machine.missing.extend(["docker", "ssh", "unshare"]);
        let said: Vec<String> = machine.lacks().into_iter().map(|(_, why)| why).collect();
        let said = said.join("\n");
        for expected in [
            "util-linux",
            "libfaketime",
            "install Docker",
            "iptables",
            "openssh-client",
        ] {
            assert!(said.contains(expected), "{expected}: {said}");
        }
    }

    #[test]
    fn an_engine_that_is_down_is_told_from_one_that_is_closed() {
        for (said, mend) in [
            (
                "Cannot connect to the Docker daemon",
                "sudo systemctl start docker",
            ),
            (
                "permission denied while trying to connect",
                "sudo usermod -aG docker",
            ),
        ] {
            let mut machine = Pretended::new(ROOT);
            machine.failing.insert("docker", said);
            let lacks = machine.lacks();
            assert!(lacks[0].0 == "docker" && lacks[0].1.contains(mend), "{lacks:?}");
        }
    }
}
