//! A PostgreSQL server, under postgres_exporter's names.
//!
//! One connection asks the cheap questions at every tick; the dear ones are asked at a slower tick,
//! and their answers repeated in between. Tables and indexes of other databases are read over one
//! short-lived connection after the other. What the server does not allow or does not have is left
//! out, said once, and shown in the target's notes with the line that would change it.

mod advice;
mod config;
mod custom;
mod dsn;
mod facts;
mod own;
mod password;
mod session;
mod settings;
mod spec;
mod table;
mod tls;
mod views;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use model::{Labels, SampleBatch, Timestamp};
use tokio::time::{Instant, timeout_at};

use crate::config::{ConfigError, target_labels};
use crate::exposition::Kind;
use crate::metadata::Said;
use crate::source::Source;
use crate::target::{Pass, Target};
use advice::Trouble;
pub use config::PostgresConfig;
pub use custom::{CustomColumn, CustomQueries, CustomQuery};
use facts::Facts;
use password::Surroundings;
use session::{Purpose, Session};
use spec::{Meaning, Out, Spec};
use table::{ROWS_MAX, Table};

/// The part of the timeout in which new work that is not urgent may begin, and the longest a
/// statement may take: together they end in time.
const HALF: u32 = 2;

/// The note about what the target shows as its last error.
const CONNECTION: &str = "connection";
/// The note about another database that cannot be connected to.
const CONNECTED: &str = "connected";

/// Watches one server.
pub(crate) struct Postgres {
    config: PostgresConfig,
    specs: Vec<Spec>,
    timeout: Duration,
    from: Surroundings,
    session: Option<Session>,
    facts: Facts,
    /// Answers in force, by query and, of those asked in each database, its name.
    answers: BTreeMap<(usize, String), Table>,
    /// When each query of the slow tick is due.
    due: Vec<Instant>,
    /// When all databases are due for a visit, when that was last planned, and those that still
    /// wait for theirs.
    visits_due: Instant,
    visits_planned: Instant,
    visits: VecDeque<String>,
    /// What is left out and why, by database (empty: the server as a whole) and what it is about.
    notes: BTreeMap<(String, String), String>,
    /// How each collector fared when it was last asked.
    fared: BTreeMap<String, Fared>,
    scrapes: u64,
}

#[derive(Clone, Copy, Default)]
struct Fared {
    ok: bool,
    took: Duration,
}

/// How far a pass came.
struct Reached {
    /// The server has answered.
    up: bool,
    /// Everything urgent has been asked, or why not.
    done: Result<(), Trouble>,
}

impl Postgres {
    /// # Errors
    /// When an own query makes no sense.
    pub(crate) fn new(config: &PostgresConfig, timeout: Duration) -> Result<Postgres, String> {
        let now = Instant::now();
        let specs = config.specs()?;
        Ok(Postgres {
            due: vec![now; specs.len()],
            config: config.clone(),
            specs,
            timeout,
            from: config.surroundings(),
            session: None,
            facts: Facts::default(),
            answers: BTreeMap::new(),
            visits_due: now,
            visits_planned: now,
            visits: VecDeque::new(),
            notes: BTreeMap::new(),
            fared: BTreeMap::new(),
            scrapes: 0,
        })
    }

    /// One collection: what is urgent, then what is due, both before `deadline`.
    async fn pass(&mut self, started: Instant, deadline: Instant) -> Reached {
        let mut up = false;
        let urgent = timeout_at(deadline, self.ask_urgent(&mut up)).await;
        let done = urgent.unwrap_or(Err(Trouble::Timeout));
        if let Err(trouble) = done {
            let done = Err(self.give_up(trouble).await);
            return Reached { up, done };
        }
        let begin_before = started + self.timeout / HALF;
        let slow = timeout_at(deadline, self.ask_due(begin_before)).await;
        let problem = match slow {
            Ok(Ok(())) => None,
            Ok(Err(trouble)) => Some(trouble),
            Err(_) => Some(Trouble::Timeout),
        };
        let problem = match problem {
            Some(trouble) => Some(format!(
                "while asking what costs more: {}",
                self.give_up(trouble).await
            )),
            None if self.is_overdue() => Some(
                "no time is left for tables, sizes and statements: raise timeout and interval"
                    .to_owned(),
            ),
            None => None,
        };
        self.note("slow tick", problem);
        Reached { up, done }
    }

    /// Drops the connection; gives why it ended, where that is known better.
    async fn give_up(&mut self, trouble: Trouble) -> Trouble {
        match (trouble, self.session.take()) {
            (Trouble::Broken(text), Some(session)) => {
                Trouble::Broken(session.close().await.unwrap_or(text))
            }
            (trouble, _) => trouble,
        }
    }

    /// Connects if need be, and asks what is asked at every tick.
    async fn ask_urgent(&mut self, up: &mut bool) -> Result<(), Trouble> {
        if self.session.as_ref().is_none_or(Session::is_closed) {
            self.session = None;
            let dsn = self.config.resolve().map_err(Trouble::Config)?;
            let database = dsn.database().unwrap_or("").to_owned();
            self.session = Some(self.open(&database, self.reading()).await?);
        }
        let Some(session) = &self.session else {
            return Ok(());
        };
        session.refill();
        let facts = Facts::read(&session.ask(facts::QUERY, 1).await?, &self.config)?;
        *up = true;
        if facts.ask.version != self.facts.ask.version {
            // Another server than before: nothing of the old one is true.
            self.answers.clear();
            self.due.fill(Instant::now());
            self.visits_due = Instant::now();
            self.visits.clear();
        }
        self.facts = facts;
        let lacking = (!self.facts.monitor).then(|| advice::not_a_monitor(&self.facts.user));
        self.note("role", lacking);
        for at in 0..self.specs.len() {
            let spec = &self.specs[at];
            if spec.every.is_zero() && !spec.each_database {
                self.ask(at).await?;
            }
        }
        Ok(())
    }

    /// Asks what the slow tick has made due, what has waited longest first, as far as time allows;
    /// the rest waits for the next collection.
    async fn ask_due(&mut self, begin_before: Instant) -> Result<(), Trouble> {
        let each: Vec<usize> = (0..self.specs.len())
            .filter(|at| self.specs[*at].each_database)
            .collect();
        while Instant::now() < begin_before {
            let now = Instant::now();
            let slow = |at: &usize| {
                let spec = &self.specs[*at];
                !spec.every.is_zero() && !spec.each_database && self.due[*at] <= now
            };
            let next = (0..self.specs.len())
                .filter(slow)
                .min_by_key(|at| self.due[*at]);
            // Visits under way are as old as their plan.
            let waits = !each.is_empty() && self.visits_due <= now;
            match next {
                Some(at) if !waits || self.due[at] < self.visits_due => {
                    // First, so that what does not end in time loses its turn.
                    self.due[at] = now + self.specs[at].every;
                    self.ask(at).await?;
                }
                _ if waits => self.visit_next(&each).await?,
                _ => return Ok(()),
            }
        }
        Ok(())
    }

    /// Whether what is due has waited for as long as it should be good for.
    fn is_overdue(&self) -> bool {
        let now = Instant::now();
        let waits = |every: Duration, due: Instant| !every.is_zero() && now > due + 2 * every;
        let slow = self.specs.iter().zip(&self.due);
        slow.filter(|(spec, _)| !spec.each_database)
            .any(|(spec, due)| waits(spec.every, *due))
            || (self.specs.iter().any(|s| s.each_database)
                && waits(self.config.slow_interval, self.visits_due))
    }

    /// Visits the next database, or plans the visits when there is no plan.
    async fn visit_next(&mut self, each: &[usize]) -> Result<(), Trouble> {
        if self.visits.is_empty() {
            self.visits_planned = Instant::now();
            self.plan_visits().await?;
        }
        let database = self.visits.pop_front();
        if self.visits.is_empty() {
            self.visits_due = self.visits_planned + self.config.slow_interval;
        }
        match database {
            Some(database) => self.visit(&database, each).await,
            None => Ok(()),
        }
    }

    /// Asks one query and keeps the answer. Only what breaks the connection is an error.
    async fn ask(&mut self, at: usize) -> Result<(), Trouble> {
        let started = Instant::now();
        let spec = &self.specs[at];
        if spec.collector == views::STATEMENTS {
            let missing = self.facts.ask.statements.is_none().then(|| {
                let preloaded = self.facts.preloaded.as_deref();
                advice::no_statements(&self.facts.database, preloaded)
            });
            let is_missing = missing.is_some();
            self.note(views::STATEMENTS, missing);
            if is_missing {
                // No failure, or every server without the extension would raise an alarm.
                self.answers.remove(&(at, String::new()));
                self.fared.remove(views::STATEMENTS);
                return Ok(());
            }
        }
        let spec = &self.specs[at];
        let answer = match (spec.query.text(&self.facts.ask), &self.session) {
            // The server has nothing of the kind.
            (None, _) | (_, None) => Ok(Table::default()),
            (Some(text), _) if matches!(spec.meaning, Meaning::Settings) => {
                self.ask_aside(&text).await
            }
            (Some(text), Some(session)) => session.ask(&text, ROWS_MAX).await,
        };
        self.keep(at, String::new(), answer, started)
    }

    /// Asks over a connection without the settings that ours has.
    async fn ask_aside(&self, text: &str) -> Result<Table, Trouble> {
        let session = self.open(&self.facts.database, Purpose::Settings).await?;
        let answer = session.ask(text, ROWS_MAX).await;
        session.close().await;
        answer
    }

    /// Chooses the databases to visit.
    async fn plan_visits(&mut self) -> Result<(), Trouble> {
        let Some(session) = &self.session else {
            return Ok(());
        };
        let all = match session.ask(facts::DATABASES, ROWS_MAX).await {
            Ok(all) => all,
            Err(trouble) if trouble.is_of_query() => {
                self.note(
                    "databases to visit",
                    Some(trouble.advised(&self.facts.user, self.facts.monitor)),
                );
                return Ok(());
            }
            Err(trouble) => return Err(trouble),
        };
        let names = all.rows().filter_map(|row| row.get(0));
        let (chosen, left_out) = choose(names, &self.facts.database, &self.config);
        let note = (left_out > 0).then(|| {
            format!(
                "tables of {left_out} databases are not read: raise databases_max, now {}",
                self.config.databases_max
            )
        });
        self.note("databases to visit", note);
        let stays = |database: &String| database.is_empty() || chosen.contains(database);
        self.answers.retain(|(_, database), _| stays(database));
        self.notes.retain(|(database, _), _| stays(database));
        self.visits = chosen.into();
        Ok(())
    }

    /// Reads the tables of one database.
    async fn visit(&mut self, database: &str, each: &[usize]) -> Result<(), Trouble> {
        let own = database == self.facts.database;
        let aside = if own {
            None
        } else {
            match self.open(database, self.reading()).await {
                Ok(session) => Some(session),
                Err(trouble) => {
                    for at in each {
                        self.answers.remove(&(*at, database.to_owned()));
                    }
                    let text = format!("database {database}: {trouble}");
                    self.note_of(database, CONNECTED, Some(text));
                    return Ok(());
                }
            }
        };
        self.note_of(database, CONNECTED, None);
        for at in each {
            let started = Instant::now();
            let room = self.room_for_tables(*at, database);
            let mut ask = self.facts.ask.clone();
            // One more shows that there are more.
            ask.tables_max = room + 1;
            let Some(text) = self.specs[*at].query.text(&ask) else {
                continue;
            };
            let session = aside.as_ref().or(self.session.as_ref());
            let Some(session) = session else { break };
            let answer = session.ask(&text, room).await;
            let broken = self.keep(*at, database.to_owned(), answer, started);
            if own {
                broken?;
            } else if broken.is_err() {
                break;
            }
        }
        if let Some(session) = aside {
            session.close().await;
        }
        Ok(())
    }

    /// Rows that the other databases leave of `tables_max`.
    fn room_for_tables(&self, at: usize, database: &str) -> usize {
        let others = self
            .answers
            .iter()
            .filter(|((of, name), _)| *of == at && name != database);
        let taken: usize = others.map(|(_, table)| table.len()).sum();
        self.config.tables_max.saturating_sub(taken)
    }

    /// Puts an answer in place of the last one, or notes why there is none.
    fn keep(
        &mut self,
        at: usize,
        database: String,
        answer: Result<Table, Trouble>,
        started: Instant,
    ) -> Result<(), Trouble> {
        let collector = self.specs[at].collector.clone();
        let before = self.specs[..at].iter().filter(|s| s.collector == collector);
        let number = before.count() + 1;
        let fared = self.fared.entry(collector.clone()).or_default();
        if number == 1 && (database.is_empty() || database == self.facts.database) {
            *fared = Fared {
                ok: true,
                took: Duration::ZERO,
            };
        }
        fared.took += started.elapsed();
        fared.ok &= answer.is_ok();
        let name = if database.is_empty() {
            collector
        } else {
            format!("{collector} of {database}")
        };
        // Each query has a note of its own, though they may say the same.
        let about = format!("{name}, query {number}");
        let of = database.clone();
        match answer {
            Ok(table) => {
                let cut = table.cut.then(|| {
                    let limit = if database.is_empty() {
                        format!("only the first {ROWS_MAX} rows are told")
                    } else {
                        let max = self.config.tables_max;
                        format!("only the largest are told: raise tables_max, now {max}")
                    };
                    format!("{name}: {limit}")
                });
                self.note_of(&of, &about, cut);
                self.answers.insert((at, database), table);
                Ok(())
            }
            Err(trouble) => {
                self.answers.remove(&(at, database));
                let text = format!(
                    "{name}: {}",
                    trouble.advised(&self.facts.user, self.facts.monitor)
                );
                self.note_of(&of, &about, Some(text));
                match trouble {
                    Trouble::Broken(_) | Trouble::Timeout => Err(trouble),
                    _ => Ok(()),
                }
            }
        }
    }

    async fn open(&self, database: &str, purpose: Purpose) -> Result<Session, Trouble> {
        // Anew each time, because files with passwords change.
        let dsn = self.config.resolve().map_err(Trouble::Config)?;
        Session::open(&dsn, database, purpose, &self.from).await
    }

    fn reading(&self) -> Purpose {
        Purpose::Read {
            statement_timeout: self.timeout / HALF,
        }
    }

    /// As [`Postgres::note_of`], about the server as a whole.
    fn note(&mut self, about: &str, text: Option<String>) {
        self.note_of("", about, text);
    }

    /// Remembers what is wrong with something, or that nothing is. Says it when it is news.
    fn note_of(&mut self, database: &str, about: &str, text: Option<String>) {
        let server = &self.facts.server;
        let key = (database.to_owned(), about.to_owned());
        match text {
            Some(text) if self.notes.get(&key) != Some(&text) => {
                tracing::warn!(server, problem = text, "postgres: something is left out");
                self.notes.insert(key, text);
            }
            None if self.notes.remove(&key).is_some() => {
                tracing::info!(server, database, about, "postgres: complete again");
            }
            _ => {}
        }
    }

    fn tell(&mut self, reached: &Reached, took: Duration, out: &mut impl Out) {
        self.scrapes += 1;
        if reached.up {
            own::put_static(&self.facts, out);
            for ((at, _), table) in &self.answers {
                self.specs[*at].emit(table, &self.facts.server, out);
            }
            own::put_collectors(
                self.fared.iter().map(|(n, f)| (n.as_str(), f.ok, f.took)),
                out,
            );
        }
        let failed = reached.done.is_err() || self.fared.values().any(|f| !f.ok);
        own::put_exporter(reached.up, failed, took, self.scrapes, out);
        own::put_process(out);
    }
}

impl Source for Postgres {
    async fn collect(&mut self, target: &mut Target, at: Timestamp) -> SampleBatch {
        let started = Instant::now();
        let (instance, _) = self.config.address();
        self.facts.server = instance;
        // A little is left for telling.
        let deadline = started + self.timeout.mul_f64(0.95);
        let reached = self.pass(started, deadline).await;
        let took = started.elapsed();
        let mut pass = target.pass(at);
        self.tell(&reached, took, &mut pass);
        let mut collected = pass.done();
        if let Err(trouble) = &reached.done {
            let problem = match trouble {
                Trouble::Timeout => format!(
                    "context deadline exceeded: no answer within {}",
                    model::number::format_duration(self.timeout)
                ),
                other => other.advised(&self.facts.user, self.facts.monitor),
            };
            collected.problem = Some(problem);
        }
        self.note(CONNECTION, collected.problem.clone());
        let notes = self.notes.iter().filter(|(key, _)| key.1 != CONNECTION);
        let notes = notes.map(|(_, text)| text.clone()).collect();
        target.set_notes(notes);
        target.finish(at, started.elapsed(), Ok(collected))
    }
}

impl Out for Pass<'_> {
    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        self.describe(&Said {
            name,
            kind,
            help,
            plain_help: false,
            unit: "",
        });
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: f64) {
        self.put_described(name, labels, value);
    }
}

/// The labels of a server's target, and its address as the API shows it. `job` is the name
/// dashboards of postgres_exporter are used with; `instance` is the server, not us.
pub(crate) fn target(config: &PostgresConfig) -> (Labels, String) {
    let (instance, url) = config.address();
    let mut labels = target_labels("postgres", &instance).to_builder();
    for (name, value) in &config.labels {
        labels.set(name.as_str(), value.as_str());
    }
    (labels.build(), url)
}

/// Whether there is a password for a server, as things are now.
pub(crate) fn has_password(config: &PostgresConfig) -> bool {
    let dsn = config.resolve();
    dsn.is_ok_and(|dsn| {
        let database = dsn.database().unwrap_or("").to_owned();
        config.surroundings().password(&dsn, &database).0.is_some()
    })
}

/// Checks all entries.
pub(crate) fn check(servers: &[PostgresConfig], interval: Duration) -> Vec<ConfigError> {
    let mut problems = Vec::new();
    let mut seen = BTreeSet::new();
    for (item, server) in servers.iter().enumerate() {
        let checked = server.check(interval).and_then(|()| {
            let labels = target(server).0;
            let text = format!("the labels {labels} are those of another entry: set labels");
            seen.insert(labels).then_some(()).ok_or(text)
        });
        if let Err(problem) = checked {
            let text = format!("collect.postgres: {problem}");
            problems.push(ConfigError::item("postgres", item, text));
        }
    }
    problems
}

/// The databases to visit, our own first, and how many are left out because there are too many.
fn choose<'a>(
    names: impl Iterator<Item = &'a str>,
    own: &str,
    config: &PostgresConfig,
) -> (Vec<String>, usize) {
    let wanted = |name: &str| {
        let is_in = |list: &[String]| list.iter().any(|l| l == name);
        (config.databases.is_empty() || is_in(&config.databases))
            && !is_in(&config.databases_exclude)
    };
    let mut chosen: Vec<String> = names.filter(|n| wanted(n)).map(str::to_owned).collect();
    chosen.sort_by_key(|name| name != own);
    let left_out = chosen.len().saturating_sub(config.databases_max);
    chosen.truncate(config.databases_max);
    (chosen, left_out)
}

#[cfg(test)]
mod tests;
