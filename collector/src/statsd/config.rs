//! `collect.statsd`.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::mapping::MappingFile;

/// The receiver of StatsD's lines. Off unless it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StatsdConfig {
    /// `host:port` to listen on, by UDP and TCP. Whoever reaches it can write series of any name.
    pub listen: String,
    /// Whether TCP is listened on too.
    pub tcp: bool,
    /// A mapping file in statsd_exporter's format; relative to the configuration's folder.
    pub mapping_config: Option<PathBuf>,
    /// `name:1|c|#tag:value`.
    pub parse_dogstatsd_tags: bool,
    /// `name,tag=value:1|c`.
    pub parse_influxdb_tags: bool,
    /// `name#tag=value:1|c`.
    pub parse_librato_tags: bool,
    /// `name[tag=value]:1|c`.
    pub parse_signalfx_tags: bool,
}

impl Default for StatsdConfig {
    fn default() -> Self {
        StatsdConfig {
            listen: "127.0.0.1:9125".to_owned(),
            tcp: true,
            mapping_config: None,
            parse_dogstatsd_tags: true,
            parse_influxdb_tags: true,
            parse_librato_tags: true,
            parse_signalfx_tags: true,
        }
    }
}

/// Which tags are looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TagStyles {
    pub(super) dogstatsd: bool,
    pub(super) influxdb: bool,
    pub(super) librato: bool,
    pub(super) signalfx: bool,
}

impl TagStyles {
    #[cfg(test)]
    pub(super) const ALL: TagStyles = TagStyles {
        dogstatsd: true,
        influxdb: true,
        librato: true,
        signalfx: true,
    };
}

impl StatsdConfig {
    /// # Errors
    /// What is wrong, with the key.
    pub(crate) fn check(&self) -> Result<(), String> {
        let has_port = |(host, port): (&str, &str)| !host.is_empty() && port.parse::<u16>().is_ok();
        if !self.listen.rsplit_once(':').is_some_and(has_port) {
            let listen = &self.listen;
            return Err(format!(
                "listen: {listen:?} is not host:port, e.g. 127.0.0.1:9125"
            ));
        }
        self.mapping_file().map(drop)
    }

    /// What the mapping file says; nothing when there is none.
    ///
    /// # Errors
    /// When it cannot be read or used.
    pub(crate) fn mapping_file(&self) -> Result<MappingFile, String> {
        let Some(path) = &self.mapping_config else {
            return Ok(MappingFile::default());
        };
        let file = MappingFile::read(path).map_err(|e| self.about_mappings(&e))?;
        match super::mapping::Mapper::new(&file) {
            Ok(_) => Ok(file),
            Err(e) => Err(self.about_mappings(&e)),
        }
    }

    fn about_mappings(&self, problem: &str) -> String {
        let path = self.mapping_config.as_deref().unwrap_or(Path::new(""));
        format!("mapping_config {}: {problem}", path.display())
    }

    pub(crate) fn begin_files_at(&mut self, base: &Path) {
        if let Some(path) = &mut self.mapping_config {
            *path = base.join(&*path);
        }
    }

    pub(super) fn styles(&self) -> TagStyles {
        TagStyles {
            dogstatsd: self.parse_dogstatsd_tags,
            influxdb: self.parse_influxdb_tags,
            librato: self.parse_librato_tags,
            signalfx: self.parse_signalfx_tags,
        }
    }
}
