//! Metrics that applications send by StatsD's lines, as to a statsd_exporter.
//!
//! Sockets take lines and change metrics in memory; the source tells of all metrics at every tick.
//! They outlive a new configuration, but not a restart.

mod config;
mod counts;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod line;
mod mapping;
mod name;
mod receive;
mod registry;
mod summary;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::{SampleBatch, Timestamp};
use tokio::task::JoinSet;
use tokio::time::Instant;

pub use config::StatsdConfig;
pub(crate) use mapping::MappingFile;

use config::TagStyles;
use counts::{Counts, count};
use line::{Event, Type};
use mapping::Mapper;
use registry::{About, Change, Done, Refused, Registry};

use crate::source::Source;
use crate::target::Target;

/// What was received. Cloning shares.
#[derive(Clone, Debug, Default)]
pub(crate) struct Received(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    styles: TagStyles,
    file: MappingFile,
    mapper: Option<Mapper>,
    registry: Registry,
    counts: Counts,
    /// Why a socket does not listen, by its protocol.
    udp_problem: Option<String>,
    tcp_problem: Option<String>,
}

impl Default for State {
    fn default() -> Self {
        State {
            styles: StatsdConfig::default().styles(),
            file: MappingFile::default(),
            mapper: None,
            registry: Registry::default(),
            counts: Counts::default(),
            udp_problem: None,
            tcp_problem: None,
        }
    }
}

impl Received {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Each change is complete before it is made.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets everything: nobody listens any more.
    pub(crate) fn clear(&self) {
        *self.lock() = State::default();
    }

    /// Goes on by this configuration.
    fn configure(&self, config: &StatsdConfig, file: &MappingFile) -> Result<(), String> {
        let mut state = self.lock();
        state.styles = config.styles();
        if state.mapper.is_some() && state.file == *file {
            return Ok(());
        }
        let mapper = Mapper::new(file)?;
        if state.mapper.replace(mapper).is_some() {
            state.counts.reloads += 1;
            state.registry.forget_observations();
        }
        state.file = file.clone();
        Ok(())
    }

    /// Takes what one packet or some lines of a connection say.
    fn take(&self, text: &[u8], at: Timestamp) {
        let mut state = self.lock();
        for line in text.split(|byte| *byte == b'\n') {
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.is_empty() {
                state.line(line, at);
            }
        }
    }
}

impl State {
    fn line(&mut self, line: &[u8], at: Timestamp) {
        self.counts.lines += 1;
        let Ok(line) = std::str::from_utf8(line) else {
            return self.counts.bad_sample("malformed_line");
        };
        let (registry, mapper) = (&mut self.registry, &mut self.mapper);
        line::parse(line, self.styles, &mut self.counts, &mut |counts, event| {
            if let Some(mapper) = mapper {
                event.change(mapper, registry, counts, at);
            }
        });
    }
}

impl Event<'_> {
    fn change(
        &self,
        mapper: &mut Mapper,
        registry: &mut Registry,
        counts: &mut Counts,
        at: Timestamp,
    ) {
        let mapped = mapper.map(self.name, self.of);
        let rule = mapped.as_ref().map(|mapped| &mapped.rule);
        if rule.is_some_and(|rule| rule.drop) {
            return count(&mut counts.actions, "drop");
        }
        let value = self.value * rule.map_or(1.0, |rule| rule.scale);
        let observer = rule.map_or(&mapper.observer, |rule| &rule.observer);
        let change = match self.of {
            Type::Counter => Change::Add(value),
            Type::Gauge if self.relative => Change::Move(value),
            Type::Gauge => Change::Set(value),
            Type::Observer => Change::Observe(value, self.times, observer),
        };
        let unmapped = name::escape(self.name);
        let mut labels = self.tags.to_vec();
        let name = match &mapped {
            None => {
                counts.unmapped += 1;
                &*unmapped
            }
            Some(mapped) if mapped.name.is_empty() => {
                return count(&mut counts.errors, "empty_metric_name");
            }
            Some(mapped) => {
                for (label, value) in &mapped.labels {
                    match labels.iter_mut().find(|(known, _)| known == label) {
                        Some(_) if mapped.rule.honor_labels => {}
                        Some((_, known)) => known.clone_from(value),
                        None => labels.push((label.clone(), value.clone())),
                    }
                }
                count(&mut counts.actions, "map");
                mapped.name.as_str()
            }
        };
        if self.of == Type::Counter && value < 0.0 {
            return count(&mut counts.errors, "illegal_negative_counter");
        }
        let about = About {
            name,
            labels: &labels,
            help: rule.and_then(|rule| rule.help.as_deref()),
            ttl: rule.map_or(mapper.ttl, |rule| rule.ttl),
        };
        let events = self.times.max(1);
        match registry.change(&about, &change, at) {
            Ok(done) => {
                if done == Done::WithoutQuantiles {
                    count(&mut counts.errors, "too_many_observations");
                }
                let all = counts.events.entry(self.of.as_str()).or_default();
                *all = all.saturating_add(events);
            }
            Err(Refused::Conflict) => count(&mut counts.conflicts, self.of.as_str()),
            Err(Refused::Full) => count(&mut counts.errors, "too_many_series"),
        }
    }
}

/// Listens until it is dropped, and tells of what it received at every tick.
pub(crate) struct Statsd {
    received: Received,
    _sockets: JoinSet<()>,
}

impl Statsd {
    /// # Errors
    /// When the mappings cannot be used.
    pub(crate) fn new(
        config: &StatsdConfig,
        file: &MappingFile,
        received: Received,
    ) -> Result<Statsd, String> {
        received.configure(config, file)?;
        let mut sockets = JoinSet::new();
        sockets.spawn(receive::udp(config.listen.clone(), received.clone()));
        if config.tcp {
            sockets.spawn(receive::tcp(config.listen.clone(), received.clone()));
        } else {
            received.lock().tcp_problem = None;
        }
        Ok(Statsd {
            received,
            _sockets: sockets,
        })
    }
}

impl Source for Statsd {
    async fn collect(&mut self, target: &mut Target, at: Timestamp) -> SampleBatch {
        let started = Instant::now();
        let (collected, full, lacks) = {
            let mut state = self.received.lock();
            state.registry.expire(at);
            let mut pass = target.pass(at);
            state.registry.put(&mut pass);
            let mappings = state.mapper.as_ref().map_or(0, Mapper::len);
            let families = state.registry.by_type();
            state.counts.put(&mut pass, mappings, &families);
            let mut collected = pass.done();
            let problems = [state.udp_problem.as_deref(), state.tcp_problem.as_deref()];
            let problems: Vec<&str> = problems.into_iter().flatten().collect();
            collected.problem = (!problems.is_empty()).then(|| problems.join("; "));
            let registry = &state.registry;
            let lacks = registry.is_full_of_observations();
            (collected, registry.is_full(), lacks)
        };
        let full = full.then(|| {
            format!(
                "new series are refused: there are {} samples or {} MB of labels; \
                 drop or join some by a mapping, or give them a ttl",
                registry::SAMPLES_MAX,
                registry::LABEL_BYTES_MAX >> 20
            )
        });
        let lacks = lacks.then(|| {
            format!(
                "quantiles lack observations: {} MB of them are kept; make histograms of some \
                 summaries by a mapping, or shorten their max_age",
                registry::OBSERVATION_BYTES_MAX >> 20
            )
        });
        target.set_notes(full.into_iter().chain(lacks).collect());
        target.finish(at, started.elapsed(), Ok(collected))
    }
}

#[cfg(test)]
mod tests;
