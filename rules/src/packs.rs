//! The rule files that come with the program.

/// Name and text of each pack, in the order they are shown.
const PACKS: [(&str, &str); 5] = [
    ("host", include_str!("../packs/host.yml")),
    ("docker", include_str!("../packs/docker.yml")),
    ("uptime", include_str!("../packs/uptime.yml")),
    ("stackwatch", include_str!("../packs/stackwatch.yml")),
    ("gateway", include_str!("../packs/gateway.yml")),
];

/// Names of the packs: `host`, `docker`, `uptime`, `stackwatch`, `gateway`.
#[must_use]
pub fn names() -> &'static [&'static str] {
    &["host", "docker", "uptime", "stackwatch", "gateway"]
}

/// The rule file of a pack.
#[must_use]
pub fn text(name: &str) -> Option<&'static str> {
    PACKS.iter().find(|(n, _)| *n == name).map(|(_, t)| *t)
}
