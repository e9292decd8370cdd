//! From a host's name to a connection, with the figures every prober tells on the way.

use std::net::{IpAddr, SocketAddr};

use tokio::net::TcpStream;
use tokio::time::Instant;

use super::Failure;
use super::config::{IpProtocol, ProbeConfig};
use super::report::Report;

/// Resolves the host a probe is about and tells what blackbox_exporter tells of it. Gives the
/// address and the seconds it took.
///
/// Without a preference the first address counts that the system would connect to: on a host
/// without IPv6 that is the IPv4 one.
pub(super) async fn resolve(
    config: &ProbeConfig,
    host: &str,
    report: &mut Report,
) -> Result<(IpAddr, f64), Failure> {
    for name in [
        "probe_dns_lookup_time_seconds",
        "probe_ip_protocol",
        "probe_ip_addr_hash",
    ] {
        report.set(name, 0.0);
    }
    let started = Instant::now();
    let found = addresses(host).await;
    let took = started.elapsed().as_secs_f64();
    report.set("probe_dns_lookup_time_seconds", took);
    let address = choose(config, host, &found?)?;
    report.set(
        "probe_ip_protocol",
        if address.is_ipv4() { 4.0 } else { 6.0 },
    );
    report.set("probe_ip_addr_hash", f64::from(hash(address)));
    Ok((address, took))
}

/// Resolves a further host, of a redirect, without telling.
pub(super) async fn resolve_again(config: &ProbeConfig, host: &str) -> Result<IpAddr, Failure> {
    choose(config, host, &addresses(host).await?)
}

/// Opens a connection.
pub(super) async fn connect(address: SocketAddr) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(address)
        .await
        .map_err(|source| Failure::Connect { address, source })?;
    // Requests are written in one go; waiting for more only delays them.
    let _ = stream.set_nodelay(true);
    Ok(stream)
}

/// A host as the resolver wants it: an IPv6 address without brackets.
pub(super) fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|h| h.strip_suffix(']'))
        .unwrap_or(host)
}

async fn addresses(host: &str) -> Result<Vec<IpAddr>, Failure> {
    let host = bare(host);
    let found = crate::names::lookup(host, 0).await;
    let found = found.map_err(|e| Failure::Resolve {
        host: host.to_owned(),
        why: e.to_string(),
    })?;
    Ok(found.iter().map(SocketAddr::ip).collect())
}

fn choose(config: &ProbeConfig, host: &str, all: &[IpAddr]) -> Result<IpAddr, Failure> {
    if config.found
        && let Some(address) = all.iter().find(|a| is_own(**a))
    {
        return Err(Failure::Unwanted(format!(
            "{host} leads to {address}, which is not probed for a label's sake"
        )));
    }
    let wanted = config.preferred_ip_protocol;
    let fits = |a: &&IpAddr| match wanted {
        None => true,
        Some(IpProtocol::Ip4) => a.is_ipv4(),
        Some(IpProtocol::Ip6) => a.is_ipv6(),
    };
    let fallback = config.ip_protocol_fallback.unwrap_or(true);
    let other = if fallback { all.first() } else { None };
    all.iter()
        .find(fits)
        .or(other)
        .copied()
        .ok_or_else(|| Failure::Resolve {
            host: host.to_owned(),
            why: match wanted {
                Some(IpProtocol::Ip4) => "no IPv4 address".to_owned(),
                Some(IpProtocol::Ip6) => "no IPv6 address".to_owned(),
                None => "no address".to_owned(),
            },
        })
}

/// Whether an address is this machine's own or of its link, where services of clouds answer.
fn is_own(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => {
            v4.is_loopback() || v4.is_link_local() || v4.is_unspecified() || v4.is_multicast()
        }
        IpAddr::V6(v6) => {
            let link_local = v6.segments()[0] & 0xffc0 == 0xfe80;
            v6.is_loopback() || link_local || v6.is_unspecified() || v6.is_multicast()
        }
    }
}

/// FNV-1a of the address' bytes, as blackbox_exporter hashes it.
fn hash(address: IpAddr) -> u32 {
    let fnv = |bytes: &[u8]| {
        bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
        })
    };
    match address.to_canonical() {
        IpAddr::V4(v4) => fnv(&v4.octets()),
        IpAddr::V6(v6) => fnv(&v6.octets()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_site_found_in_labels_does_not_lead_to_this_machine() {
        let found = ProbeConfig {
            found: true,
            ..ProbeConfig::default()
        };
        for (address, expect) in [
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("::1", false),
            ("fe80::1", false),
            ("::ffff:127.0.0.1", false),
            ("0.0.0.0", false),
            ("192.168.1.1", true),
            ("93.184.215.14", true),
        ] {
            let all = ["93.184.215.14".parse().unwrap(), address.parse().unwrap()];
            assert_eq!(choose(&found, "h", &all).is_ok(), expect, "{address}");
            assert!(choose(&ProbeConfig::default(), "h", &all).is_ok());
        }
    }

    #[test]
    fn the_hash_of_an_address_is_blackbox_exporters() {
        // The value of a genuine scrape.
        assert_eq!(hash("127.0.0.1".parse().unwrap()), 3_668_918_509);
    }

    #[test]
    fn a_kind_of_address_is_preferred_or_demanded() {
        let all: Vec<IpAddr> = ["::1", "127.0.0.1"].map(|a| a.parse().unwrap()).into();
        let pick = |yaml: &str, all: &[IpAddr]| {
            let config: ProbeConfig = serde_saphyr::from_str(yaml).unwrap();
            choose(&config, "h", all)
                .map(|a| a.to_string())
                .map_err(|e| e.to_string())
        };
        assert_eq!(pick("{}", &all), Ok("::1".to_owned()));
        assert_eq!(
            pick("preferred_ip_protocol: ip4", &all),
            Ok("127.0.0.1".to_owned())
        );
        assert_eq!(
            pick("preferred_ip_protocol: ip6", &all[1..]),
            Ok("127.0.0.1".to_owned())
        );
        assert_eq!(
            pick(
                "{preferred_ip_protocol: ip6, ip_protocol_fallback: false}",
                &all[1..]
            ),
            Err("resolving h: no IPv6 address".to_owned())
        );
    }
}
