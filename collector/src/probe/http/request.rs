//! The request as it goes out, from one redirect to the next.

use super::*;
use hyper::header::{AUTHORIZATION, COOKIE, HOST, HeaderName, HeaderValue, USER_AGENT};

/// Cookies kept on the way through redirects.
const COOKIES_MAX: usize = 50;

/// A request that may be sent on to another address.
pub(in crate::probe) struct Request {
    pub(in crate::probe) url: Url,
    pub(in crate::probe) method: Method,
    body: Bytes,
    /// Those of the configuration, with the Authorization header.
    headers: HeaderMap,
    /// Where they may go.
    home: Url,
    cookies: Vec<Cookie>,
}

struct Cookie {
    host: String,
    name: String,
    value: String,
}

impl Request {
    /// The request the configuration asks for.
    pub(in crate::probe) async fn new(probe: &Probe) -> Result<Request, Failure> {
        let config = &probe.config;
        let refused = |what: &str| Failure::Protocol(format!("{what} cannot be sent"));
        let mut headers = HeaderMap::new();
        let agent = concat!("stackwatch/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        if let Some(value) = crate::probe::authorization(config, &probe.url).await? {
            let mut value =
                HeaderValue::from_str(&value).map_err(|_| refused("the Authorization header"))?;
            value.set_sensitive(true);
            headers.insert(AUTHORIZATION, value);
        }
        for (name, value) in &config.headers {
            let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| refused(name))?;
            let value = HeaderValue::from_str(&value.0).map_err(|_| refused(name))?;
            headers.insert(header, value);
        }
        let method = config.method.as_deref().unwrap_or("GET");
        Ok(Request {
            url: probe.url.clone(),
            method: Method::from_bytes(method.as_bytes()).map_err(|_| refused("the method"))?,
            body: config
                .body
                .as_ref()
                .map_or_else(Bytes::new, |b| Bytes::from(b.0.clone())),
            headers,
            home: probe.url.clone(),
            cookies: Vec::new(),
        })
    }

    /// Goes where a redirect sends us, as Go's client does.
    pub(in crate::probe) fn follow(&mut self, next: Url, status: StatusCode) {
        let keeps_method = matches!(status.as_u16(), 307 | 308);
        if !keeps_method && self.method != Method::GET && self.method != Method::HEAD {
            self.method = Method::GET;
            self.body = Bytes::new();
        }
        self.url = next;
    }

    /// Remembers the cookies an answer sets, for its own host.
    pub(in crate::probe) fn keep_cookies(&mut self, headers: &HeaderMap) {
        let host = self.url.host_str().unwrap_or_default();
        for value in headers.get_all(SET_COOKIE) {
            let Ok(value) = value.to_str() else { continue };
            let pair = value.split(';').next().unwrap_or_default();
            let Some((name, value)) = pair.split_once('=') else {
                continue;
            };
            let (name, value) = (name.trim(), value.trim());
            self.cookies.retain(|c| c.host != host || c.name != name);
            if self.cookies.len() < COOKIES_MAX {
                self.cookies.push(Cookie {
                    host: host.to_owned(),
                    name: name.to_owned(),
                    value: value.to_owned(),
                });
            }
        }
    }

    /// The request for a connection to the URL's host.
    pub(in crate::probe) fn build(&self) -> Result<hyper::Request<Full<Bytes>>, Failure> {
        let refused = || Failure::Protocol("the request cannot be sent".to_owned());
        let mut target = self.url.path().to_owned();
        if let Some(query) = self.url.query() {
            target = format!("{target}?{query}");
        }
        let mut request = hyper::Request::builder()
            .method(self.method.clone())
            .uri(target)
            .body(Full::new(self.body.clone()))
            .map_err(|_| refused())?;
        let headers = request.headers_mut();
        headers.insert(HOST, self.host_header().ok_or_else(refused)?);
        let at_home = self.at_home();
        for (name, value) in &self.headers {
            let harmless = *name == USER_AGENT || name.as_str().starts_with("accept");
            if at_home || harmless {
                headers.insert(name, value.clone());
            }
        }
        let host = self.url.host_str().unwrap_or_default();
        let own = self.cookies.iter().filter(|c| c.host == host);
        let pairs: Vec<String> = own.map(|c| format!("{}={}", c.name, c.value)).collect();
        if !pairs.is_empty() && !headers.contains_key(COOKIE) {
            let cookie = HeaderValue::from_str(&pairs.join("; ")).map_err(|_| refused())?;
            headers.insert(COOKIE, cookie);
        }
        Ok(request)
    }

    /// Whether the URL is the host the operator named, over a channel no weaker: nobody else is
    /// told a credential.
    fn at_home(&self) -> bool {
        let strength = |url: &Url| matches!(url.scheme(), "https" | "wss");
        self.url.host_str() == self.home.host_str()
            && (strength(&self.url) || !strength(&self.home))
            && (self.url.port_or_known_default() == self.home.port_or_known_default()
                || (strength(&self.url) && !strength(&self.home)))
    }

    fn host_header(&self) -> Option<HeaderValue> {
        let host = self.url.host_str()?;
        let text = match self.url.port() {
            Some(port) => format!("{host}:{port}"),
            None => host.to_owned(),
        };
        HeaderValue::from_str(&text).ok()
    }
}
