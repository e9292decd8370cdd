//! `node_netstat_*` from `/proc/net/{netstat,snmp,snmp6}`: the fields node_exporter takes by default.

use std::io;

use super::{Host, number};
use crate::target::{Pass, Sink};

fn wanted(protocol: &str, field: &str) -> bool {
    match protocol {
        "Ip" => field == "Forwarding",
        "IpExt" | "Ip6" => matches!(field, "InOctets" | "OutOctets"),
        "Icmp" | "Icmp6" => matches!(field, "InMsgs" | "OutMsgs" | "InErrors"),
        "TcpExt" => {
            field.starts_with("Listen")
                || field.starts_with("Syncookies")
                || matches!(
                    field,
                    "TCPSynRetrans" | "TCPTimeouts" | "TCPOFOQueue" | "TCPRcvQDrop"
                )
        }
        "Tcp" => matches!(
            field,
            "ActiveOpens"
                | "InSegs"
                | "OutSegs"
                | "OutRsts"
                | "PassiveOpens"
                | "RetransSegs"
                | "CurrEstab"
                | "InErrs"
        ),
        "Udp" | "Udp6" => matches!(
            field,
            "InDatagrams"
                | "InErrors"
                | "NoPorts"
                | "OutDatagrams"
                | "RcvbufErrors"
                | "SndbufErrors"
        ),
        "UdpLite" | "UdpLite6" => field == "InErrors",
        _ => false,
    }
}

pub(super) fn collect(host: &Host, pass: &mut Pass<'_>) -> io::Result<()> {
    let mut put = |protocol: &str, field: &str, value: &str| {
        if wanted(protocol, field) {
            let name = format!("node_netstat_{protocol}_{field}");
            pass.put(&name, &[], number(value)?);
        }
        Ok::<_, io::Error>(())
    };
    for file in ["netstat", "snmp"] {
        let text = host.proc_net(file)?;
        let mut lines = text.lines();
        // Two lines each: names, then values.
        while let (Some(names), Some(values)) = (lines.next(), lines.next()) {
            let mut names = names.split(' ');
            let protocol = names.next().unwrap_or("").trim_end_matches(':');
            for (field, value) in names.zip(values.split(' ').skip(1)) {
                put(protocol, field, value)?;
            }
        }
    }
    // Absent on a kernel without IPv6.
    for line in host.proc_net("snmp6").unwrap_or_default().lines() {
        let mut words = line.split_ascii_whitespace();
        if let (Some(key), Some(value)) = (words.next(), words.next())
            && let Some(six) = key.find('6')
        {
            put(&key[..=six], &key[six + 1..], value)?;
        }
    }
    Ok(())
}
