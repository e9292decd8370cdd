//! Whether an answer is the one wanted.

use super::*;
use crate::probe::config::HeaderMatch;
use hyper::Version;
use hyper::body::Body as _;
use hyper::header::{CONTENT_LENGTH, LAST_MODIFIED, TRANSFER_ENCODING};
use model::Regex;

/// Tells what the last answer of a probe is, reads its body, and says whether it is wanted. A
/// redirect that is not followed is `unread`.
pub(super) async fn judge(
    probe: &Probe,
    request: &Request,
    mut answer: Answer,
    unread: bool,
    report: &mut Report,
) -> Result<(), Failure> {
    let config = &probe.config;
    let is_tls = answer.seen.is_some();
    if let Some(seen) = &answer.seen {
        seen.tell(report);
        report.set("probe_http_ssl", 1.0);
    }
    tell_head(request, &answer.response, report);
    let mut verdict = status(probe, answer.response.status());
    if verdict.is_ok() {
        verdict = headers(probe, answer.response.headers());
        if verdict.is_err() {
            report.set("probe_failed_due_to_regex", 1.0);
        }
    }
    let patterns = !config.fail_if_body_matches_regexp.is_empty()
        || !config.fail_if_body_not_matches_regexp.is_empty();
    if !unread {
        let keep = patterns && verdict.is_ok();
        let limit = match config.body_size_limit.unwrap_or(0) {
            0 => BODY_BYTES_MAX,
            limit => limit,
        };
        let read = read_body(answer.response.body_mut(), limit, keep, report).await;
        let transfer = answer.received.elapsed().as_secs_f64();
        report.add_phase(DURATION, "transfer", transfer);
        match read {
            Ok(text) if keep => {
                verdict = body(probe, &String::from_utf8_lossy(&text));
                if verdict.is_err() {
                    report.set("probe_failed_due_to_regex", 1.0);
                }
            }
            Ok(_) => {}
            Err(failure) => verdict = verdict.and(Err(failure)),
        }
    }
    verdict?;
    let version = version(answer.response.version());
    let wanted = &config.valid_http_versions;
    if !wanted.is_empty()
        && !wanted
            .iter()
            .any(|w| w.strip_prefix("HTTP/") == Some(version))
    {
        return Err(unwanted(format!("HTTP/{version} was spoken")));
    }
    match (is_tls, config.fail_if_ssl, config.fail_if_not_ssl) {
        (true, true, _) => Err(unwanted("the last answer came over TLS")),
        (false, _, true) => Err(unwanted("the last answer did not come over TLS")),
        _ => Ok(()),
    }
}

fn tell_head(request: &Request, response: &hyper::Response<Incoming>, report: &mut Report) {
    let headers = response.headers();
    report.set(
        "probe_http_status_code",
        f64::from(response.status().as_u16()),
    );
    let number = version(response.version()).parse().unwrap_or(0.0);
    report.set("probe_http_version", number);
    let stated = || {
        let stated = headers.get(CONTENT_LENGTH)?.to_str().ok()?;
        stated.trim().parse::<u64>().ok()
    };
    let length = if headers.contains_key(TRANSFER_ENCODING) {
        None
    } else if request.method == Method::HEAD {
        stated()
    } else {
        stated().or_else(|| response.body().size_hint().exact())
    };
    // Go's word for "not known" is -1.
    report.set(
        "probe_http_content_length",
        length.map_or(-1.0, |l| l as f64),
    );
    let modified = headers
        .get(LAST_MODIFIED)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| jiff::fmt::rfc2822::parse(v).ok());
    if let Some(at) = modified {
        report.set(
            "probe_http_last_modified_timestamp_seconds",
            at.timestamp().as_second() as f64,
        );
    }
}

fn status(probe: &Probe, status: StatusCode) -> Result<(), Failure> {
    let wanted = &probe.config.valid_status_codes;
    match wanted.is_empty() {
        true if !status.is_success() => {
            Err(unwanted(format!("status {}, wanted 2xx", status.as_u16())))
        }
        false if !wanted.contains(&status.as_u16()) => Err(unwanted(format!(
            "status {}, wanted one of {wanted:?}",
            status.as_u16()
        ))),
        _ => Ok(()),
    }
}

fn headers(probe: &Probe, headers: &HeaderMap) -> Result<(), Failure> {
    let each = |conditions: &[HeaderMatch], wanted: bool| {
        for condition in conditions {
            let name = &condition.header;
            let values: Vec<_> = headers
                .get_all(name.as_str())
                .iter()
                .map(|v| String::from_utf8_lossy(v.as_bytes()).into_owned())
                .collect();
            if values.is_empty() {
                if condition.allow_missing {
                    continue;
                }
                return Err(unwanted(format!("the header {name:?} is missing")));
            }
            let regex = compiled(&condition.regexp)?;
            if values.iter().any(|v| regex.is_match(v)) != wanted {
                let does = if wanted { "does not match" } else { "matches" };
                return Err(unwanted(format!(
                    "the header {name:?} {does} {:?}",
                    condition.regexp
                )));
            }
        }
        Ok(())
    };
    each(&probe.config.fail_if_header_matches, false)?;
    each(&probe.config.fail_if_header_not_matches, true)
}

fn body(probe: &Probe, text: &str) -> Result<(), Failure> {
    let config = &probe.config;
    for pattern in &config.fail_if_body_matches_regexp {
        if compiled(pattern)?.is_match(text) {
            return Err(unwanted(format!("the body matches {pattern:?}")));
        }
    }
    for pattern in &config.fail_if_body_not_matches_regexp {
        if !compiled(pattern)?.is_match(text) {
            return Err(unwanted(format!("the body does not match {pattern:?}")));
        }
    }
    Ok(())
}

fn compiled(pattern: &str) -> Result<Regex, Failure> {
    crate::probe::tcp::regex(pattern)
}

fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "1.0",
        Version::HTTP_11 => "1.1",
        _ => "0",
    }
}

fn unwanted(why: impl Into<String>) -> Failure {
    Failure::Unwanted(why.into())
}
