//! ICMP echo, with as little privilege as the kernel asks for.
//!
//! With `CAP_NET_RAW` a raw socket, which shows the reply's hop limit (IPv4); otherwise the
//! kernel's ping socket, which takes a group in `net.ipv4.ping_group_range` and nothing else.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{AddressFamily, Protocol, SocketFlags, SocketType, ipproto, socket_with};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::report::Report;
use super::{Failure, Probe, dial};

/// Bytes of payload unless the probe says otherwise: blackbox_exporter's message has as many.
const PAYLOAD_BYTES: usize = 36;
/// Longest packet read, bytes.
const PACKET_BYTES_MAX: usize = 65_536;
/// Time of an echo by phase.
const DURATION: &str = "probe_icmp_duration_seconds";
/// What an operator can do when the kernel says no.
const HOW_TO_ALLOW: &str = "the kernel allows no ICMP socket: run \
    `sysctl -w net.ipv4.ping_group_range='0 2147483647'` on the host, or give stackwatch CAP_NET_RAW";

pub(super) async fn probe(probe: &Probe, report: &mut Report) -> Result<(), Failure> {
    for phase in ["resolve", "rtt", "setup"] {
        report.add_phase(DURATION, phase, 0.0);
    }
    let host = probe.url.host_str().unwrap_or_default();
    let (ip, took) = dial::resolve(&probe.config, host, report).await?;
    report.add_phase(DURATION, "resolve", took);
    let started = Instant::now();
    let socket = Echoes::open(ip)?;
    let size = probe.config.payload_size.unwrap_or(PAYLOAD_BYTES);
    let request = Request::new(ip, size);
    report.add_phase(DURATION, "setup", started.elapsed().as_secs_f64());
    let (rtt, hop_limit) = socket.exchange(ip, &request).await?;
    report.add_phase(DURATION, "rtt", rtt.as_secs_f64());
    if let Some(limit) = hop_limit {
        report.set("probe_icmp_reply_hop_limit", f64::from(limit));
    }
    Ok(())
}

/// A socket for echoes.
struct Echoes {
    socket: UdpSocket,
    /// Whether packets come with their IPv4 header.
    with_header: bool,
}

impl Echoes {
    fn open(ip: IpAddr) -> Result<Echoes, Failure> {
        let (family, protocol, kinds) = match ip {
            IpAddr::V4(_) => (
                AddressFamily::INET,
                ipproto::ICMP,
                [SocketType::RAW, SocketType::DGRAM],
            ),
            IpAddr::V6(_) => (
                AddressFamily::INET6,
                ipproto::ICMPV6,
                [SocketType::DGRAM, SocketType::RAW],
            ),
        };
        let mut refused = Errno::ACCESS;
        for kind in kinds {
            match open(family, kind, protocol) {
                Ok(socket) => {
                    // The standard library's datagram socket: send, receive and wait are the same.
                    let socket = std::net::UdpSocket::from(socket);
                    let socket = UdpSocket::from_std(socket);
                    return Ok(Echoes {
                        socket: socket.map_err(Failure::io("opening an ICMP socket"))?,
                        with_header: kind == SocketType::RAW && ip.is_ipv4(),
                    });
                }
                Err(e) => refused = e,
            }
        }
        match refused {
            Errno::ACCESS | Errno::PERM => Err(Failure::Protocol(HOW_TO_ALLOW.to_owned())),
            other => Err(Failure::io("opening an ICMP socket")(other.into())),
        }
    }

    /// Sends the request and waits for its reply; the time between, and the reply's hop limit.
    async fn exchange(
        &self,
        ip: IpAddr,
        request: &Request,
    ) -> Result<(Duration, Option<u8>), Failure> {
        let sent = Instant::now();
        let done = self
            .socket
            .send_to(&request.bytes, SocketAddr::new(ip, 0))
            .await;
        done.map_err(Failure::io("sending the echo"))?;
        let mut buffer = vec![0; PACKET_BYTES_MAX];
        loop {
            let received = self.socket.recv_from(&mut buffer).await;
            let (length, from) = received.map_err(Failure::io("waiting for the reply"))?;
            let rtt = sent.elapsed();
            let mut packet = &buffer[..length];
            let mut hop_limit = None;
            if self.with_header {
                let Some((limit, rest)) = without_header(packet) else {
                    continue;
                };
                (hop_limit, packet) = (Some(limit), rest);
            }
            // A raw socket hears everybody's echoes.
            if from.ip() == ip && request.is_answered_by(packet) {
                return Ok((rtt, hop_limit));
            }
        }
    }
}

fn open(family: AddressFamily, kind: SocketType, protocol: Protocol) -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    socket_with(family, kind, flags, Some(protocol))
}

/// The time to live and the payload of an IPv4 packet.
fn without_header(packet: &[u8]) -> Option<(u8, &[u8])> {
    let words = usize::from(packet.first()? & 0x0f);
    let limit = *packet.get(8)?;
    Some((limit, packet.get(words * 4..)?))
}

/// An echo request.
struct Request {
    bytes: Vec<u8>,
    reply: u8,
}

/// Type, code, checksum, identifier, sequence number.
const HEADER_BYTES: usize = 8;

impl Request {
    fn new(ip: IpAddr, payload_bytes: usize) -> Request {
        use std::hash::{BuildHasher, RandomState};
        let (kind, reply) = if ip.is_ipv4() { (8, 0) } else { (128, 129) };
        let nonce = RandomState::new().hash_one(0).to_be_bytes();
        let mut bytes = vec![kind, 0, 0, 0];
        // The kernel's ping socket puts an identifier of its own; the sequence number stays.
        bytes.extend_from_slice(&nonce[..4]);
        let filling = nonce.iter().copied().cycle();
        bytes.extend(filling.take(payload_bytes));
        if ip.is_ipv4() {
            // For ICMPv6 the kernel does it: the addresses are in the sum.
            let sum = checksum(&bytes).to_be_bytes();
            bytes[2..4].copy_from_slice(&sum);
        }
        Request { bytes, reply }
    }

    /// Sequence number and payload are ours; the identifier need not be.
    fn is_answered_by(&self, packet: &[u8]) -> bool {
        packet.len() == self.bytes.len()
            && packet[0] == self.reply
            && packet[6..HEADER_BYTES] == self.bytes[6..HEADER_BYTES]
            && packet[HEADER_BYTES..] == self.bytes[HEADER_BYTES..]
    }
}

/// The Internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| {
        u32::from(u16::from_be_bytes([
            pair[0],
            pair.get(1).copied().unwrap_or(0),
        ]))
    });
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_rfc_1071() {
        assert_eq!(
            checksum(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]),
            0x220d
        );
        let request = Request::new("127.0.0.1".parse().unwrap(), 5);
        assert_eq!(checksum(&request.bytes), 0);
    }

    #[test]
    fn only_the_reply_to_the_request_is_an_answer() {
        let request = Request::new("::1".parse().unwrap(), 36);
        let mut reply = request.bytes.clone();
        assert!(!request.is_answered_by(&reply), "the request itself");
        reply[0] = 129;
        reply[4] ^= 1;
        assert!(request.is_answered_by(&reply));
        reply[20] ^= 1;
        assert!(!request.is_answered_by(&reply), "somebody else's");
        assert!(!request.is_answered_by(&reply[..7]), "a stump");
    }

    #[test]
    fn a_packet_is_taken_out_of_its_header() {
        let mut packet = vec![0x46; 24];
        packet[8] = 57;
        packet.extend_from_slice(b"echo");
        assert_eq!(without_header(&packet), Some((57, &b"echo"[..])));
        assert_eq!(without_header(&[0x4f, 0, 0]), None);
    }
}
