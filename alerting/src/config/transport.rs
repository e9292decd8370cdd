//! How receivers are reached: secrets, HTTP and TLS settings as written, checked.

use serde_saphyr::{Location, Spanned};

use super::diagnostic::Findings;
use super::file::{HttpFile, TlsFile, Unsupported};
use super::{HttpConfig, Secret, SecretSource, TlsConfig};

pub(super) fn http(file: Option<&HttpFile>, findings: &mut Findings<'_>) -> HttpConfig {
    let mut config = HttpConfig::default();
    let Some(file) = file else {
        return config;
    };
    for (key, found) in [
        ("oauth2", &file.oauth2),
        ("no_proxy", &file.no_proxy),
        ("proxy_from_environment", &file.proxy_from_environment),
        ("proxy_connect_header", &file.proxy_connect_header),
        ("http_headers", &file.http_headers),
    ] {
        refuse(key, found, findings);
    }
    if let Some(auth) = &file.basic_auth {
        refuse("username_file", &auth.value.username_file, findings);
        let password = SecretSource::one_of(
            auth.value.password.clone(),
            auth.value.password_file.clone(),
        );
        if password.is_err() {
            findings.add(
                auth.referenced,
                "at most one of password and password_file may be set",
            );
        }
        let username = auth.value.username.clone().unwrap_or_default();
        config.basic_auth = Some((username, password.unwrap_or_default()));
    }
    if let Some(auth) = &file.authorization {
        let credentials = SecretSource::one_of(
            auth.value.credentials.clone(),
            auth.value.credentials_file.clone(),
        );
        let scheme = auth
            .value
            .scheme
            .clone()
            .unwrap_or_else(|| "Bearer".to_owned());
        match credentials {
            Ok(Some(credentials)) => config.authorization = Some((scheme, credentials)),
            Ok(None) => findings.add(
                auth.referenced,
                "authorization needs credentials or credentials_file",
            ),
            Err(_) => findings.add(
                auth.referenced,
                "at most one of credentials and credentials_file may be set",
            ),
        }
    }
    let bearer = secret(&file.bearer_token, &file.bearer_token_file);
    if let Some(token) = noted(bearer, &file.bearer_token, "bearer_token", findings) {
        config.authorization = Some(("Bearer".to_owned(), token));
    }
    if let (Some(auth), Some(_)) = (&file.basic_auth, &config.authorization) {
        findings.add(
            auth.referenced,
            "at most one of basic_auth and authorization may be set",
        );
    }
    let _ = file.enable_http2;
    config.follow_redirects = file.follow_redirects.unwrap_or(true);
    if let Some(proxy) = &file.proxy_url {
        if !is_http_url(&proxy.value) {
            findings.add(proxy.referenced, "proxy_url is not an http or https URL");
        }
        config.proxy_url = Some(SecretSource::Inline(Secret::new(proxy.value.clone())));
    }
    config.tls = tls(file.tls_config.as_ref(), findings);
    config
}

pub(super) fn tls(file: Option<&TlsFile>, findings: &mut Findings<'_>) -> TlsConfig {
    let Some(file) = file else {
        return TlsConfig::default();
    };
    for (key, found) in [
        ("cert", &file.cert),
        ("cert_file", &file.cert_file),
        ("key", &file.key),
        ("key_file", &file.key_file),
        ("server_name", &file.server_name),
        ("min_version", &file.min_version),
        ("max_version", &file.max_version),
    ] {
        refuse(key, found, findings);
    }
    let authority = SecretSource::one_of(file.ca.clone().map(Secret::new), file.ca_file.clone());
    if authority.is_err() {
        findings.add(
            Location::UNKNOWN,
            "at most one of ca and ca_file may be set",
        );
    }
    TlsConfig {
        authority: authority.unwrap_or_default(),
        insecure_skip_verify: file.insecure_skip_verify,
    }
}

pub(super) fn is_http_url(text: &str) -> bool {
    let rest = text
        .strip_prefix("http://")
        .or_else(|| text.strip_prefix("https://"));
    rest.is_some_and(|r| !r.is_empty() && !r.starts_with('/') && !r.contains(char::is_whitespace))
}

pub(super) fn refuse(key: &str, found: &Unsupported, findings: &mut Findings<'_>) {
    if let Some(found) = found {
        findings.add_with_hint(
            found.referenced,
            format!("{key} is not supported yet"),
            key.ends_with("_configs")
                .then(|| "email_configs, slack_configs and webhook_configs are".to_owned()),
        );
    }
}

/// The value or its `_file` twin; `Err` when both are there.
pub(super) fn secret(
    inline: &Option<Spanned<Secret>>,
    file: &Option<String>,
) -> Result<Option<SecretSource>, ()> {
    SecretSource::one_of(inline.as_ref().map(|s| s.value.clone()), file.clone()).map_err(|_| ())
}

/// Turns "both are there" into a finding.
pub(super) fn noted(
    read: Result<Option<SecretSource>, ()>,
    inline: &Option<Spanned<Secret>>,
    key: &str,
    findings: &mut Findings<'_>,
) -> Option<SecretSource> {
    read.unwrap_or_else(|()| {
        let at = inline.as_ref().map_or(Location::UNKNOWN, |s| s.referenced);
        findings.add(
            at,
            format!("at most one of {key} and {key}_file may be set"),
        );
        None
    })
}
