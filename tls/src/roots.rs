//! Certificates that are trusted: those of a file, or this machine's.

use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use sha2::{Digest as _, Sha256};

/// Trusted certificates. Cloning shares.
#[derive(Clone, Debug)]
pub struct Roots(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    authorities: RootCertStore,
    /// SHA-256 of each.
    prints: HashSet<[u8; 32]>,
}

impl Roots {
    /// The certificates of a PEM text; those that cannot be used are passed over, as Go does.
    ///
    /// # Errors
    /// The text is broken, or none can be used.
    pub fn from_pem(pem: &[u8]) -> Result<Roots, String> {
        let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
        let all = all.map_err(|e| e.to_string())?;
        Roots::of(all).ok_or_else(|| "no certificate that could be used is in it".to_owned())
    }

    /// `None` when none can be used.
    fn of(all: Vec<CertificateDer<'static>>) -> Option<Roots> {
        let prints = all.iter().map(|c| Sha256::digest(c).into()).collect();
        let mut authorities = RootCertStore::empty();
        let (added, _) = authorities.add_parsable_certificates(all);
        (added > 0).then(|| {
            Roots(Arc::new(Inner {
                authorities,
                prints,
            }))
        })
    }

    pub(crate) fn authorities(&self) -> &RootCertStore {
        &self.0.authorities
    }

    /// Whether this very certificate is one of them.
    pub(crate) fn contain(&self, certificate: &CertificateDer<'_>) -> bool {
        let print: [u8; 32] = Sha256::digest(certificate).into();
        self.0.prints.contains(&print)
    }
}

/// What this machine trusts, read once, when it is first needed. Cloning shares.
#[derive(Clone, Debug, Default)]
pub struct SystemRoots(Arc<OnceLock<Roots>>);

/// What an image without certificates lacks.
#[derive(Debug, thiserror::Error)]
#[error(
    "this machine has no CA certificates to check it with: install ca-certificates, mount \
     /etc/ssl/certs into the container, or name a CA file"
)]
pub(crate) struct NoSystemRoots;

impl SystemRoots {
    /// Reads the files that `SSL_CERT_FILE` and `SSL_CERT_DIR` name, else those at the usual places.
    ///
    /// # Errors
    /// There are none; the next call looks again.
    pub(crate) fn get(&self) -> Result<&Roots, NoSystemRoots> {
        if let Some(roots) = self.0.get() {
            return Ok(roots);
        }
        // What cannot be read of many files matters only when nothing is left.
        let found = rustls_native_certs::load_native_certs().certs;
        let roots = Roots::of(found).ok_or(NoSystemRoots)?;
        Ok(self.0.get_or_init(|| roots))
    }
}
