//! Network namespaces and the devices in them, by plain system calls.

use std::fs::File;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};

/// The lab's network is 10.99.0.0/24.
pub(crate) const NETMASK: Ipv4Addr = Ipv4Addr::new(255, 255, 255, 0);
/// The device through which a namespace reaches the switch.
pub(crate) const DEVICE: &str = "eth0";
/// Largest packet on it, as on an ordinary Ethernet.
pub(crate) const MTU: libc::c_int = 1500;

nix::ioctl_write_ptr_bad!(get_flags_ioctl, libc::SIOCGIFFLAGS, libc::ifreq);
nix::ioctl_write_ptr_bad!(set_flags_ioctl, libc::SIOCSIFFLAGS, libc::ifreq);
nix::ioctl_write_ptr_bad!(set_address_ioctl, libc::SIOCSIFADDR, libc::ifreq);
nix::ioctl_write_ptr_bad!(set_netmask_ioctl, libc::SIOCSIFNETMASK, libc::ifreq);
nix::ioctl_write_ptr_bad!(set_mtu_ioctl, libc::SIOCSIFMTU, libc::ifreq);
nix::ioctl_write_int!(tun_set_iff_ioctl, b'T', 202);

/// An `ifreq` that names `device` and says nothing else.
pub(crate) fn request(device: &str) -> libc::ifreq {
    // SAFETY: an ifreq is plain bytes, for which zeroes are valid.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    assert!(device.len() < request.ifr_name.len(), "device names are short");
    for (to, from) in request.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from.cast_signed();
    }
    request
}

fn socket_address(address: Ipv4Addr) -> libc::sockaddr {
    // SAFETY: both are plain bytes of the same size; the kernel reads the first
    // as the second when its family is AF_INET.
    unsafe {
        let mut inet: libc::sockaddr_in = std::mem::zeroed();
        inet.sin_family = libc::sa_family_t::try_from(libc::AF_INET).expect("a small constant");
        inet.sin_addr.s_addr = u32::from_ne_bytes(address.octets());
        std::mem::transmute::<libc::sockaddr_in, libc::sockaddr>(inet)
    }
}

pub(crate) fn control_socket() -> Result<OwnedFd, Errno> {
    socket(
        AddressFamily::Inet,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    )
}

/// Raises the loopback device of the current network namespace.
pub(crate) fn loopback_up() -> Result<(), Errno> {
    raise(&control_socket()?, "lo", 0)
}

/// Raises a device, with more flags if wanted.
pub(crate) fn raise(control: &OwnedFd, device: &str, more: libc::c_int) -> Result<(), Errno> {
    let mut request = request(device);
    // SAFETY: the request outlives the calls, which read or fill in its flags.
    unsafe {
        get_flags_ioctl(control.as_raw_fd(), &raw const request)?;
        let flags = libc::c_int::from(request.ifr_ifru.ifru_flags) | libc::IFF_UP | libc::IFF_RUNNING | more;
        request.ifr_ifru.ifru_flags = i16::try_from(flags).expect("these flags fit");
        set_flags_ioctl(control.as_raw_fd(), &raw const request)?;
    }
    Ok(())
}

/// Gives a device of the current namespace its address, and raises it.
pub(crate) fn configure(device: &str, address: Ipv4Addr, more: libc::c_int) -> Result<(), Errno> {
    let control = control_socket()?;
    let mut request = request(device);
    // SAFETY: the request outlives the calls, each of which reads the member of
    // the union that was just written.
    unsafe {
        request.ifr_ifru.ifru_mtu = MTU;
        set_mtu_ioctl(control.as_raw_fd(), &raw const request)?;
        request.ifr_ifru.ifru_addr = socket_address(address);
        set_address_ioctl(control.as_raw_fd(), &raw const request)?;
        request.ifr_ifru.ifru_netmask = socket_address(NETMASK);
        set_netmask_ioctl(control.as_raw_fd(), &raw const request)?;
    }
    raise(&control, device, more)
}

/// Makes a TUN device in the current namespace. What the namespace sends to
/// others is read from the file, a packet at a time, without blocking; what is
/// written to it arrives in the namespace.
pub(crate) fn tun(tun_device: &File, address: Ipv4Addr) -> Result<(), Errno> {
    let mut request = request(DEVICE);
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    request.ifr_ifru.ifru_flags = i16::try_from(flags).expect("these flags fit");
    // SAFETY: the request outlives the call, which reads its name and flags.
    unsafe { tun_set_iff_ioctl(tun_device.as_raw_fd(), (&raw const request).addr() as u64)? };
    configure(DEVICE, address, 0)
}
