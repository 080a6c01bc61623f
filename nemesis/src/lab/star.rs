//! The kernel's own network between the nodes: a bridge in the runner's namespace
//! with a pair of virtual Ethernet devices to each node.
//!
//! Packets go where the kernel takes them, and what befalls them is iptables' and
//! tc's doing ([`crate::kernel`]), as with containers or real hosts. So a test can
//! be run over both networks of the lab and the two compared.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use parking_lot::Mutex;

use crate::kernel::{self, Addresses, Counting};
use crate::lab::machine::Machine;
use crate::lab::net;
use crate::link::LinkMatrix;
use crate::namespace::Namespace;
use crate::node::NodeId;
use crate::probe::LinkProbe;
use crate::prober::Prober;

/// The bridge, in the runner's namespace.
const BRIDGE: &str = "star0";

// linux/sockios.h
nix::ioctl_write_ptr_bad!(add_bridge_ioctl, 0x89a0, libc::ifreq);
nix::ioctl_write_ptr_bad!(add_to_bridge_ioctl, 0x89a2, libc::ifreq);

/// Makes the bridge, with the runner's address, in the current namespace.
pub(crate) fn bridge(address: Ipv4Addr) -> Result<(), Errno> {
    let control = net::control_socket()?;
    let request = net::request(BRIDGE);
    // SAFETY: the kernel reads the name, with which the request begins.
    unsafe { add_bridge_ioctl(control.as_raw_fd(), &raw const request)? };
    net::configure(BRIDGE, address, 0)
}

/// Leads a cable from the bridge into `namespace`, where its end gets `address`.
pub(crate) fn cable(namespace: &Namespace, place: usize, address: Ipv4Addr) -> std::io::Result<()> {
    let ours = format!("cable{place}");
    veth(&ours, net::DEVICE, namespace)?;
    let control = net::control_socket()?;
    let mut request = net::request(BRIDGE);
    request.ifr_ifru.ifru_ifindex = nix::net::if_::if_nametoindex(ours.as_str())?.cast_signed();
    // SAFETY: the kernel reads the bridge's name and the device's number.
    unsafe { add_to_bridge_ioctl(control.as_raw_fd(), &raw const request)? };
    net::raise(&control, &ours, 0)?;
    namespace.inside(|| Ok(net::configure(net::DEVICE, address, 0)?))
}

/// One attribute of a netlink message: length, kind, value, padding.
fn attribute(kind: u16, value: &[u8]) -> Vec<u8> {
    let length = u16::try_from(4 + value.len()).expect("attributes are short");
    let mut bytes = [length.to_ne_bytes(), kind.to_ne_bytes()].concat();
    bytes.extend_from_slice(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Makes a pair of devices, one here and one in `namespace` (rtnetlink(7)).
fn veth(ours: &str, theirs: &str, namespace: &Namespace) -> Result<(), Errno> {
    const VETH_INFO_PEER: u16 = 1;
    let name = |name: &str| attribute(libc::IFLA_IFNAME, &[name.as_bytes(), &[0]].concat());
    let anything = [0u8; 16]; // struct ifinfomsg
    let fd = namespace.file().as_raw_fd();
    let peer = [
        &anything[..],
        &name(theirs),
        &attribute(libc::IFLA_NET_NS_FD, &fd.to_ne_bytes()),
    ];
    let data = attribute(VETH_INFO_PEER, &peer.concat());
    let info = [
        attribute(libc::IFLA_INFO_KIND, b"veth\0"),
        attribute(libc::IFLA_INFO_DATA, &data),
    ];
    let body = [
        &anything[..],
        &name(ours),
        &attribute(libc::IFLA_LINKINFO, &info.concat()),
    ]
    .concat();
    let flags = libc::NLM_F_REQUEST | libc::NLM_F_ACK | libc::NLM_F_CREATE | libc::NLM_F_EXCL;
    let length = u32::try_from(16 + body.len()).expect("messages are short");
    let mut message = length.to_ne_bytes().to_vec();
    message.extend_from_slice(&libc::RTM_NEWLINK.to_ne_bytes());
    message.extend_from_slice(&u16::try_from(flags).expect("flags fit").to_ne_bytes());
    message.extend_from_slice(&[0; 8]); // sequence number and port
    message.extend_from_slice(&body);
    let line: OwnedFd = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    send(line.as_raw_fd(), &message, MsgFlags::empty())?;
    let mut answer = [0u8; 1024];
    let length = recv(line.as_raw_fd(), &mut answer, MsgFlags::empty())?;
    // A header of 16 bytes, then a negative error number, or zero.
    let code = answer[..length].get(16..20).ok_or(Errno::EBADMSG)?;
    match i32::from_ne_bytes(code.try_into().expect("four bytes")) {
        0 => Ok(()),
        code => Err(Errno::from_raw(-code)),
    }
}

/// The star at work.
#[derive(Debug)]
pub(crate) struct Star {
    addresses: Addresses,
    laid: Mutex<LinkMatrix>,
    prober: Mutex<Prober>,
    pub(crate) means: kernel::Means,
}

impl Star {
    pub(crate) fn new(nodes: &[NodeId], sockets: Vec<UdpSocket>) -> std::io::Result<Star> {
        let addresses = (0..)
            .zip(nodes)
            .map(|(place, node)| (node.clone(), vec![crate::lab::address_of(place)]))
            .collect();
        Ok(Star {
            addresses,
            laid: Mutex::new(LinkMatrix::good(nodes)),
            prober: Mutex::new(Prober::new(sockets.into_iter().map(Some).collect())?),
            means: kernel::Means::default(),
        })
    }

    /// Makes every link be as the matrix says: in each node's namespace, all at once.
    pub(crate) fn lay(&self, machines: &[Arc<Machine>], links: &LinkMatrix) -> std::io::Result<()> {
        let lay = |machine: &Arc<Machine>| {
            let node = &machine.spec.id;
            kernel::lay(
                machine.namespace(),
                node,
                links,
                &self.addresses,
                Counting::Stopped,
            )
        };
        kernel::everywhere(machines, lay)
            .into_iter()
            .collect::<std::io::Result<()>>()?;
        *self.laid.lock() = links.clone();
        Ok(())
    }

    /// The links as they were last laid.
    pub(crate) fn laid(&self) -> LinkMatrix {
        self.laid.lock().clone()
    }

    pub(crate) fn probe(
        &self,
        machines: &[Arc<Machine>],
        wanted: &LinkMatrix,
        links: &[(NodeId, NodeId)],
    ) -> std::io::Result<Vec<LinkProbe>> {
        let mut probes = self.prober.lock().probe(wanted, links, None)?;
        let by_node: BTreeMap<&NodeId, &Arc<Machine>> = machines
            .iter()
            .map(|machine| (&machine.spec.id, machine))
            .collect();
        kernel::count_in(&mut probes, &self.addresses, |node| {
            kernel::counts(by_node[node].namespace())
        })?;
        Ok(probes)
    }
}
