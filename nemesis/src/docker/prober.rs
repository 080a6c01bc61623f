//! Packets from container to container, to see what arrives.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::time::TimeSpec;

/// Packets sent over each link.
const SENT: u32 = 3;
/// Time between them.
const GAP: Duration = Duration::from_millis(20);
/// How long after the last one something may still arrive. A bridge takes
/// microseconds; this is for machines that are busy.
const PATIENCE: Duration = Duration::from_millis(150);

/// A link to be probed, and what came of it.
#[derive(Debug)]
pub(crate) struct Trial {
    /// Places of the ends among the sockets.
    pub(crate) from: usize,
    pub(crate) to: usize,
    /// Packets sent.
    pub(crate) sent: u32,
    /// By number, how long each that arrived took.
    pub(crate) arrived: BTreeMap<u32, Duration>,
    /// True if the link is meant to carry packets: then there is no need to wait
    /// once one has come through.
    pub(crate) open: bool,
}

impl Trial {
    pub(crate) fn new(from: usize, to: usize, open: bool) -> Trial {
        Trial {
            from,
            to,
            sent: 0,
            arrived: BTreeMap::new(),
            open,
        }
    }

    fn is_over(&self) -> bool {
        self.open && !self.arrived.is_empty()
    }
}

/// Sends packets over all of these links at once.
pub(crate) fn probe(
    sockets: &[(UdpSocket, Ipv4Addr)],
    nonce: u64,
    trials: &mut [Trial],
) -> std::io::Result<()> {
    let addresses = sockets
        .iter()
        .map(|(socket, address)| Ok(SocketAddr::from((*address, socket.local_addr()?.port()))))
        .collect::<std::io::Result<Vec<_>>>()?;
    let mut sent_at = vec![Vec::new(); trials.len()];
    for _ in 0..SENT {
        for (number, trial) in trials
            .iter_mut()
            .enumerate()
            .filter(|(_, trial)| !trial.is_over())
        {
            let packet = [
                nonce.to_be_bytes(),
                (number as u64).to_be_bytes(),
                u64::from(trial.sent).to_be_bytes(),
            ];
            sent_at[number].push(Instant::now());
            trial.sent += 1;
            // A packet that is refused on its way out is one that does not arrive.
            let _ = sockets[trial.from]
                .0
                .send_to(&packet.concat(), addresses[trial.to]);
        }
        receive(sockets, nonce, trials, &sent_at, GAP)?;
    }
    receive(sockets, nonce, trials, &sent_at, PATIENCE)
}

fn receive(
    sockets: &[(UdpSocket, Ipv4Addr)],
    nonce: u64,
    trials: &mut [Trial],
    sent_at: &[Vec<Instant>],
    patience: Duration,
) -> std::io::Result<()> {
    let until = Instant::now() + patience;
    while Instant::now() < until && !trials.iter().all(Trial::is_over) {
        let mut fds: Vec<PollFd<'_>> = sockets
            .iter()
            .map(|(socket, _)| PollFd::new(socket.as_fd(), PollFlags::POLLIN))
            .collect();
        let left = until.saturating_duration_since(Instant::now());
        match ppoll(&mut fds, Some(TimeSpec::from_duration(left)), None) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let now = Instant::now();
        let mut packet = [0u8; 32];
        for (to, (socket, _)) in sockets.iter().enumerate() {
            while let Ok((24, _)) = socket.recv_from(&mut packet) {
                let word =
                    |at: usize| u64::from_be_bytes(packet[at..at + 8].try_into().expect("eight bytes"));
                let (number, which) = (word(8) as usize, word(16) as usize);
                let Some(trial) = trials.get_mut(number) else {
                    continue;
                };
                if word(0) == nonce
                    && trial.to == to
                    && let Some(sent) = sent_at[number].get(which)
                {
                    trial.arrived.entry(which as u32).or_insert(now - *sent);
                }
            }
        }
    }
    Ok(())
}
