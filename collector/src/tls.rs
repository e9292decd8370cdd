//! `tls_config` of everything that is asked over TLS.

use std::path::PathBuf;

use serde::Deserialize;
use tls::{Client, Roots, SystemRoots, TlsError, Trust};

/// TLS settings.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// Accept any certificate.
    pub insecure_skip_verify: bool,
    /// Certificates trusted instead of the system's, PEM. One that the server presents itself is
    /// trusted too.
    pub ca_file: Option<PathBuf>,
    /// Our own certificate, PEM.
    pub cert_file: Option<PathBuf>,
    /// Its key, PEM.
    pub key_file: Option<PathBuf>,
    /// The name the certificate must have; the host that is asked when absent.
    pub server_name: Option<String>,
}

impl TlsConfig {
    /// Checks what the types cannot. Files are not read.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.cert_file.is_some() != self.key_file.is_some() {
            return Err("tls_config: cert_file and key_file belong together".to_owned());
        }
        let nobody = Client::trusting(Trust::Anyone);
        match &self.server_name {
            Some(name) => named(nobody, name).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Reads the files; `system` is trusted when no `ca_file` is.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub(crate) fn client(&self, system: &SystemRoots) -> Result<Client, String> {
        let trust = match &self.ca_file {
            _ if self.insecure_skip_verify => Trust::Anyone,
            Some(file) => Trust::Only(Roots::read(file).map_err(|e| told("ca_file", &e))?),
            None => Trust::System(system.clone()),
        };
        let mut client = Client::trusting(trust);
        if let Some(name) = &self.server_name {
            client = named(client, name)?;
        }
        match (&self.cert_file, &self.key_file) {
            (Some(certificate), Some(key)) => client
                .identity(certificate, key)
                .map_err(|e| told("cert_file, key_file", &e)),
            _ => Ok(client),
        }
    }
}

fn named(client: Client, name: &str) -> Result<Client, String> {
    client
        .server_name(name)
        .map_err(|e| told("server_name", &e))
}

fn told(key: &str, problem: &TlsError) -> String {
    format!("tls_config.{key}: {problem}")
}
