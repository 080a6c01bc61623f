//! What is asked of the Docker engine, by its own command.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde::Deserialize;

use crate::docker::DockerError;

/// A container, as the engine describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Container {
    /// Its full id.
    pub(crate) id: String,
    /// Name of the compose service, and which of its containers.
    pub(crate) service: String,
    pub(crate) number: u32,
    /// Process id of its first process on the host; none if it is not running.
    pub(crate) pid: Option<i32>,
    /// `running`, `exited`, ...
    pub(crate) status: String,
    /// How it exited last.
    pub(crate) exit_code: i32,
    /// Its addresses, one a network.
    pub(crate) addresses: Vec<Ipv4Addr>,
    /// Its published TCP ports, as they are inside, in order.
    pub(crate) ports: Vec<u16>,
    /// Where on the host the volumes are that it may write to.
    pub(crate) volumes: Vec<PathBuf>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    id: String,
    state: InspectedState,
    config: InspectedConfig,
    network_settings: InspectedNetworks,
    #[serde(default)]
    mounts: Vec<InspectedMount>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedMount {
    #[serde(default)]
    source: PathBuf,
    #[serde(default, rename = "RW")]
    writable: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedState {
    status: String,
    pid: i32,
    exit_code: i32,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedConfig {
    #[serde(default)]
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct InspectedNetworks {
    #[serde(default)]
    networks: BTreeMap<String, InspectedNetwork>,
    /// `8000/tcp` to where it is published, or to null.
    #[serde(default)]
    ports: Option<BTreeMap<String, Option<serde_json::Value>>>,
}

#[derive(Deserialize)]
struct InspectedNetwork {
    #[serde(default, rename = "IPAddress")]
    address: String,
    /// Where the compose file fixes the address, it is known of a dead container too.
    #[serde(default, rename = "IPAMConfig")]
    fixed: Option<InspectedFixed>,
}

#[derive(Deserialize)]
struct InspectedFixed {
    #[serde(default, rename = "IPv4Address")]
    address: String,
}

/// Labels that Compose puts on what it makes.
pub(crate) const PROJECT: &str = "com.docker.compose.project";
const SERVICE: &str = "com.docker.compose.service";
const NUMBER: &str = "com.docker.compose.container-number";

/// Runs a docker command and returns what it printed.
pub(crate) fn docker(args: &[&str]) -> Result<String, DockerError> {
    let output = Command::new("docker").args(args).stdin(Stdio::null()).output();
    let output = output.map_err(|error| match error.kind() {
        ErrorKind::NotFound => DockerError::Missing,
        _ => DockerError::Command {
            command: "docker".to_owned(),
            message: error.to_string(),
        },
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let message = String::from_utf8_lossy(&output.stderr).trim().replace('\n', "; ");
    let unreachable =
        message.contains("permission denied") || message.contains("Cannot connect to the Docker daemon");
    if unreachable {
        // What follows is the address that was tried, and all of the question.
        let said = ["permission denied", "Cannot connect to the Docker daemon"];
        let said = said.into_iter().find(|said| message.contains(said));
        let message = said.unwrap_or_default().to_owned();
        return Err(DockerError::Unreachable { message });
    }
    if message.to_lowercase().contains("no such") {
        return Err(DockerError::Gone(message));
    }
    Err(DockerError::Command {
        command: format!("docker {}", args.join(" ")),
        message,
    })
}

/// The compose projects that have containers, running or not.
pub(crate) fn projects() -> Result<Vec<String>, DockerError> {
    let format = format!("{{{{.Label \"{PROJECT}\"}}}}");
    let filter = format!("label={PROJECT}");
    let listed = docker(&["ps", "--all", "--filter", &filter, "--format", &format])?;
    let mut projects: Vec<String> = listed
        .lines()
        .filter(|line| !line.is_empty())
        .map(str::to_owned)
        .collect();
    projects.sort();
    projects.dedup();
    Ok(projects)
}

/// The containers of a compose project, running or not, by service.
pub(crate) fn containers(project: &str) -> Result<Vec<Container>, DockerError> {
    let filter = format!("label={PROJECT}={project}");
    let ids = docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter])?;
    let ids: Vec<&str> = ids.split_whitespace().collect();
    let mut containers = if ids.is_empty() {
        Vec::new()
    } else {
        inspect(&ids)?
    };
    containers.sort_by_key(|container| natural(&container.service, container.number));
    Ok(containers)
}

/// Describes these containers.
pub(crate) fn inspect(ids: &[&str]) -> Result<Vec<Container>, DockerError> {
    let text = docker(&[&["inspect", "--type", "container"], ids].concat())?;
    parse(&text).map_err(|error| DockerError::Command {
        command: "docker inspect".to_owned(),
        message: error.to_string(),
    })
}

fn parse(text: &str) -> Result<Vec<Container>, serde_json::Error> {
    let all: Vec<Inspected> = serde_json::from_str(text)?;
    Ok(all.into_iter().map(Inspected::into_container).collect())
}

impl Inspected {
    fn into_container(self) -> Container {
        let labels = self.config.labels.unwrap_or_default();
        let address = |network: InspectedNetwork| {
            let fixed = network.fixed.map(|fixed| fixed.address).unwrap_or_default();
            network.address.parse().or_else(|_| fixed.parse()).ok()
        };
        let published = self.network_settings.ports.unwrap_or_default();
        let mut ports: Vec<u16> = published
            .iter()
            .filter(|(_, host)| host.is_some())
            .filter_map(|(port, _)| port.strip_suffix("/tcp")?.parse().ok())
            .collect();
        ports.sort_unstable();
        let volumes = self.mounts.into_iter().filter(|mount| mount.writable);
        Container {
            ports,
            volumes: volumes.map(|mount| mount.source).collect(),
            id: self.id,
            service: labels.get(SERVICE).cloned().unwrap_or_default(),
            number: labels
                .get(NUMBER)
                .and_then(|number| number.parse().ok())
                .unwrap_or(1),
            pid: (self.state.pid > 0).then_some(self.state.pid),
            status: self.state.status,
            exit_code: self.state.exit_code,
            addresses: self
                .network_settings
                .networks
                .into_values()
                .filter_map(address)
                .collect(),
        }
    }
}

/// Orders `n2` before `n10`.
fn natural(name: &str, number: u32) -> (String, u64, u32) {
    let digits = name.len() - name.trim_end_matches(|c: char| c.is_ascii_digit()).len();
    let (stem, tail) = name.split_at(name.len() - digits);
    (stem.to_owned(), tail.parse().unwrap_or(0), number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_container_keeps_its_fixed_address() {
        let text = r#"[{"Id":"abc","State":{"Status":"exited","Pid":0,"ExitCode":137},
            "Config":{"Labels":{"com.docker.compose.service":"n10","com.docker.compose.container-number":"1"}},
            "NetworkSettings":{"Networks":{"kv_default":{"IPAMConfig":{"IPv4Address":"172.28.0.11"},"IPAddress":""}}}}]"#;
        let containers = parse(text).expect("what docker prints");
        assert_eq!(containers[0].addresses, [Ipv4Addr::new(172, 28, 0, 11)]);
        assert_eq!((containers[0].pid, containers[0].exit_code), (None, 137));
        assert!(natural("n2", 1) < natural("n10", 1));
    }
}
