//! Packets between machines where we can run commands only: ping sends them, and
//! the receiver's chain counts what came.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::time::Duration;

use super::line::Line;
use crate::link::Link;

/// Bytes of IPv4 and ICMP before what ping carries.
const HEADERS: u32 = 28;

/// How a link is to be tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Trial {
    count: u32,
    size: u32,
    gap_ms: u32,
}

impl Trial {
    fn of(link: &Link) -> Trial {
        if link.cut || link.is_good() {
            return Trial {
                count: 3,
                size: 16,
                gap_ms: 5,
            };
        }
        if link.bandwidth.is_some() {
            return Trial {
                count: 20,
                size: 1372,
                gap_ms: 2,
            };
        }
        Trial {
            count: 20,
            size: 16,
            gap_ms: 5,
        }
    }
}

/// What ping saw.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Pings {
    pub(super) sent: u32,
    /// Answers: packets that made it there and back.
    pub(super) answered: u32,
    pub(super) doubled: u32,
    pub(super) mean: Option<Duration>,
    /// Bits a second at which all came through, if all did.
    pub(super) rate: Option<u64>,
}

/// Sends to all of these at once, from the machine at the end of the line.
///
/// # Errors
/// If the machine is not reached, or has no ping.
pub(super) fn ping(line: &Line, targets: &[(Ipv4Addr, Link)]) -> std::io::Result<BTreeMap<Ipv4Addr, Pings>> {
    let one = |(address, link): &(Ipv4Addr, Link)| {
        let Trial { count, size, gap_ms } = Trial::of(link);
        let gap = f64::from(gap_ms) / 1000.0;
        let upper = link.delay.map_or(0.0, |delay| delay.upper().as_secs_f64());
        let squeezed = link
            .bandwidth
            .map_or(0.0, |bits| f64::from(count * (size + HEADERS) * 8) / bits as f64);
        let wait = 0.3 + upper + squeezed.min(10.0);
        // All at once, for the narrow link to squeeze.
        let at_once = link
            .bandwidth
            .map_or_else(String::new, |_| format!(" -l {count}"));
        format!(
            "( ping -n -q -c {count} -s {size} -i {gap} -W {wait:.1}{at_once} {address} 2>&1 | sed 's/^/{address} /' ) &\n"
        )
    };
    let script: String = targets.iter().map(one).collect();
    let missing = "echo 'there is no ping: apt-get install iputils-ping' && false";
    let printed = line.script(&format!(
        "command -v ping >/dev/null || {{ {missing}; }} && {{ {script} wait; }}"
    ))?;
    let links: BTreeMap<Ipv4Addr, Link> = targets.iter().copied().collect();
    Ok(parse(&printed, &links))
}

fn parse(printed: &str, links: &BTreeMap<Ipv4Addr, Link>) -> BTreeMap<Ipv4Addr, Pings> {
    let mut all: BTreeMap<Ipv4Addr, Pings> = BTreeMap::new();
    let mut sending_ms: f64 = 0.0;
    for line in printed.lines() {
        let Some((address, line)) = line.split_once(' ') else {
            continue;
        };
        let Some((address, link)) = address
            .parse()
            .ok()
            .and_then(|address| Some((address, links.get(&address)?)))
        else {
            continue;
        };
        let pings = all.entry(address).or_default();
        // 20 packets transmitted, 18 received, +2 duplicates, 10% packet loss, time 95ms
        if line.contains("packets transmitted") {
            let number = |part: &str| {
                part.split_whitespace()
                    .next()?
                    .trim_start_matches('+')
                    .parse()
                    .ok()
            };
            for part in line.split(", ") {
                match part {
                    part if part.ends_with("transmitted") => pings.sent = number(part).unwrap_or(0),
                    part if part.ends_with("received") => pings.answered = number(part).unwrap_or(0),
                    part if part.ends_with("duplicates") => pings.doubled = number(part).unwrap_or(0),
                    part => {
                        // From the first sent to the last.
                        let ms = part
                            .strip_prefix("time ")
                            .and_then(|time| time.strip_suffix("ms"));
                        sending_ms = ms.and_then(|ms| ms.parse().ok()).unwrap_or(0.0);
                    }
                }
            }
        }
        // rtt min/avg/max/mdev = 0.037/0.045/0.053/0.006 ms
        if let Some(times) = line
            .strip_prefix("rtt ")
            .and_then(|line| line.split(" = ").nth(1))
        {
            let times: Vec<f64> = times
                .split(['/', ' '])
                .map_while(|time| time.parse().ok())
                .collect();
            let [_, mean, longest, ..] = times[..] else {
                continue;
            };
            pings.mean = Some(Duration::from_secs_f64(mean / 1000.0));
            let Trial { count, size, .. } = Trial::of(link);
            if pings.answered == count && link.bandwidth.is_some() {
                let took_ms = (sending_ms + longest).max(0.001);
                pings.rate = Some((f64::from(count * (size + HEADERS) * 8) / took_ms * 1000.0) as u64);
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ping_says_is_read() {
        let (a, b) = (Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3));
        let narrow = Link {
            bandwidth: Some(1_000_000),
            ..Link::default()
        };
        let links = BTreeMap::from([(a, Link::CUT), (b, narrow)]);
        let printed = "\
10.0.0.2 PING 10.0.0.2 (10.0.0.2) 16(44) bytes of data.
10.0.0.2 \n10.0.0.2 --- 10.0.0.2 ping statistics ---
10.0.0.2 3 packets transmitted, 0 received, 100% packet loss, time 45ms
10.0.0.3 20 packets transmitted, 20 received, +2 duplicates, 0% packet loss, time 95ms
10.0.0.3 rtt min/avg/max/mdev = 11.000/100.500/190.000/10.006 ms, pipe 20
";
        let all = parse(printed, &links);
        let cut = Pings {
            sent: 3,
            ..Pings::default()
        };
        assert_eq!(all[&a], cut);
        assert_eq!((all[&b].answered, all[&b].doubled), (20, 2));
        assert_eq!(all[&b].mean, Some(Duration::from_micros(100_500)));
        assert_eq!(all[&b].rate, Some(20 * 1400 * 8 * 1000 / 285));
    }
}
