//! What the running stackwatch says of its targets: databases, caches, gateways, and what it found and
//! cannot read.

use std::time::Duration;

use serde_json::Value;

use super::super::client::{get, get_json};
use super::Finding;

/// The check of all targets without a line of their own.
const TARGETS: &str = "targets";
/// Targets told one by one.
const TARGETS_MAX: usize = 100;
/// The pools that have a line of their own, also when all is well.
const POOLS: [(&str, &str); 3] = [
    ("postgres", "PostgreSQL"),
    ("redis", "Redis"),
    ("kong", "Kong"),
];

const CHECK: &str = "running";
/// How long its health may take.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(10);

pub(super) fn look(base: &str) -> Vec<Finding> {
    let answer = get_json(base, "/api/v1/targets", &[("state", "active".to_owned())]);
    match answer {
        Ok(answer) => {
            let health = get(base, "/health", &[], HEALTH_TIMEOUT);
            let health = health
                .ok()
                .and_then(|(_, body)| serde_json::from_str(&body).ok());
            let mut findings = of_health(&health.unwrap_or_default());
            if findings.is_empty() {
                findings.push(Finding::ok(CHECK, format!("{base} answers, and is well")));
            }
            findings.extend(judge(&answer));
            findings.extend(logs(base));
            findings
        }
        Err(failure) => vec![Finding::warn(
            CHECK,
            format!("{failure}; databases, caches and gateways are not looked at"),
            "start stackwatch, or name it with --url",
        )],
    }
}

/// What `/health` complains of, but for targets: those come one by one.
fn of_health(health: &Value) -> Vec<Finding> {
    let components = health["components"].as_object().into_iter().flatten();
    let mut findings = Vec::new();
    for (name, component) in components.filter(|(name, _)| *name != "collector") {
        for problem in component["problems"].as_array().into_iter().flatten() {
            let text = format!("{name}: {}", problem.as_str().unwrap_or_default());
            findings.push(match component["status"] == "failed" {
                true => Finding::fail(CHECK, text, ""),
                false => Finding::warn(CHECK, text, ""),
            });
        }
    }
    findings
}

fn judge(answer: &Value) -> Vec<Finding> {
    let none = Vec::new();
    let all = answer["data"]["activeTargets"].as_array().unwrap_or(&none);
    let mut findings = Vec::new();
    for (pool, called) in POOLS {
        let of_pool: Vec<&Value> = all.iter().filter(|t| t["scrapePool"] == *pool).collect();
        let troubled: Vec<Finding> = of_pool.iter().flat_map(|t| of_target(pool, t)).collect();
        if troubled.is_empty() {
            findings.push(match of_pool.len() {
                0 => Finding::ok(pool, format!("no {called} is configured or found")),
                count => Finding::ok(pool, format!("{count} read, with every right it takes")),
            });
        }
        findings.extend(troubled);
    }
    let mut others = 0;
    for target in all {
        let pool = target["scrapePool"].as_str().unwrap_or_default();
        if !POOLS.iter().any(|(known, _)| *known == pool) {
            others += 1;
            findings.extend(of_target(TARGETS, target));
        }
    }
    if !findings.iter().any(|f| f.check == TARGETS) {
        findings.push(Finding::ok(
            TARGETS,
            format!("{others} others, none in trouble"),
        ));
    }
    findings.truncate(TARGETS_MAX);
    findings
}

/// Containers whose output is not read or may get lost, as stackwatch says itself.
fn logs(base: &str) -> Vec<Finding> {
    match get_json(base, "/api/v1/logs/streams", &[]) {
        Ok(answer) => judge_logs(&answer),
        // Of an older version.
        Err(_) => Vec::new(),
    }
}

fn judge_logs(answer: &Value) -> Vec<Finding> {
    const CHECK: &str = "logs";
    let none = Vec::new();
    let streams = answer["data"]["streams"].as_array().unwrap_or(&none);
    let mut findings = Vec::new();
    for stream in streams {
        let container = stream["container"].as_str().unwrap_or_default();
        for note in stream["notes"].as_array().into_iter().flatten() {
            let note = note.as_str().unwrap_or_default();
            findings.push(Finding::warn(CHECK, format!("{container}: {note}"), ""));
        }
    }
    findings.truncate(TARGETS_MAX);
    if findings.is_empty() {
        findings.push(Finding::ok(CHECK, format!("{} read", streams.len())));
    }
    findings
}

/// What is wrong with a target; what it says itself ends with the cure.
fn of_target(check: &'static str, target: &Value) -> Vec<Finding> {
    let mut instance = target["labels"]["instance"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    if check == TARGETS {
        // Several jobs may scrape one address.
        let job = target["labels"]["job"].as_str().unwrap_or_default();
        instance = format!("job {job}, {instance}");
    }
    let mut findings = Vec::new();
    let error = target["lastError"].as_str().unwrap_or_default();
    if target["health"] == "down" {
        let found = target["discoveredLabels"]["__meta_docker_container_name"].is_string();
        let text = format!("{instance}: {error}");
        findings.push(match found {
            // Nobody asked for it.
            true => Finding::warn(check, text, ""),
            false => Finding::fail(check, text, ""),
        });
    }
    for note in target["notes"].as_array().into_iter().flatten() {
        let note = note.as_str().unwrap_or_default();
        findings.push(Finding::warn(check, format!("{instance}: {note}"), ""));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::Level;
    use super::*;

    #[test]
    fn logs_that_cannot_be_read_are_told_by_container() {
        let answer = serde_json::json!({"data": {"streams": [
            {"container": "web", "notes": []},
            {"container": "db", "notes": ["its log driver none keeps nothing"]},
        ]}});
        let found = judge_logs(&answer);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].text, "db: its log driver none keeps nothing");
        let all_well = judge_logs(&serde_json::json!({"data": {"streams": []}}));
        assert_eq!(all_well[0].level, Level::Ok);
    }

    #[test]
    fn troubles_are_told_with_the_words_of_the_target() {
        let answer = serde_json::json!({"data": {"activeTargets": [
            {"scrapePool": "redis", "health": "up", "lastError": "", "labels": {"instance": "cache"}, "notes": ["no right to X; to mend it: ACL SETUSER a +x"]},
            {"scrapePool": "postgres", "health": "down", "lastError": "no password for it — add …", "labels": {"instance": "shop/db"},
             "discoveredLabels": {"__meta_docker_container_name": "/shop-db-1"}},
            {"scrapePool": "api", "health": "down", "lastError": "connection refused", "labels": {"instance": "api:1", "job": "shop"}},
        ]}});
        let found: Vec<(Level, String)> = judge(&answer)
            .into_iter()
            .map(|f| (f.level, format!("{} {}", f.check, f.text)))
            .collect();
        let expect = [
            (Level::Warn, "postgres shop/db: no password for it — add …"),
            (
                Level::Warn,
                "redis cache: no right to X; to mend it: ACL SETUSER a +x",
            ),
            (Level::Ok, "kong no Kong is configured or found"),
            (Level::Fail, "targets job shop, api:1: connection refused"),
        ];
        assert_eq!(found, expect.map(|(level, text)| (level, text.to_owned())));
    }

    #[test]
    fn what_health_complains_of_is_told() {
        let health = serde_json::json!({"components": {
            "collector": {"status": "warning", "problems": ["a target is down"]},
            "rules": {"status": "ok"},
            "storage": {"status": "failed", "problems": ["disk full"]},
        }});
        let found: Vec<String> = of_health(&health).iter().map(Finding::line).collect();
        assert_eq!(found, ["fail running      storage: disk full"]);
        assert!(of_health(&Value::Null).is_empty());
    }
}
