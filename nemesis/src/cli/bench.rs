//! `nemesis bench`: what the lab itself costs, measured on this machine.
//!
//! Each part runs in a lab of its own, in a process of its own, with this very
//! program as its nodes; but `docker` needs a running compose cluster.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, IoSliceMut, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::cmsg_space;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, SockaddrIn, recvmsg, setsockopt, sockopt};
use nix::sys::time::TimeSpec;

use super::bad;
use crate::backend::Backend;
use crate::docker::DockerBackend;
use crate::fault::Fault;
use crate::grudge::Direction;
use crate::kernel;
use crate::lab::{self, Lab, LabOptions, Net, NodeSpec, address_of};
use crate::link::{Link, LinkMatrix};
use crate::nemesis::Nemesis;
use crate::node::NodeId;

const ECHO: u16 = 7000;
const ORDERS: u16 = 7001;
const SINK: u16 = 7002;
const CLOCK: u16 = 7003;
/// The part that has no lab.
const DOCKER: &str = "docker";
const PATIENCE: Duration = Duration::from_secs(60);

/// The parts, and how many nodes each takes.
const PARTS: [(&str, usize); 9] = [
    ("up-5", 5),
    ("up-50", 50),
    ("partition", 5),
    ("switch", 2),
    ("delay", 5),
    ("disk", 1),
    ("up-5-iptables", 5),
    ("partition-iptables", 5),
    ("switch-iptables", 2),
];

/// Runs these parts, or every part, and prints what was measured.
pub(super) fn run(parts: &[String], project: Option<&str>) -> anyhow::Result<bool> {
    let labs = PARTS.iter().map(|(part, _)| *part);
    let known: Vec<&str> = labs.chain([DOCKER]).collect();
    if let Some(unknown) = parts.iter().find(|part| !known.contains(&part.as_str())) {
        return Err(bad(format!("unknown part {unknown}: use {}", known.join(", "))));
    }
    let wanted = |part: &&str| parts.is_empty() || parts.iter().any(|wanted| wanted == part);
    for part in known.into_iter().filter(wanted) {
        if part == DOCKER {
            match docker(project) {
                Ok(measured) => crate::say!("{part:<18} {measured}"),
                Err(why) if parts.is_empty() => crate::say!("{part:<18} skipped: {why:#}"),
                Err(why) => return Err(why),
            }
            continue;
        }
        let status = Command::new(std::env::current_exe()?)
            .args(["bench-part", part])
            .status()?;
        ensure!(status.success(), "part {part} failed ({status})");
    }
    Ok(true)
}

/// Runs one part, in a lab.
pub(super) fn part(name: &str) -> anyhow::Result<bool> {
    let (_, nodes) = PARTS
        .iter()
        .find(|(part, _)| *part == name)
        .ok_or_else(|| bad("no such part"))?;
    let folder = std::env::temp_dir().join(format!("nemesis-bench-{}", std::process::id()));
    let before = Instant::now();
    let seat = lab::enter().map_err(bad)?;
    let options = LabOptions {
        simulated_disks: name == "disk",
        net: if name.ends_with("-iptables") {
            Net::Iptables
        } else {
            Net::Switch
        },
        ..LabOptions::default()
    };
    let lab = Lab::start(seat, &options, specs(&folder, *nodes)?)?;
    let up = before.elapsed();
    for node in lab.nodes() {
        let address = SocketAddr::from((lab.address(node).expect("a node of it"), ORDERS));
        lab.wait_until(node, || TcpStream::connect(address).is_ok(), PATIENCE)?;
    }
    let measured = match name {
        "partition" | "partition-iptables" => partition(Box::new(lab.backend()), &folder, 50),
        "switch" => switch(&lab),
        "switch-iptables" => star(&lab),
        "delay" => delay(&lab, &folder),
        "disk" => order(&lab, 0, "appends 2").map(|rate| format!("{rate} synced 128-byte appends/s")),
        _ => {
            let before = Instant::now();
            lab.stop();
            let text = format!("{nodes} nodes up in {up:?}, down in {:?}", before.elapsed());
            Ok(text)
        }
    };
    drop(lab);
    let _ = std::fs::remove_dir_all(&folder);
    crate::say!("{name:<18} {}", measured?);
    Ok(true)
}

fn specs(folder: &Path, nodes: usize) -> anyhow::Result<Vec<NodeSpec>> {
    let program = std::env::current_exe()?;
    let spec = |place: usize| {
        let id = NodeId::numbered(place + 1);
        NodeSpec {
            program: program.clone(),
            args: vec![OsString::from("bench-node")],
            env: Vec::new(),
            dir: folder.join(id.as_str()),
            data: folder.join(id.as_str()).join("data"),
            log: folder.join(id.as_str()).join("node.log"),
            forward: Vec::new(),
            id,
        }
    };
    Ok((0..nodes).map(spec).collect())
}

/// Has a node measure something.
fn order(lab: &Lab, place: usize, what: &str) -> anyhow::Result<String> {
    let address = lab.address(&lab.nodes()[place]).context("a node of it")?;
    let mut stream = TcpStream::connect((address, ORDERS))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    writeln!(stream, "{what}")?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    Ok(line.trim().to_owned())
}

/// On the containers of a compose project.
fn docker(project: Option<&str>) -> anyhow::Result<String> {
    let backend = DockerBackend::find(project).map_err(bad)?;
    let folder = std::env::temp_dir().join(format!("nemesis-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder)?;
    let measured = partition(Box::new(backend), &folder, 20);
    let _ = std::fs::remove_dir_all(&folder);
    measured
}

/// A partition into halves, applied and healed over and over: the links alone, and
/// then all that a nemesis does.
fn partition(mut backend: Box<dyn Backend>, folder: &Path, rounds: usize) -> anyhow::Result<String> {
    let nodes = backend.nodes().to_vec();
    let good = LinkMatrix::good(&nodes);
    let mut cut = good.clone();
    let (few, many) = nodes.split_at(nodes.len() / 2);
    for (one, other) in few
        .iter()
        .flat_map(|one| many.iter().map(move |other| (one, other)))
    {
        cut.worsen(one, other, &Link::CUT);
        cut.worsen(other, one, &Link::CUT);
    }
    let (mut laid, mut opened) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        laid.push(timed(|| backend.set_links(&cut))?.1);
        opened.push(timed(|| backend.set_links(&good))?.1);
    }
    let mut nemesis = Nemesis::new(backend, &folder.join("journal"), 0)?;
    let fault = Fault::Partition {
        shape: "halves".parse()?,
        direction: Direction::Both,
    };
    let (mut applied, mut undone) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (cut, took) = timed(|| nemesis.apply(&fault))?;
        ensure!(cut.bit, "the partition did not bite");
        applied.push(took);
        let (healed, took) = timed(|| nemesis.undo(cut.id))?;
        ensure!(healed.healed, "the partition did not heal");
        undone.push(took);
    }
    Ok(format!(
        "links cut in {}, opened in {}; with journal on disk and probes applied in {}, undone in {} ({} nodes, {rounds} times)",
        middle_and_worst(&mut laid),
        middle_and_worst(&mut opened),
        middle_and_worst(&mut applied),
        middle_and_worst(&mut undone),
        nodes.len()
    ))
}

/// What came of it, and how long it took.
fn timed<T, E>(work: impl FnOnce() -> Result<T, E>) -> Result<(T, Duration), E> {
    let before = Instant::now();
    work().map(|done| (done, before.elapsed()))
}

fn middle_and_worst(times: &mut [Duration]) -> String {
    times.sort_unstable();
    format!(
        "{:?} (worst {:?})",
        times[times.len() / 2],
        times[times.len() - 1]
    )
}

fn switch(lab: &Lab) -> anyhow::Result<String> {
    let rtt = order(lab, 0, &format!("rtt {} 5000", address_of(1)))?;
    let local = order(lab, 0, &format!("rtt {} 5000", Ipv4Addr::LOCALHOST))?;
    let (before, started) = (lab.switched().context("a switch")?, Instant::now());
    let sent = order(lab, 0, &format!("flood {} 2", address_of(1)))?;
    let (after, elapsed) = (lab.switched().context("a switch")?, started.elapsed());
    let packets = (after.packets - before.packets) as f64;
    let (rate, on_one_core) = (
        packets / elapsed.as_secs_f64(),
        packets / (after.busy - before.busy).as_secs_f64(),
    );
    Ok(format!(
        "{rate:.0} packets/s passed on (of {sent} sent in 2 s), {on_one_core:.0} per second of one core; round trip {rtt}; over loopback {local}"
    ))
}

/// The kernel's own path, to compare.
fn star(lab: &Lab) -> anyhow::Result<String> {
    Ok(format!(
        "round trip over the bridge {}",
        order(lab, 0, &format!("rtt {} 5000", address_of(1)))?
    ))
}

/// One packet at a time over each of four links, from when it is sent until the
/// receiver's kernel has it. A link keeps the order of its packets, so those of a
/// dense stream would wait for each other.
fn delay(lab: &Lab, folder: &Path) -> anyhow::Result<String> {
    let mut nemesis = Nemesis::new(Box::new(lab.backend()), &folder.join("journal"), 0)?;
    let fault = serde_json::from_str(
        r#"{"fault":"links","from":"n1","to":"n2,n3,n4,n5","link":{"delay":{"mean":"50ms","jitter":"20ms"}}}"#,
    )?;
    let applied = nemesis.apply(&fault)?;
    ensure!(applied.bit, "the delay did not bite");
    let others: Vec<String> = (1..5).map(|place| address_of(place).to_string()).collect();
    let times = order(lab, 0, &format!("flights 400 {}", others.join(" ")))?;
    Ok(format!("50 +- 20 ms one way (30.4, 50, 69.6): {times}"))
}

/// A node: echoes, swallows, and measures when told to.
pub(super) fn node() -> anyhow::Result<bool> {
    let echo = TcpListener::bind((Ipv4Addr::UNSPECIFIED, ECHO))?;
    let sink = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, SINK))?;
    std::thread::spawn(move || {
        for client in echo.incoming().flatten() {
            std::thread::spawn(move || echo_back(client));
        }
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        while sink.recv(&mut buffer).is_ok() {}
    });
    let clock_socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, CLOCK))?;
    std::thread::spawn(move || clock(&clock_socket));
    let orders = TcpListener::bind((Ipv4Addr::UNSPECIFIED, ORDERS))?;
    for client in orders.incoming() {
        let client = client?;
        let mut line = String::new();
        BufReader::new(&client).read_line(&mut line)?;
        let answer = match line.split_whitespace().collect::<Vec<_>>()[..] {
            ["rtt", whom, count] => rtt(whom.parse()?, count.parse()?),
            ["flights", count, ref whom @ ..] => flights(count.parse()?, whom),
            ["flood", whom, secs] => flood(whom.parse()?, secs.parse()?),
            ["appends", secs] => appends(secs.parse()?),
            [] => continue,
            _ => bail!("an order that nobody gave: {line}"),
        };
        writeln!(
            &client,
            "{}",
            answer.unwrap_or_else(|error| format!("failed: {error:#}"))
        )?;
    }
    Ok(true)
}

fn echo_back(mut client: TcpStream) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let mut buffer = [0; 4096];
    loop {
        let length = client.read(&mut buffer)?;
        if length == 0 {
            return Ok(());
        }
        client.write_all(&buffer[..length])?;
    }
}

fn rtt(whom: Ipv4Addr, count: usize) -> anyhow::Result<String> {
    let mut stream = TcpStream::connect((whom, ECHO))?;
    stream.set_nodelay(true)?;
    let mut times = Vec::with_capacity(count);
    let mut buffer = [0; 64];
    for _ in 0..count {
        let before = Instant::now();
        stream.write_all(&buffer)?;
        stream.read_exact(&mut buffer)?;
        times.push(before.elapsed().as_secs_f64() * 1e3);
    }
    Ok(spread(times))
}

/// Mean and percentiles of milliseconds.
fn spread(mut times: Vec<f64>) -> String {
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    let mean = times.iter().sum::<f64>() / times.len() as f64;
    format!(
        "mean {mean:.3} p1 {:.3} p50 {:.3} p99 {:.3} ms",
        at(0.01),
        at(0.5),
        at(0.99)
    )
}

/// How long single packets to each of these are on their way, to all at once.
fn flights(count: usize, whom: &[&str]) -> anyhow::Result<String> {
    let to_one = |address: &&str| -> anyhow::Result<Vec<f64>> {
        let address: Ipv4Addr = address.parse()?;
        let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
        socket.connect((address, CLOCK))?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut took = [0; 8];
        let mut flight = || -> anyhow::Result<f64> {
            socket.send(&since_1970()?.to_be_bytes())?;
            socket.recv(&mut took)?;
            Ok(u64::from_be_bytes(took) as f64 / 1e6)
        };
        (0..count).map(|_| flight()).collect()
    };
    let times = kernel::everywhere(whom, to_one);
    let times: Vec<Vec<f64>> = times.into_iter().collect::<anyhow::Result<_>>()?;
    Ok(spread(times.concat()))
}

/// Nanoseconds by the clock by which the kernel stamps what arrives.
fn since_1970() -> anyhow::Result<u64> {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    Ok(u64::try_from(since.as_nanos())?)
}

/// Answers each packet with how long it was on its way, as the kernel saw it come:
/// when this process gets to look is its own affair.
fn clock(socket: &UdpSocket) -> anyhow::Result<()> {
    setsockopt(socket, sockopt::ReceiveTimestampns, &true)?;
    let (mut buffer, mut space) = ([0; 8], cmsg_space!(TimeSpec));
    loop {
        let mut parts = [IoSliceMut::new(&mut buffer)];
        let packet = recvmsg::<SockaddrIn>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut space),
            MsgFlags::empty(),
        )?;
        let stamp = packet.cmsgs()?.find_map(|message| match message {
            ControlMessageOwned::ScmTimestampns(stamp) => Some(Duration::from(stamp)),
            _ => None,
        });
        let (stamp, sender) = (stamp.context("a stamp")?, packet.address.context("a sender")?);
        let came = u64::try_from(stamp.as_nanos())?;
        let took = came.saturating_sub(u64::from_be_bytes(buffer));
        socket.send_to(&took.to_be_bytes(), (sender.ip(), sender.port()))?;
    }
}

fn flood(whom: Ipv4Addr, secs: u64) -> anyhow::Result<String> {
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
    let until = Instant::now() + Duration::from_secs(secs);
    let mut sent = 0u64;
    while Instant::now() < until {
        for _ in 0..32 {
            sent += u64::from(socket.send_to(&[0; 100], (whom, SINK)).is_ok());
        }
    }
    Ok(sent.to_string())
}

fn appends(secs: u64) -> anyhow::Result<String> {
    let mut file = std::fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open("data/bench")?;
    let (started, mut count) = (Instant::now(), 0u64);
    while started.elapsed() < Duration::from_secs(secs) {
        file.write_all(&[0; 128])?;
        file.sync_data()?;
        count += 1;
    }
    Ok(format!("{:.0}", count as f64 / started.elapsed().as_secs_f64()))
}
