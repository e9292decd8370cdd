//! The labelled corpus: lines as programs write them. In `positive.txt`, `{{find|mark}}` says what
//! must go and what stands for it, and all else must stay; `negative.txt` must stay as it is. `¦` is
//! taken out, so that scanners of this repository find no key in it; `{{ESC}}` is an escape. Lines of
//! `adversarial.txt` are made up to mislead, with and without finds.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "tests fail loudly"
)]

use std::collections::BTreeMap;

use scrub::{Config, PseudonymKey, Scrubber};

fn scrubber() -> Scrubber {
    let config = Config {
        enabled: vec!["ssn".to_owned()],
        ..Config::default()
    };
    Scrubber::new(&config, &PseudonymKey::new([3; 32])).unwrap()
}

fn lines(text: &str) -> impl Iterator<Item = String> {
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with("## "));
    lines.map(|line| line.replace('¦', "").replace("{{ESC}}", "\x1b"))
}

/// The line as written, as it must become, and the marks in it.
fn read(line: &str) -> (String, String, Vec<String>) {
    let (mut raw, mut clean, mut marks) = (String::new(), String::new(), Vec::new());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("{{") {
        let (inner, tail) = after.split_once("}}").expect("closed");
        let (find, mark) = inner.rsplit_once('|').expect("a mark");
        raw += &format!("{before}{find}");
        clean += &format!("{before}{mark}");
        marks.push(mark.to_owned());
        rest = tail;
    }
    (raw + rest, clean + rest, marks)
}

#[test]
fn every_labelled_find_goes_and_nothing_else() {
    let scrubber = scrubber();
    let (mut labelled, mut wrong) = (BTreeMap::new(), Vec::new());
    let written = [
        include_str!("corpus/positive.txt"),
        include_str!("corpus/adversarial.txt"),
    ];
    for line in written.into_iter().flat_map(lines) {
        let (raw, expect, marks) = read(&line);
        for mark in marks {
            *labelled.entry(mark).or_insert(0) += 1;
        }
        let clean = scrubber.line(raw.as_bytes());
        if clean.as_str() != expect {
            wrong.push(format!("{raw}\n  is   {}\n  must {expect}", clean.as_str()));
        }
        let twice = scrubber.line(clean.as_str().as_bytes());
        assert_eq!(twice.as_str(), clean.as_str(), "twice: {raw}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{labelled:?}");
}

#[test]
fn ordinary_lines_stay() {
    let scrubber = scrubber();
    let wrong: Vec<String> = lines(include_str!("corpus/negative.txt"))
        .filter_map(|line| {
            let clean = scrubber.line(line.as_bytes());
            (clean.as_str() != line).then(|| format!("{line}\n  is {}", clean.as_str()))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Recall on the synthetic data of presidio-research, which is not part of this repository:
/// `PRESIDIO=synth_dataset_v2.json cargo test -p scrub --test corpus -- --nocapture presidio`.
/// A find counts if nothing of it is left.
#[test]
fn presidio_recall() {
    let Some(path) = std::env::var_os("PRESIDIO") else {
        println!("SKIPPED: PRESIDIO does not name synth_dataset_v2.json of presidio-research");
        return;
    };
    let text = std::fs::read_to_string(path).unwrap();
    let samples: serde_json::Value = serde_json::from_str(&text).unwrap();
    let config = Config {
        enabled: vec!["ssn".to_owned()],
        actions: [("ip".to_owned(), "mask".to_owned())].into(),
        private_ips: true,
        ..Config::default()
    };
    let scrubber = Scrubber::new(&config, &PseudonymKey::new([3; 32])).unwrap();
    let mut recall: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    for sample in samples.as_array().unwrap() {
        let text = sample["full_text"].as_str().unwrap();
        let clean = scrubber.line(text.as_bytes());
        for span in sample["spans"].as_array().unwrap() {
            let value = span["entity_value"].as_str().unwrap();
            let kind = span["entity_type"].as_str().unwrap().to_owned();
            let (found, all) = recall.entry(kind).or_default();
            *found += u32::from(!clean.as_str().contains(value));
            *all += 1;
        }
    }
    for (kind, (found, all)) in recall {
        println!("{kind}: {found} of {all}");
    }
}
