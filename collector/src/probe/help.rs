//! What the families of probes mean, in blackbox_exporter's words where it has them: dashboards
//! and people compare.

/// The help text of a family; `None` when it is not one of a probe.
pub(crate) fn help(name: &str) -> Option<&'static str> {
    let at = HELP
        .binary_search_by(|(known, _)| (*known).cmp(name))
        .ok()?;
    Some(HELP[at].1)
}

/// Sorted by name.
const HELP: &[(&str, &str)] = &[
    (
        "probe_dns_additional_rrs",
        "Returns number of entries in the additional resource record list",
    ),
    (
        "probe_dns_answer_rrs",
        "Returns number of entries in the answer resource record list",
    ),
    (
        "probe_dns_authority_rrs",
        "Returns number of entries in the authority resource record list",
    ),
    (
        "probe_dns_duration_seconds",
        "Duration of DNS request by phase",
    ),
    (
        "probe_dns_lookup_time_seconds",
        "Returns the time taken for probe dns lookup in seconds",
    ),
    (
        "probe_dns_query_succeeded",
        "Displays whether or not the query was executed successfully",
    ),
    ("probe_dns_serial", "Returns the serial number of the zone"),
    (
        "probe_duration_seconds",
        "Returns how long the probe took to complete in seconds",
    ),
    (
        "probe_failed_due_to_regex",
        "Indicates if probe failed due to regex",
    ),
    (
        "probe_http_content_length",
        "Length of http content response",
    ),
    (
        "probe_http_duration_seconds",
        "Duration of http request by phase, summed over all redirects",
    ),
    (
        "probe_http_last_modified_timestamp_seconds",
        "Returns the Last-Modified HTTP response header in unixtime",
    ),
    ("probe_http_redirects", "The number of redirects"),
    (
        "probe_http_ssl",
        "Indicates if SSL was used for the final redirect",
    ),
    ("probe_http_status_code", "Response HTTP status code"),
    (
        "probe_http_uncompressed_body_length",
        "Length of uncompressed response body",
    ),
    (
        "probe_http_version",
        "Returns the version of HTTP of the probe response",
    ),
    (
        "probe_icmp_duration_seconds",
        "Duration of icmp request by phase",
    ),
    (
        "probe_icmp_reply_hop_limit",
        "Replied packet hop limit (TTL for ipv4)",
    ),
    (
        "probe_ip_addr_hash",
        "Specifies the hash of IP address. It's useful to detect if the IP address changes.",
    ),
    (
        "probe_ip_protocol",
        "Specifies whether probe ip protocol is IP4 or IP6",
    ),
    (
        "probe_ssl_earliest_cert_expiry",
        "Returns last SSL chain expiry in unixtime",
    ),
    (
        "probe_ssl_last_chain_expiry_timestamp_seconds",
        "Returns last SSL chain expiry in timestamp",
    ),
    (
        "probe_ssl_last_chain_info",
        "Contains SSL leaf certificate information",
    ),
    (
        "probe_success",
        "Displays whether or not the probe was a success",
    ),
    (
        "probe_tls_cipher_info",
        "Returns the TLS cipher negotiated during handshake",
    ),
    (
        "probe_tls_version_info",
        "Returns the TLS version used or NaN when unknown",
    ),
    (
        "probe_websocket_connection_upgraded",
        "Indicates if the websocket connection was successfully upgraded",
    ),
    (
        "probe_websocket_failed_due_to_regex",
        "Indicates if probe failed due to regex",
    ),
    (
        "probe_websocket_realtime_duration_seconds",
        "Seconds Supabase Realtime took to answer, by phase.",
    ),
    (
        "probe_websocket_realtime_joined",
        "1 when Supabase Realtime let the probe join its channel.",
    ),
    ("probe_websocket_status_code", "Response HTTP status code"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_says_what_blackbox_exporter_says() {
        assert!(HELP.is_sorted_by(|a, b| a.0 < b.0));
        let path = "../../shared/exporter-metrics/blackbox.prom";
        let Ok(text) = std::fs::read_to_string(path) else {
            eprintln!("SKIPPED: {path} is not there");
            return;
        };
        let said = text.lines().filter_map(|l| l.strip_prefix("# HELP "));
        for (name, text) in said.filter_map(|l| l.split_once(' ')) {
            assert_eq!(help(name), Some(text), "{name}");
        }
        let types = text.lines().filter_map(|l| l.strip_prefix("# TYPE "));
        for (name, kind) in types.filter_map(|l| l.split_once(' ')) {
            assert_eq!(crate::families::kind(name).as_str(), kind, "{name}");
        }
    }
}
