//! Decides about the certificate that a server presents.

use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, DigitallySignedStruct, Error, OtherError, SignatureScheme};

use crate::certificate::Certificate;
use crate::roots::{Roots, SystemRoots};

/// Nobody we trust has signed it.
const UNKNOWN: Error = Error::InvalidCertificate(CertificateError::UnknownIssuer);

/// Who may vouch for a server.
#[derive(Clone, Debug)]
pub enum Trust {
    /// This machine's authorities.
    System(SystemRoots),
    /// These certificates and no other.
    Only(Roots),
    /// These and this machine's, which are not needed where these suffice.
    Also(Roots, SystemRoots),
    /// Nobody needs to: any certificate is taken.
    Anyone,
}

/// Which name a certificate must have.
#[derive(Clone, Debug)]
pub(crate) enum Name {
    /// That of the server we mean to talk to.
    Asked,
    /// This one.
    Instead(ServerName<'static>),
    /// Any.
    Any,
}

/// Takes a certificate that a trusted one has signed, and, as Go and OpenSSL do, one that is itself
/// among the trusted ones: what `openssl req -x509` makes. Name and dates are checked either way.
/// That the server has the key is checked whatever is trusted.
#[derive(Debug)]
pub struct Verifier {
    pub(crate) trust: Trust,
    pub(crate) name: Name,
    pub(crate) provider: Arc<CryptoProvider>,
}

impl Verifier {
    /// Whether certificates are looked at.
    #[must_use]
    pub fn verifies(&self) -> bool {
        !matches!(self.trust, Trust::Anyone)
    }

    fn is_vouched_for(&self, presented: &Presented<'_>) -> Result<(), Error> {
        let by = |roots: &Roots| presented.is_vouched_for_by(roots, &self.provider);
        let by_system = |system: &SystemRoots| match system.get() {
            Ok(roots) => by(roots),
            Err(none) => Err(Error::Other(OtherError(Arc::new(none)))),
        };
        match &self.trust {
            Trust::Anyone => Ok(()),
            Trust::Only(roots) => by(roots),
            Trust::System(system) => by_system(system),
            Trust::Also(roots, system) => by(roots).or_else(|e| match system.get().map(by) {
                Ok(Ok(())) => Ok(()),
                // Whoever knows the issuer knows better what is wrong.
                Ok(Err(other)) if other != UNKNOWN => Err(other),
                _ => Err(e),
            }),
        }
    }
}

struct Presented<'a> {
    certificate: &'a CertificateDer<'a>,
    parsed: ParsedCertificate<'a>,
    intermediates: &'a [CertificateDer<'a>],
    now: UnixTime,
}

impl Presented<'_> {
    fn is_vouched_for_by(&self, roots: &Roots, provider: &CryptoProvider) -> Result<(), Error> {
        if roots.contain(self.certificate) {
            return self.is_in_time();
        }
        let signed = verify_server_cert_signed_by_trust_anchor(
            &self.parsed,
            roots.authorities(),
            self.intermediates,
            self.now,
            provider.signature_verification_algorithms.all,
        );
        signed.map_err(|e| {
            let itself =
                Certificate::parse(self.certificate).is_some_and(|c| c.issuer == c.subject);
            // Of one that signed itself the library says only that it is an authority's.
            match e {
                Error::InvalidCertificate(CertificateError::Other(_)) if itself => UNKNOWN,
                other => other,
            }
        })
    }

    fn is_in_time(&self) -> Result<(), Error> {
        let wrong = |problem| Err(Error::InvalidCertificate(problem));
        let Some(read) = Certificate::parse(self.certificate) else {
            return wrong(CertificateError::BadEncoding);
        };
        let now = i64::try_from(self.now.as_secs()).unwrap_or(i64::MAX);
        if now < read.not_before {
            return wrong(CertificateError::NotValidYet);
        }
        if now > read.not_after {
            return wrong(CertificateError::Expired);
        }
        Ok(())
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.verifies() {
            return Ok(ServerCertVerified::assertion());
        }
        let presented = Presented {
            certificate: end_entity,
            parsed: ParsedCertificate::try_from(end_entity)?,
            intermediates,
            now,
        };
        self.is_vouched_for(&presented)?;
        match &self.name {
            Name::Asked => verify_server_name(&presented.parsed, server_name)?,
            Name::Instead(name) => verify_server_name(&presented.parsed, name)?,
            Name::Any => {}
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustls::crypto::ring;
    use rustls::pki_types::pem::PemObject;

    use super::*;

    /// `openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 36500
    /// -subj /CN=self -addext subjectAltName=DNS:self.example,IP:127.0.0.1`: an authority's.
    const SELF_SIGNED: &str = "-----BEGIN CERTIFICATE-----
MIIBlDCCATqgAwIBAgIUTWGWzG/GsUXRCXOUfLO0P9X3xNQwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEc2VsZjAgFw0yNjExMjIwNTQ4MDJaGA8yMTI2MTAyOTA1NDgw
MlowDzENMAsGA1UEAwwEc2VsZjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABCJJ
XgvS0T6ej8WCLYMADgPb9v2zK5c7Q/veYtw6xWXNvNEsfUVmMaheAw7OkN72q2xH
s78oCf1BqJqjnLq3vPijcjBwMB0GA1UdDgQWBBSeHpJR/En9S5N4tbFAmzpmqE0m
oDAfBgNVHSMEGDAWgBSeHpJR/En9S5N4tbFAmzpmqE0moDAPBgNVHRMBAf8EBTAD
AQH/MB0GA1UdEQQWMBSCDHNlbGYuZXhhbXBsZYcEfwAAATAKBggqhkjOPQQDAgNI
ADBFAiEA8wMvB+0fJbXwWGSrH9k2F55d+ElUmee94AnP0IixR8ECIE17GiST1srL
YBsUHtpDfQCa48nVNpDWma5RGv9vyk2S
-----END CERTIFICATE-----";
    /// Another of the same names.
    const ANOTHER: &str = "-----BEGIN CERTIFICATE-----
MIIBjzCCATSgAwIBAgIUUGa++G1yEarPwUNqrCrrn76OlcwwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEc2VsZjAgFw0yNjExMjIwNTQ4MDJaGA8yMTI2MTAyOTA1NDgw
MlowDzENMAsGA1UEAwwEc2VsZjBZMBMGByqGSM49AgEGCCqGSM49AwEHA0IABNP/
e4YAr53pHSHYQJdJdi2IexuKgwns/M4LTu9orWkrb6J99pHcDXJIVIGiv6SQjCS9
fnBWmbbJ929K2aPm6cSjbDBqMB0GA1UdDgQWBBQlrZqaoM9b69aHX9HhiqUCTQ0g
KTAfBgNVHSMEGDAWgBQlrZqaoM9b69aHX9HhiqUCTQ0gKTAPBgNVHRMBAf8EBTAD
AQH/MBcGA1UdEQQQMA6CDHNlbGYuZXhhbXBsZTAKBggqhkjOPQQDAgNJADBGAiEA
8wwso6oimMXmENu9eJkg6Tirzmn/c2r+0Zd94fIUoKoCIQDpa6yd9303on0kjYLq
SEIomtwi3ydJd02cnWDqStE3jA==
-----END CERTIFICATE-----";
    /// Begin and end of the first.
    const VALIDITY: (u64, u64) = (1_795_326_482, 4_948_926_482);

    fn roots(pem: &str) -> Roots {
        Roots::from_pem(pem.as_bytes()).unwrap()
    }

    #[track_caller]
    fn check(trust: Trust, name: Name, asked: &str, at: u64, expect: Result<(), CertificateError>) {
        let verifier = Verifier {
            trust,
            name,
            provider: Arc::new(ring::default_provider()),
        };
        let presented = CertificateDer::from_pem_slice(SELF_SIGNED.as_bytes()).unwrap();
        let asked = ServerName::try_from(asked.to_owned()).unwrap();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(at));
        let verdict = verifier.verify_server_cert(&presented, &[], &asked, &[], now);
        match (verdict, expect) {
            (Ok(_), Ok(())) => {}
            (Err(Error::InvalidCertificate(e)), Err(expect)) => {
                // What was expected instead is told beside it.
                let found = format!("{e:?}").replace("Context", "");
                assert!(found.starts_with(&format!("{expect:?}")), "{found}");
            }
            (verdict, expect) => panic!("{verdict:?}, not {expect:?}"),
        }
    }

    #[test]
    fn a_certificate_that_is_itself_trusted_is_taken_by_name_and_date() {
        let trust = || Trust::Only(roots(SELF_SIGNED));
        let (begin, end) = VALIDITY;
        let (host, now) = ("self.example", begin + 1);
        check(trust(), Name::Asked, host, now, Ok(()));
        check(trust(), Name::Asked, "127.0.0.1", end, Ok(()));
        let wrong = CertificateError::NotValidForName;
        check(
            trust(),
            Name::Asked,
            "other.example",
            now,
            Err(wrong.clone()),
        );
        check(trust(), Name::Any, "other.example", now, Ok(()));
        let instead = |name| Name::Instead(ServerName::try_from(name).unwrap());
        check(trust(), instead("self.example"), "10.0.0.1", now, Ok(()));
        check(trust(), instead("other.example"), host, now, Err(wrong));
        check(
            trust(),
            Name::Asked,
            host,
            begin - 1,
            Err(CertificateError::NotValidYet),
        );
        check(
            trust(),
            Name::Any,
            host,
            end + 1,
            Err(CertificateError::Expired),
        );
    }

    #[test]
    fn a_certificate_that_only_looks_like_a_trusted_one_is_refused() {
        let unknown = Err(CertificateError::UnknownIssuer);
        let now = VALIDITY.0 + 1;
        check(Trust::Only(roots(ANOTHER)), Name::Any, "x", now, unknown);
        check(Trust::Anyone, Name::Asked, "x", 0, Ok(()));
        let both = roots(&format!("{ANOTHER}\n{SELF_SIGNED}"));
        check(Trust::Only(both), Name::Asked, "self.example", now, Ok(()));
    }

    #[test]
    fn certificates_of_ones_own_do_without_the_systems() {
        let trust = Trust::Also(roots(SELF_SIGNED), SystemRoots::default());
        check(trust, Name::Asked, "self.example", VALIDITY.0 + 1, Ok(()));
    }

    #[test]
    fn a_file_without_certificates_is_refused() {
        let empty = "no certificate that could be used is in it";
        assert_eq!(Roots::from_pem(b"").unwrap_err(), empty);
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        assert_eq!(Roots::from_pem(broken.as_bytes()).unwrap_err(), empty);
    }
}
