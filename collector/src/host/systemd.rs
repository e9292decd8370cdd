//! `node_systemd_*`: units and their states, asked of systemd over D-Bus.
//!
//! A machine without systemd, or whose bus cannot be seen from here, tells nothing and is no failure.

mod bus;
mod config;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod message;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use model::Regex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::UnixStream;
use tokio::time::Instant;

use crate::config::Roots;
use crate::target::Sink;
use bus::{Bus, Peer};
pub use config::SystemdConfig;
use message::{Call, Message, Value};

/// Units told: five series of their states each, so 2,000. Failed ones come first.
const UNITS_MAX: usize = 400;
/// How long systemd and the bus may take, together.
const TIMEOUT: Duration = Duration::from_secs(3);
/// How long the type of a unit, which only a change of its file changes, is not asked again.
const TYPES_AGE_MAX: Duration = Duration::from_secs(600);
/// Types remembered. Units of a moment come under ever new names.
const TYPES_MAX: usize = 2 * UNITS_MAX;
/// Longer names and states are none of systemd's, whose names have at most 255 bytes.
const TEXT_BYTES_MAX: usize = 255;
/// Longer paths are none: a byte of a name makes at most three of its path.
const PATH_BYTES_MAX: usize = 1024;
/// States counted. There are eight.
const STATES_MAX: usize = 32;

/// The states that each unit has a series of.
const STATES: [&str; 5] = ["active", "activating", "deactivating", "inactive", "failed"];

const SYSTEMD: &str = "org.freedesktop.systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const MANAGER_PATH: &str = "/org/freedesktop/systemd1";

/// Microseconds in a second.
const MICROS: f64 = 1e6;

/// A property that becomes a series of each unit of a kind.
struct Figure {
    /// How the names of such units end.
    suffix: &'static str,
    interface: &'static str,
    property: &'static str,
    name: &'static str,
    /// What the property is divided by.
    per: f64,
    wanted: fn(&SystemdConfig) -> bool,
}

const FIGURES: [Figure; 8] = [
    Figure {
        suffix: ".service",
        interface: "org.freedesktop.systemd1.Service",
        property: "NRestarts",
        name: "node_systemd_service_restart_total",
        per: 1.0,
        wanted: |config| config.restarts,
    },
    Figure {
        suffix: "",
        interface: "org.freedesktop.systemd1.Unit",
        property: "ActiveEnterTimestamp",
        name: "node_systemd_unit_start_time_seconds",
        per: MICROS,
        wanted: |config| config.start_times,
    },
    Figure {
        suffix: ".service",
        interface: "org.freedesktop.systemd1.Service",
        property: "TasksCurrent",
        name: "node_systemd_unit_tasks_current",
        per: 1.0,
        wanted: |config| config.tasks,
    },
    Figure {
        suffix: ".service",
        interface: "org.freedesktop.systemd1.Service",
        property: "TasksMax",
        name: "node_systemd_unit_tasks_max",
        per: 1.0,
        wanted: |config| config.tasks,
    },
    Figure {
        suffix: ".timer",
        interface: "org.freedesktop.systemd1.Timer",
        property: "LastTriggerUSec",
        name: "node_systemd_timer_last_trigger_seconds",
        per: MICROS,
        wanted: |_| true,
    },
    Figure {
        suffix: ".socket",
        interface: "org.freedesktop.systemd1.Socket",
        property: "NAccepted",
        name: "node_systemd_socket_accepted_connections_total",
        per: 1.0,
        wanted: |_| true,
    },
    Figure {
        suffix: ".socket",
        interface: "org.freedesktop.systemd1.Socket",
        property: "NConnections",
        name: "node_systemd_socket_current_connections",
        per: 1.0,
        wanted: |_| true,
    },
    Figure {
        suffix: ".socket",
        interface: "org.freedesktop.systemd1.Socket",
        property: "NRefused",
        name: "node_systemd_socket_refused_connections_total",
        per: 1.0,
        wanted: |_| true,
    },
];

/// Asks systemd at every tick.
pub(super) struct Systemd {
    questions: Questions,
    sockets: Vec<(PathBuf, Peer)>,
    /// A folder that is there while systemd runs the machine: sd_booted(3).
    booted: PathBuf,
    /// Kept between two ticks, for each new one wakes whoever watches the bus.
    bus: Option<Bus<UnixStream>>,
}

/// What is asked, and what need not be asked again.
struct Questions {
    config: SystemdConfig,
    include: Regex,
    exclude: Regex,
    /// By name of the unit.
    types: HashMap<String, String>,
    types_since: Instant,
}

/// What systemd told.
#[derive(Debug, Default)]
pub(super) struct Found {
    version: Option<String>,
    virtualization: Option<String>,
    running: Option<bool>,
    /// Units by state.
    summary: BTreeMap<String, usize>,
    units: Vec<Unit>,
    /// Places of units in `units`, name of the series, value.
    figures: Vec<(usize, &'static str, f64)>,
    /// Units beyond [`UNITS_MAX`].
    left_out: usize,
}

#[derive(Debug)]
struct Unit {
    name: String,
    state: String,
    path: String,
    /// Of a service or a mount.
    kind: String,
}

impl Systemd {
    /// # Errors
    /// When an expression does not compile.
    pub(super) fn new(config: &SystemdConfig, roots: &Roots) -> Result<Systemd, String> {
        let below = |path: &str| roots.rootfs.join(path);
        let sockets = match &config.socket {
            Some(socket) => vec![(socket.clone(), Peer::Bus)],
            None => vec![
                (below("run/dbus/system_bus_socket"), Peer::Bus),
                // Of systemd itself, for root: a machine may do without a bus.
                (below("run/systemd/private"), Peer::Program),
            ],
        };
        Ok(Systemd {
            questions: Questions::new(config)?,
            sockets,
            booted: below("run/systemd/system"),
            bus: None,
        })
    }

    /// Asks; `None` where there is no systemd.
    ///
    /// # Errors
    /// When there is one that cannot be asked.
    pub(super) async fn ask(&mut self) -> Option<io::Result<Found>> {
        self.ask_within(TIMEOUT).await
    }

    async fn ask_within(&mut self, timeout: Duration) -> Option<io::Result<Found>> {
        match tokio::time::timeout(timeout, self.ask_all()).await {
            Ok(found) => found.transpose(),
            // The connection went with the question.
            Err(_) => Some(Err(io::ErrorKind::TimedOut.into())),
        }
    }

    async fn ask_all(&mut self) -> io::Result<Option<Found>> {
        if let Some(mut bus) = self.bus.take() {
            // One that was closed meanwhile says nothing about systemd.
            if let Ok(found @ Some(_)) = self.questions.ask(&mut bus).await {
                self.bus = Some(bus);
                return Ok(found);
            }
        }
        for (socket, peer) in &self.sockets {
            let mut bus = match Bus::connect(socket, *peer).await {
                Ok(bus) => bus,
                Err(e) if is_absent(&e, *peer, &self.booted) => continue,
                Err(e) => return Err(named(&e, socket)),
            };
            let asked = self.questions.ask(&mut bus).await;
            if let Some(found) = asked.map_err(|e| named(&e, socket))? {
                self.bus = Some(bus);
                return Ok(Some(found));
            }
        }
        Ok(None)
    }
}

/// Whether nobody is behind a socket who should be. A socket may outlive its bus where systemd has
/// never run: in an image, in a container.
fn is_absent(error: &io::Error, peer: Peer, booted: &Path) -> bool {
    match error.kind() {
        io::ErrorKind::NotFound => true,
        // systemd's own socket is root's.
        io::ErrorKind::PermissionDenied => peer == Peer::Program,
        io::ErrorKind::ConnectionRefused => !booted.exists(),
        _ => false,
    }
}

fn named(error: &io::Error, socket: &Path) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", socket.display()))
}

impl Questions {
    fn new(config: &SystemdConfig) -> Result<Questions, String> {
        let regex = |pattern: &str| Regex::anchored(pattern).map_err(|e| e.to_string());
        Ok(Questions {
            include: regex(&config.unit_include)?,
            exclude: regex(&config.unit_exclude)?,
            config: config.clone(),
            types: HashMap::new(),
            types_since: Instant::now(),
        })
    }

    /// `None` when nobody on this bus is systemd.
    async fn ask<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        bus: &mut Bus<S>,
    ) -> io::Result<Option<Found>> {
        let of_manager = |property: &'static str| [MANAGER, property];
        let wanted = ["Version", "Virtualization", "SystemState"].map(of_manager);
        let list = Call {
            destination: SYSTEMD,
            path: MANAGER_PATH,
            interface: MANAGER,
            member: "ListUnits",
            arguments: &[],
        };
        let [a, b, c] = &wanted;
        let calls = [
            list,
            property(MANAGER_PATH, a),
            property(MANAGER_PATH, b),
            property(MANAGER_PATH, c),
        ];
        let answers = bus.ask(&calls).await?;
        let [units, version, virtualization, state] = &answers[..] else {
            return Ok(None);
        };
        if let Some(error) = &units.error {
            return refused(error, units.text());
        }
        let mut found = Found {
            version: text(version),
            virtualization: text(virtualization),
            running: text(state).map(|state| state == "running"),
            ..Found::default()
        };
        self.choose(units, &mut found)?;
        self.ask_types(bus, &mut found).await?;
        self.ask_figures(bus, &mut found).await?;
        Ok(Some(found))
    }

    /// Counts all units and chooses those that are told.
    fn choose(&self, answer: &Message, found: &mut Found) -> io::Result<()> {
        let Found {
            summary,
            units,
            left_out,
            ..
        } = found;
        summary.extend(STATES.map(|state| (state.to_owned(), 0)));
        answer.units(|unit| {
            let plain = is_plain(unit.active_state) && is_plain(unit.name);
            if !plain || unit.path.len() > PATH_BYTES_MAX {
                return;
            }
            if let Some(count) = summary.get_mut(unit.active_state) {
                *count += 1;
            } else if summary.len() < STATES_MAX {
                summary.insert(unit.active_state.to_owned(), 1);
            }
            let wanted = unit.load_state == "loaded"
                && self.include.is_match(unit.name)
                && !self.exclude.is_match(unit.name);
            if wanted {
                units.push(Unit {
                    name: unit.name.to_owned(),
                    state: unit.active_state.to_owned(),
                    path: unit.path.to_owned(),
                    kind: String::new(),
                });
            }
        })?;
        let order = |unit: &Unit| (unit.state != "failed", unit.name.clone());
        units.sort_by_cached_key(order);
        units.dedup_by(|a, b| a.name == b.name);
        *left_out = units.len().saturating_sub(UNITS_MAX);
        units.truncate(UNITS_MAX);
        Ok(())
    }

    /// Fills in the types of services and mounts.
    async fn ask_types<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        bus: &mut Bus<S>,
        found: &mut Found,
    ) -> io::Result<()> {
        if self.types_since.elapsed() >= TYPES_AGE_MAX || self.types.len() >= TYPES_MAX {
            self.types.clear();
            self.types_since = Instant::now();
        }
        let typed = |unit: &Unit| {
            let of = |suffix: &str| unit.name.ends_with(suffix);
            let interfaces = [
                (".service", ["org.freedesktop.systemd1.Service", "Type"]),
                (".mount", ["org.freedesktop.systemd1.Mount", "Type"]),
            ];
            interfaces
                .into_iter()
                .find(|(suffix, _)| of(suffix))
                .map(|(_, what)| what)
        };
        let units = &found.units;
        let unknown = units
            .iter()
            .filter(|unit| !self.types.contains_key(&unit.name));
        let wanted: Vec<(&Unit, [&str; 2])> = unknown
            .filter_map(|unit| Some((unit, typed(unit)?)))
            .collect();
        let calls: Vec<Call<'_>> = wanted
            .iter()
            .map(|(unit, what)| property(&unit.path, what))
            .collect();
        let answers = bus.ask(&calls).await?;
        for ((unit, _), answer) in wanted.iter().zip(&answers) {
            if let Some(kind) = text(answer) {
                self.types.insert(unit.name.clone(), kind);
            }
        }
        for unit in &mut found.units {
            unit.kind = self.types.get(&unit.name).cloned().unwrap_or_default();
        }
        Ok(())
    }

    async fn ask_figures<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        bus: &mut Bus<S>,
        found: &mut Found,
    ) -> io::Result<()> {
        let (mut wanted, mut calls) = (Vec::new(), Vec::new());
        for figure in FIGURES
            .iter()
            .filter(|figure| (figure.wanted)(&self.config))
        {
            for (at, unit) in found.units.iter().enumerate() {
                if !unit.name.ends_with(figure.suffix) {
                    continue;
                }
                // Only those have been active since that are now.
                if figure.property == "ActiveEnterTimestamp" && unit.state != "active" {
                    found.figures.push((at, figure.name, 0.0));
                    continue;
                }
                wanted.push((at, figure));
                calls.push((&unit.path, [figure.interface, figure.property]));
            }
        }
        let calls: Vec<Call<'_>> = calls
            .iter()
            .map(|(path, what)| property(path, what))
            .collect();
        let answers = bus.ask(&calls).await?;
        for ((at, figure), answer) in wanted.into_iter().zip(&answers) {
            // Older ones do not know all; the largest number stands for no limit or no figure.
            if let Some(number) = number(answer).filter(|n| *n != u64::MAX) {
                found
                    .figures
                    .push((at, figure.name, number as f64 / figure.per));
            }
        }
        Ok(())
    }
}

/// The question for a property: its interface and its name.
fn property<'a>(path: &'a str, what: &'a [&'a str; 2]) -> Call<'a> {
    Call {
        destination: SYSTEMD,
        path,
        interface: "org.freedesktop.DBus.Properties",
        member: "Get",
        arguments: what,
    }
}

/// What an error instead of the list of units means.
fn refused(error: &str, text: Option<&str>) -> io::Result<Option<Found>> {
    let absent = ["ServiceUnknown", "NameHasNoOwner"];
    if absent.iter().any(|name| error.ends_with(name)) {
        return Ok(None);
    }
    let text: String = text.unwrap_or_default().chars().take(200).collect();
    let denied = error.ends_with("AccessDenied");
    // Docker's profile of AppArmor lets nobody talk to a bus.
    let advice = if denied {
        " (in a container: security_opt: [apparmor=unconfined])"
    } else {
        ""
    };
    Err(io::Error::other(format!(
        "systemd's units: {error}: {text}{advice}"
    )))
}

/// The text of a property; `None` when there is none, or no plain one.
fn text(answer: &Message) -> Option<String> {
    match answer.property() {
        Ok(Value::Text(text)) if is_plain(text) => Some(text.to_owned()),
        _ => None,
    }
}

fn number(answer: &Message) -> Option<u64> {
    match answer.property() {
        Ok(Value::Number(number)) => Some(number),
        _ => None,
    }
}

/// Whether this can be a word of systemd's.
fn is_plain(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX && !text.contains(char::is_control)
}

/// The number in a version: `252.38` of `252.38-1~deb12u1`, `249` of `v249`.
fn version_number(version: &str) -> Option<f64> {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut rest = version;
    loop {
        rest = &rest[rest.find(|c: char| c.is_ascii_digit())?..];
        let whole = digits(rest);
        if whole < 3 {
            rest = &rest[whole..];
            continue;
        }
        let fraction = rest[whole..].strip_prefix('.').map_or(0, digits);
        let end = whole + if fraction > 0 { 1 + fraction } else { 0 };
        return rest[..end].parse().ok();
    }
}

/// Adds what was found; what is to be said about it.
pub(super) fn put(found: &Found, sink: &mut impl Sink) -> Option<String> {
    let version = found.version.as_deref();
    let (number, version) = version
        .and_then(|version| Some((version_number(version)?, version)))
        .unwrap_or_default();
    sink.put("node_systemd_version", &[("version", version)], number);
    // Nothing is bare metal, and an old systemd does not say.
    let virtualization = match found.virtualization.as_deref() {
        Some("") => "none",
        Some(kind) => kind,
        None => "unknown",
    };
    let labels = [("virtualization_type", virtualization)];
    sink.put("node_systemd_virtualization_info", &labels, 1.0);
    if let Some(running) = found.running {
        sink.put(
            "node_systemd_system_running",
            &[],
            f64::from(u8::from(running)),
        );
    }
    for (state, count) in &found.summary {
        sink.put("node_systemd_units", &[("state", state)], *count as f64);
    }
    for unit in &found.units {
        for state in STATES {
            let labels = [
                ("name", unit.name.as_str()),
                ("state", state),
                ("type", &unit.kind),
            ];
            let is = f64::from(u8::from(unit.state == state));
            sink.put("node_systemd_unit_state", &labels, is);
        }
    }
    for (at, name, value) in &found.figures {
        sink.put(name, &[("name", &found.units[*at].name)], *value);
    }
    (found.left_out > 0).then(|| {
        format!(
            "systemd: {} units more than the {UNITS_MAX} that are told; collect.host.systemd.unit_include \
             or unit_exclude chooses others",
            found.left_out
        )
    })
}
