//! The cage's own network: a loopback, and one listener that the daemon serves.

use std::io;
use std::net::{Ipv4Addr, TcpListener};

use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socket_with};

/// Brings `lo` up and listens on `127.0.0.1`, on a port the kernel picks.
pub(super) fn open() -> io::Result<TcpListener> {
    loopback_up()?;
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
}

/// `RTM_NEWLINK` for the interface with index 1, which is `lo` in every network namespace.
fn loopback_up() -> io::Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_ACK: u16 = 1 | 4;
    const IFF_UP: u32 = 1;
    const LOOPBACK: i32 = 1;
    // rtnetlink(7): nlmsghdr { len u32, type u16, flags u16, seq u32, pid u32 }, then
    // ifinfomsg { family u8, pad u8, type u16, index i32, flags u32, change u32 }.
    let mut message = Vec::with_capacity(32);
    message.extend_from_slice(&32u32.to_ne_bytes());
    message.extend_from_slice(&RTM_NEWLINK.to_ne_bytes());
    message.extend_from_slice(&NLM_F_REQUEST_ACK.to_ne_bytes());
    message.extend_from_slice(&[0; 8]);
    message.extend_from_slice(&[0; 4]);
    message.extend_from_slice(&LOOPBACK.to_ne_bytes());
    message.extend_from_slice(&IFF_UP.to_ne_bytes());
    message.extend_from_slice(&IFF_UP.to_ne_bytes());

    let route = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    send(&route, &message, SendFlags::empty())?;
    let mut answer = [0u8; 128];
    let (_, length) = recv(&route, &mut answer, RecvFlags::empty())?;
    // nlmsgerr: the error follows the header of 16 bytes, 0 or a negated errno.
    let error = answer.get(16..20).filter(|_| length >= 20).ok_or(io::ErrorKind::UnexpectedEof)?;
    match i32::from_ne_bytes([error[0], error[1], error[2], error[3]]) {
        0 => Ok(()),
        negated => Err(io::Error::from_raw_os_error(negated.saturating_neg())),
    }
}
