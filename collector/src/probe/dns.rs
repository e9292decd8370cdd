//! DNS: one question to one server, and what the answer must look like.

mod message;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use reqwest::Url;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::time::Instant;

use super::config::{ProbeConfig, RecordMatch, Transport};
use super::report::Report;
use super::{Failure, Probe, dial};
use message::Answer;

/// Where servers listen.
const PORT: u16 = 53;
/// Longest answer read, bytes: what its length can say.
const ANSWER_BYTES_MAX: usize = 65_535;
/// Time of a question by phase.
const DURATION: &str = "probe_dns_duration_seconds";

/// What is asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Question {
    name: Vec<u8>,
    kind: u16,
    recursion: bool,
}

impl Question {
    /// From the options, else from the URL as RFC 4501 writes it: `dns://server/name?type=A`.
    ///
    /// # Errors
    /// When there is no name, or a name, type or answer code that DNS does not know.
    pub(super) fn new(config: &ProbeConfig, url: &Url) -> Result<Question, String> {
        let in_url = super::percent_decoded(url.path().trim_matches('/'));
        let name = config.query_name.clone().unwrap_or(in_url);
        if name.is_empty() {
            return Err("query_name is missing, or a path in the url".to_owned());
        }
        let in_url = url
            .query_pairs()
            .find(|(k, _)| k.eq_ignore_ascii_case("type"));
        let kind = config
            .query_type
            .clone()
            .or_else(|| in_url.map(|(_, v)| v.into_owned()))
            .unwrap_or_else(|| "A".to_owned());
        for code in &config.valid_rcodes {
            if message::code(code).is_none() {
                return Err(format!("valid_rcodes: {code:?} is none"));
            }
        }
        Ok(Question {
            name: message::encode_name(&name)
                .ok_or_else(|| format!("query_name: {name:?} is no name"))?,
            kind: message::kind(&kind).ok_or_else(|| format!("query_type: {kind:?} is none"))?,
            recursion: config.recursion_desired.unwrap_or(true),
        })
    }
}

pub(super) async fn probe(probe: &Probe, report: &mut Report) -> Result<(), Failure> {
    for phase in ["resolve", "connect", "request"] {
        report.add_phase(DURATION, phase, 0.0);
    }
    for name in [
        "probe_dns_answer_rrs",
        "probe_dns_authority_rrs",
        "probe_dns_additional_rrs",
        "probe_dns_query_succeeded",
    ] {
        report.set(name, 0.0);
    }
    let question = Question::new(&probe.config, &probe.url).map_err(Failure::Unwanted)?;
    let host = probe.url.host_str().unwrap_or_default();
    let (ip, took) = dial::resolve(&probe.config, host, report).await?;
    report.add_phase(DURATION, "resolve", took);
    let server = SocketAddr::new(ip, probe.url.port().unwrap_or(PORT));
    let answer = match probe.config.transport_protocol.unwrap_or_default() {
        Transport::Udp => over_udp(&question, server, report).await?,
        Transport::Tcp => over_tcp(&question, server, report).await?,
    };
    let counts = [
        "probe_dns_answer_rrs",
        "probe_dns_authority_rrs",
        "probe_dns_additional_rrs",
    ];
    for (name, section) in counts.into_iter().zip(&answer.sections) {
        report.set(name, section.len() as f64);
    }
    report.set("probe_dns_query_succeeded", 1.0);
    if question.kind == message::SOA {
        let serial = answer.sections[0].iter().find_map(|r| r.serial);
        report.set("probe_dns_serial", serial.map_or(0.0, f64::from));
    }
    judge(&probe.config, &answer)
}

async fn over_udp(
    question: &Question,
    server: SocketAddr,
    report: &mut Report,
) -> Result<Answer, Failure> {
    let started = Instant::now();
    let any: IpAddr = match server.is_ipv4() {
        true => Ipv4Addr::UNSPECIFIED.into(),
        false => Ipv6Addr::UNSPECIFIED.into(),
    };
    let refused = |source| Failure::Connect {
        address: server,
        source,
    };
    let socket = UdpSocket::bind((any, 0)).await.map_err(refused)?;
    socket.connect(server).await.map_err(refused)?;
    let connected = Instant::now();
    report.add_phase(DURATION, "connect", (connected - started).as_secs_f64());
    let (id, bytes) = message::encode(question);
    let sent = socket.send(&bytes).await;
    sent.map_err(Failure::io("sending the question"))?;
    let mut buffer = vec![0; ANSWER_BYTES_MAX];
    loop {
        let read = socket.recv(&mut buffer).await;
        let length = read.map_err(Failure::io("waiting for the answer"))?;
        // Anybody can send a datagram; only one with our number is an answer.
        if buffer[..length].starts_with(&id.to_be_bytes()) {
            let took = connected.elapsed().as_secs_f64();
            report.add_phase(DURATION, "request", took);
            return decode(&buffer[..length]);
        }
    }
}

async fn over_tcp(
    question: &Question,
    server: SocketAddr,
    report: &mut Report,
) -> Result<Answer, Failure> {
    let started = Instant::now();
    let mut stream = dial::connect(server).await?;
    let connected = Instant::now();
    report.add_phase(DURATION, "connect", (connected - started).as_secs_f64());
    let (id, bytes) = message::encode(question);
    let mut framed = (bytes.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(&bytes);
    let sent = stream.write_all(&framed).await;
    sent.map_err(Failure::io("sending the question"))?;
    let failed = || Failure::io("waiting for the answer");
    let length = stream.read_u16().await.map_err(failed())?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await.map_err(failed())?;
    report.add_phase(DURATION, "request", connected.elapsed().as_secs_f64());
    if !answer.starts_with(&id.to_be_bytes()) {
        return Err(Failure::Protocol(
            "the answer is to another question".to_owned(),
        ));
    }
    decode(&answer)
}

fn decode(bytes: &[u8]) -> Result<Answer, Failure> {
    message::decode(bytes).ok_or_else(|| Failure::Protocol("the answer is malformed".to_owned()))
}

/// Whether the answer is wanted.
fn judge(config: &ProbeConfig, answer: &Answer) -> Result<(), Failure> {
    let wanted = &config.valid_rcodes;
    let found = message::code_name(answer.code);
    let valid = match wanted.is_empty() {
        true => answer.code == 0,
        false => wanted.iter().any(|w| message::code(w) == Some(answer.code)),
    };
    if !valid {
        return Err(Failure::Unwanted(format!("the server answered {found}")));
    }
    let names = ["answer", "authority", "additional"];
    for ((condition, name), records) in config
        .sections()
        .into_iter()
        .zip(names)
        .zip(&answer.sections)
    {
        if let Some(condition) = condition {
            let texts: Vec<&str> = records.iter().map(|r| r.text.as_str()).collect();
            section(condition, name, &texts)?;
        }
    }
    Ok(())
}

fn section(condition: &RecordMatch, name: &str, records: &[&str]) -> Result<(), Failure> {
    let unwanted = |why: String| Err(Failure::Unwanted(format!("{name} section: {why}")));
    let matches = |patterns: &[String], record: &str| -> Result<Vec<bool>, Failure> {
        let each = patterns.iter();
        each.map(|p| Ok(super::tcp::regex(p)?.is_match(record)))
            .collect()
    };
    let demands = !condition.fail_if_not_matches_regexp.is_empty()
        || !condition.fail_if_none_matches_regexp.is_empty();
    if records.is_empty() && demands {
        return unwanted("empty".to_owned());
    }
    let (mut all, mut any) = (true, false);
    for record in records {
        if matches(&condition.fail_if_matches_regexp, record)?.contains(&true) {
            return unwanted("a record matches fail_if_matches_regexp".to_owned());
        }
        if matches(&condition.fail_if_not_matches_regexp, record)?.contains(&false) {
            return unwanted("a record does not match fail_if_not_matches_regexp".to_owned());
        }
        all &= !matches(&condition.fail_if_all_match_regexp, record)?.contains(&false);
        any |= matches(&condition.fail_if_none_matches_regexp, record)?.contains(&true);
    }
    if !condition.fail_if_all_match_regexp.is_empty() && all && !records.is_empty() {
        return unwanted("all records match fail_if_all_match_regexp".to_owned());
    }
    if !condition.fail_if_none_matches_regexp.is_empty() && !any {
        return unwanted("no record matches fail_if_none_matches_regexp".to_owned());
    }
    Ok(())
}

#[cfg(any(test, feature = "fuzzing"))]
pub(super) mod fuzzing {
    /// The texts of all records of a message; `None` when it is malformed.
    pub(in crate::probe) fn decode(bytes: &[u8]) -> Option<Vec<String>> {
        let answer = super::message::decode(bytes)?;
        let records = answer.sections.into_iter().flatten();
        Some(records.map(|record| record.text).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_stands_in_the_url_or_beside_it() {
        let question = |yaml: &str| {
            let config: ProbeConfig = serde_saphyr::from_str(yaml).unwrap();
            Question::new(&config, &config.parsed().unwrap().0)
        };
        let in_url = question("url: dns://1.1.1.1/example.org?type=AAAA").unwrap();
        assert_eq!(in_url.kind, 28);
        let beside = question("{url: 'dns://1.1.1.1', query_name: example.org, query_type: aaaa}");
        assert_eq!(beside, Ok(in_url));
        let refused = question("{url: 'dns://h/x', query_type: B}").unwrap_err();
        assert_eq!(refused, "query_type: \"B\" is none");
        let refused = question("{url: 'dns://h/x', valid_rcodes: [OK]}").unwrap_err();
        assert_eq!(refused, "valid_rcodes: \"OK\" is none");
        assert!(question("url: dns://h/a..b").is_err());
    }

    #[test]
    fn records_are_wanted_or_not() {
        let records = ["a.\t60\tIN\tA\t10.0.0.1", "a.\t60\tIN\tA\t10.0.0.2"];
        let check = |yaml: &str, records: &[&str], good: bool| {
            let condition: RecordMatch = serde_saphyr::from_str(yaml).unwrap();
            assert_eq!(
                section(&condition, "answer", records).is_ok(),
                good,
                "{yaml}"
            );
        };
        check("fail_if_matches_regexp: ['\\.2$']", &records, false);
        check("fail_if_matches_regexp: ['\\.3$']", &records, true);
        check("fail_if_not_matches_regexp: ['\\.2$']", &records, false);
        check("fail_if_not_matches_regexp: ['10\\.0']", &records, true);
        check("fail_if_not_matches_regexp: ['x']", &[], false);
        check("fail_if_none_matches_regexp: ['\\.2$']", &records, true);
        check("fail_if_none_matches_regexp: ['\\.3$']", &records, false);
        check("fail_if_all_match_regexp: ['10\\.0']", &records, false);
        check("fail_if_all_match_regexp: ['\\.2$']", &records, true);
    }
}
