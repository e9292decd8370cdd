//! One entry of `collect.kong` or `collect.nginx`.

use std::collections::BTreeMap;

use reqwest::Url;
use serde::{Deserialize, Deserializer, de};

use crate::scrape::{Authorization, BasicAuth, HttpHeader, ScrapeConfig, ScrapeProtocol};
use crate::tls::TlsConfig;

/// A source that is asked over HTTP.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSourceConfig {
    /// Where it is: `http://kong:8001`, `http://nginx/stub_status`.
    pub url: HttpUrl,
    /// The `instance` label; host and port of the URL when absent.
    #[serde(default)]
    pub instance: Option<String>,
    /// HTTP basic authentication.
    #[serde(default)]
    pub basic_auth: Option<BasicAuth>,
    /// The Authorization header.
    #[serde(default)]
    pub authorization: Option<Authorization>,
    /// Further headers of each request, by name: `Kong-Admin-Token` with RBAC.
    #[serde(default)]
    pub http_headers: BTreeMap<String, HttpHeader>,
    /// TLS settings.
    #[serde(default)]
    pub tls_config: TlsConfig,
    /// It was found and not written down, so redirects, which may lead anywhere, are not followed.
    #[serde(skip)]
    pub(crate) found: bool,
}

impl HttpSourceConfig {
    /// One that was found; `None` when the URL is none.
    pub(crate) fn found_at(url: &str) -> Option<HttpSourceConfig> {
        Some(HttpSourceConfig {
            url: HttpUrl(Url::parse(url).ok()?),
            instance: None,
            basic_auth: None,
            authorization: None,
            http_headers: BTreeMap::new(),
            tls_config: TlsConfig::default(),
            found: true,
        })
    }

    /// The `instance` label.
    #[must_use]
    pub fn instance(&self) -> String {
        let url = &self.url.0;
        let of_url = || {
            let port = url.port_or_known_default().unwrap_or_default();
            format!("{}:{port}", url.host_str().unwrap_or_default())
        };
        self.instance.clone().unwrap_or_else(of_url)
    }

    /// As a job of one target.
    pub(crate) fn scrape_config(&self, job: &str) -> ScrapeConfig {
        let mut scrape = ScrapeConfig::new(job);
        scrape.basic_auth.clone_from(&self.basic_auth);
        scrape.authorization.clone_from(&self.authorization);
        scrape.http_headers.clone_from(&self.http_headers);
        scrape.tls_config.clone_from(&self.tls_config);
        scrape.follow_redirects = !self.found;
        // What is no exposition is asked for too.
        scrape.fallback_scrape_protocol = Some(ScrapeProtocol::PrometheusText0_0_4);
        scrape
    }

    /// Checks what the types cannot.
    pub(crate) fn check(&self, job: &str) -> Result<(), String> {
        let second = std::time::Duration::from_secs(1);
        self.scrape_config(job).check(second, second)
    }
}

/// An `http` or `https` URL without user and password.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl(Url);

impl HttpUrl {
    /// As text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }

    /// Whether it names nothing but a host.
    pub(crate) fn has_no_path(&self) -> bool {
        self.0.path() == "/"
    }

    /// The same host, another path.
    pub(crate) fn with_path(&self, path: &str) -> String {
        let mut url = self.0.clone();
        url.set_path(path);
        url.into()
    }
}

impl<'de> Deserialize<'de> for HttpUrl {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<HttpUrl, D::Error> {
        let text = String::deserialize(from)?;
        // The text is not shown: a password may be in it.
        let wrong = || de::Error::custom("expected http://host:port or https://host:port");
        let url = Url::parse(&text).map_err(|_| wrong())?;
        if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
            return Err(wrong());
        }
        if !url.username().is_empty() || url.password().is_some() {
            let message = "user and password belong under basic_auth, not into the URL";
            return Err(de::Error::custom(message));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(de::Error::custom("the URL may end with a path only"));
        }
        Ok(HttpUrl(url))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Result<HttpSourceConfig, String> {
        let found = serde_saphyr::from_str(&format!("url: '{url}'"));
        // The lines that follow show the place in the file, which the server leaves out.
        found.map_err(|e| e.to_string().lines().next().unwrap_or_default().to_owned())
    }

    #[test]
    fn the_instance_is_host_and_port() {
        let check = |url: &str, expect: &str| assert_eq!(config(url).unwrap().instance(), expect);
        check("http://kong:8001/metrics", "kong:8001");
        check("https://kong", "kong:443");
        check("http://[::1]:8001", "[::1]:8001");
    }

    #[test]
    fn a_url_with_a_password_is_refused_and_not_quoted() {
        let error = config("http://me:hunter2@kong:8001").unwrap_err();
        assert!(
            error.contains("basic_auth") && !error.contains("hunter2"),
            "{error}"
        );
        let error = config("http:/\\/me:hunter2@:x").unwrap_err();
        assert!(
            error.contains("expected") && !error.contains("hunter2"),
            "{error}"
        );
        assert!(config("ftp://kong").is_err());
        assert!(config("http://kong/status?unit=b").is_err());
    }
}
