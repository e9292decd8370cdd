//! `logs.files`.

use std::collections::BTreeMap;

use serde::{Deserialize, Deserializer, de};

use crate::logs::labels::{check_labels, stream_labels};

/// Text files whose lines are read as they are written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogFilesConfig {
    /// An absolute path in which `*`, `?` and `[a-z]` stand within one name.
    pub path: String,
    /// Such paths that are left out.
    pub exclude: Vec<String>,
    /// The `job` label, and `service_name` unless `labels` has one.
    pub job: String,
    /// Further labels of all these lines.
    pub labels: BTreeMap<String, String>,
    /// Whether a file that is seen for the first time is read from its end on only.
    pub tail_from_end: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    path: String,
    #[serde(default)]
    exclude: Vec<String>,
    job: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    tail_from_end: bool,
}

/// A path alone will do.
impl<'de> Deserialize<'de> for LogFilesConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl<'de> de::Visitor<'de> for Visitor {
            type Value = Written;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a path or settings")
            }

            fn visit_str<E: de::Error>(self, path: &str) -> Result<Written, E> {
                Ok(Written {
                    path: path.to_owned(),
                    exclude: Vec::new(),
                    job: None,
                    labels: BTreeMap::new(),
                    tail_from_end: false,
                })
            }

            fn visit_map<A: de::MapAccess<'de>>(self, map: A) -> Result<Written, A::Error> {
                Written::deserialize(de::value::MapAccessDeserializer::new(map))
            }
        }
        let written = deserializer.deserialize_any(Visitor)?;
        Ok(LogFilesConfig {
            path: written.path,
            exclude: written.exclude,
            job: written.job.unwrap_or_else(|| "files".to_owned()),
            labels: written.labels,
            tail_from_end: written.tail_from_end,
        })
    }
}

impl LogFilesConfig {
    /// Checks paths and the names of labels.
    ///
    /// # Errors
    /// The first problem.
    pub(crate) fn check(&self) -> Result<(), String> {
        for path in self.exclude.iter().chain([&self.path]) {
            if !path.starts_with('/') {
                return Err(format!("{path:?} is not an absolute path"));
            }
        }
        check_labels(&self.labels)
    }

    /// Labels of the lines of a file of that name.
    pub(super) fn stream(&self, host: &str, filename: &str) -> model::Labels {
        let mut labels = stream_labels(&self.job, "", host, &self.labels);
        labels.set("filename", filename);
        labels.build()
    }
}
