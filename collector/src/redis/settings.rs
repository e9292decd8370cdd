//! The settings of the server that dashboards want, by CONFIG GET.
//!
//! They are asked for one by one, and not with `*`, which would hand us every password in there.

use crate::target::Sink;

use super::info::Info;
use super::resp::{Batch, Value};

/// The settings asked for.
const KEYS: [&str; 6] = [
    "client-output-buffer-limit",
    "databases",
    "io-threads",
    "maxclients",
    "maxmemory",
    "repl-backlog-size",
];

/// Adds the commands that ask for them.
pub(super) fn ask(batch: &mut Batch) {
    for key in KEYS {
        batch.add(&["CONFIG", "GET", key]);
    }
}

/// The settings, as far as they are known.
#[derive(Default)]
pub(super) struct Settings(Vec<(&'static str, String)>);

impl Settings {
    /// From the answers, which are in the order of the commands.
    pub(super) fn from_answers(answers: &[Value]) -> Settings {
        let known = KEYS.into_iter().zip(answers).filter_map(|(key, answer)| {
            let text = answer.field(key)?.text()?;
            Some((key, text.into_owned()))
        });
        Settings(known.collect())
    }

    fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(known, _)| *known == key);
        found.map(|(_, value)| value.as_str())
    }

    /// How many databases there are.
    pub(super) fn databases(&self) -> Option<u32> {
        self.get("databases")?.parse().ok()
    }

    /// Adds them. INFO has two of them too, for whoever may not read the others.
    pub(super) fn put(&self, info: &Info<'_>, sink: &mut impl Sink) {
        for (key, name, also) in [
            ("io-threads", "redis_config_io_threads", ""),
            ("maxclients", "redis_config_maxclients", "maxclients"),
            ("maxmemory", "redis_config_maxmemory", "maxmemory"),
            ("repl-backlog-size", "redis_config_repl_backlog_size", ""),
        ] {
            let value = self.get(key).or_else(|| info.get(also));
            if let Some(value) = value.and_then(|v| v.parse().ok()) {
                sink.put(name, &[], value);
            }
        }
        // normal 0 0 0 slave 268435456 67108864 60
        let limits = self.get("client-output-buffer-limit").unwrap_or("");
        let words: Vec<&str> = limits.split(' ').collect();
        for words in words.chunks_exact(4) {
            let class = words[0];
            for (word, name, limit) in [
                (1, "redis_config_client_output_buffer_limit_bytes", "hard"),
                (2, "redis_config_client_output_buffer_limit_bytes", "soft"),
                (
                    3,
                    "redis_config_client_output_buffer_limit_overcome_seconds",
                    "soft",
                ),
            ] {
                if let Ok(value) = words[word].parse() {
                    sink.put(name, &[("class", class), ("limit", limit)], value);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redis::tests::{array, text};
    use crate::target::Lines;

    fn lines(settings: &Settings, info: &str) -> Vec<String> {
        let mut lines = Lines::default();
        settings.put(&Info::parse(info), &mut lines);
        lines.0
    }

    #[test]
    fn settings_are_told_as_far_as_they_may_be_read() {
        let limits = "normal 0 0 0 pubsub 33554432 8388608 60";
        let answers = [
            array([text("client-output-buffer-limit"), text(limits)]),
            array([text("databases"), text("4")]),
            array([]),
            Value::Error("NOPERM".to_owned()),
            array([text("maxmemory"), text("100")]),
        ];
        let settings = Settings::from_answers(&answers);
        assert_eq!(settings.databases(), Some(4));
        let got = lines(&settings, "maxclients:10000\nmaxmemory:7\n");
        assert_eq!(
            got[..2],
            [
                "redis_config_maxclients 10000",
                "redis_config_maxmemory 100"
            ]
        );
        assert_eq!(got.len(), 2 + 6);
        let soft = "redis_config_client_output_buffer_limit_bytes{class=pubsub,limit=soft} 8388608";
        assert!(got.contains(&soft.to_owned()), "{got:?}");
    }

    #[test]
    fn info_stands_in_for_what_may_not_be_read() {
        let got = lines(&Settings::default(), "maxclients:10000\nmaxmemory:7\n");
        assert_eq!(
            got,
            ["redis_config_maxclients 10000", "redis_config_maxmemory 7"]
        );
    }
}
