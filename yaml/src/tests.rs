//! Whatever the parser gives or refuses, it gives or refuses through the seam.

use std::collections::BTreeMap;
use std::fmt::Debug;

use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

use super::*;

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whole {
    name: Spanned<String>,
    #[serde(default)]
    port: Option<u16>,
    #[serde(default)]
    ratio: f64,
    #[serde(default)]
    on: bool,
    #[serde(default)]
    signed: i8,
    #[serde(default)]
    letter: Option<char>,
    #[serde(default)]
    list: Vec<Spanned<Kind>>,
    #[serde(default)]
    map: BTreeMap<String, Option<Inner>>,
    #[serde(default)]
    either: Option<Either>,
    #[serde(default)]
    pair: Option<(u8, String)>,
    #[serde(default)]
    wrapped: Option<Wrapped>,
    #[serde(default)]
    even: Option<Even>,
    #[serde(default)]
    flat: Option<Flat>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Plain,
    One(u8),
    Two(u8, String),
    Many { a: u8 },
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Inner {
    a: u8,
    b: Option<Box<Inner>>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(untagged)]
enum Either {
    Number(u64),
    Text(String),
    Map(Inner),
}

#[derive(Debug, PartialEq, Deserialize)]
struct Wrapped(Vec<u8>);

#[derive(Debug, PartialEq, Deserialize)]
struct Flat {
    x: u8,
    #[serde(flatten)]
    rest: BTreeMap<String, u8>,
}

/// Has a mind of its own.
#[derive(Debug, PartialEq)]
struct Even(u8);

impl<'de> Deserialize<'de> for Even {
    fn deserialize<D: Deserializer<'de>>(parser: D) -> Result<Self, D::Error> {
        let number = u8::deserialize(parser)?;
        if number % 2 == 0 {
            Ok(Even(number))
        } else {
            Err(serde::de::Error::custom(format!("{number} is odd")))
        }
    }
}

fn check<T: DeserializeOwned + Debug>(text: &str) {
    for with_snippet in [false, true] {
        let options = || serde_saphyr::options! { with_snippet: with_snippet };
        let direct = serde_saphyr::from_str_with_options::<T>(text, options());
        let through = from_str::<T>(text, options());
        let shown = |read: Result<T, Error>| match read {
            Ok(value) => format!("{value:?}"),
            Err(error) => format!("{error} {:?} {error:?}", error.location()),
        };
        assert_eq!(shown(through), shown(direct), "{text}");
    }
}

#[test]
fn values_and_their_places_are_the_same() {
    for text in [
        "name: a",
        "name: a\nport: 80\nratio: 1.5\non: true\nsigned: -3\nletter: x",
        "name: |\n  long\n  text\nport: null",
        "name: \"1\"\nlist: [plain, one: 3, {two: [1, b]}, many: {a: 4}]",
        "name: a\nlist:\n  - plain\n  - one: 7\n",
        "name: a\nmap: {x: {a: 1, b: {a: 2, b: null}}, y: ~, z: {a: 3}}",
        "name: a\neither: 5",
        "name: a\neither: text",
        "name: a\neither: {a: 1}",
        "name: a\npair: [1, two]\nwrapped: [1, 2]\neven: 4",
        "name: a\nflat: {x: 1, y: 2, z: 3}",
        "base: &b {a: 1}\nname: a",
        "name: &n a\nmap: {x: &m {a: 1}, y: *m, z: {<<: *m}}",
    ] {
        check::<Whole>(text);
    }
    check::<Option<Inner>>("");
    check::<Option<Inner>>("~");
    check::<Vec<Inner>>("- a: 1\n- a: 2");
    check::<BTreeMap<String, String>>("a: b\nc: d");
    check::<String>("text");
    check::<u64>("18446744073709551615");
    check::<i128>("-170141183460469231731687303715884105728");
    check::<()>("~");
}

#[test]
fn errors_and_their_places_are_the_same() {
    for text in [
        "",
        "port: 80",
        "name: a\nnme: b",
        "name: a\nname: b",
        "name: a\nport: 70000",
        "name: a\nport: text",
        "name: a\nratio: [1]",
        "name: a\non: perhaps",
        "name: a\nlist: [other]",
        "name: a\nlist:\n  - plain\n  - one: text",
        "name: a\nlist: {a: b}",
        "name: a\nlist: [two: [1]]",
        "name: a\nlist: [many: {b: 1}]",
        "name: a\nmap:\n  x: {a: 1, c: 2}",
        "name: a\nmap:\n  x:\n    a: 1\n    b: {b: ~}",
        "name: a\neither: [1]",
        "name: a\npair: [1]",
        "name: a\npair: [1, b, c]",
        "name: a\neven: 3",
        "name: a\neven: 300",
        "name: a\nflat: {x: 1, y: text}",
        "name: a\nflat: {y: 1}",
        "name: [a",
        "name: *nobody",
        "name: a\n--- \nname: b",
        "- name",
        "name:\n\t- a",
    ] {
        check::<Whole>(text);
    }
    check::<Vec<Inner>>("- a: 1\n- a: x");
    check::<u8>("256");
    check::<bool>("");
}
