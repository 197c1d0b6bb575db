//! A proxy that the operator names: the one way out where a network has no other.

use std::{fmt, net::IpAddr};

use tharsis_core::Invalid;
use url::{Host, Url};

/// A proxy that requests go through, by `CONNECT`: it sees the name and port of a receiver and nothing of what is sent.
///
/// It looks the names up, so it is the proxy that must refuse addresses that are not public; what a URL may look like is
/// judged here all the same. Proxies that the environment names (`HTTPS_PROXY`) are ignored.
///
/// # Examples
/// ```
/// use tharsis_dispatch::Proxy;
///
/// let proxy = Proxy::parse("http://egress:hunter2@proxy.internal:3128")?;
/// assert_eq!(proxy.to_string(), "http://proxy.internal:3128");
/// assert_eq!(Proxy::parse("socks5://proxy.internal").unwrap_err().code, "bad_proxy");
/// # Ok::<(), tharsis_core::Invalid>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy(Url);

impl Proxy {
    /// Reads `http://HOST:PORT`, with `USER:PASSWORD@` before the host where the proxy asks for them.
    ///
    /// # Errors
    /// `bad_proxy`, which does not repeat the text: it may hold a password.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let bad = |message: &'static str| {
            Err(Invalid::new("bad_proxy", message)
                .hint("write http://HOST:PORT, with USER:PASSWORD@ before the host where it asks for them"))
        };
        let Ok(url) = Url::parse(text) else {
            return bad("is no URL");
        };
        if url.scheme() != "http" {
            return bad("does not begin with http://");
        }
        // The HTTP library reads it once more, by another parser, and goes around a proxy that it does not understand.
        let host = url.host_str().unwrap_or_default();
        let read_again = url.as_str().parse::<http::Uri>();
        if host.is_empty() || read_again.ok().is_none_or(|uri| uri.host() != Some(host)) {
            return bad("names no host");
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return bad("has something after the port");
        }
        Ok(Self(url))
    }

    /// As the resolver is asked for it; an address is written as such.
    pub(super) fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Its address, where it is named by that.
    pub(super) fn address(&self) -> Option<IpAddr> {
        match self.0.host()? {
            Host::Domain(_) => None,
            Host::Ipv4(address) => Some(address.into()),
            Host::Ipv6(address) => Some(address.into()),
        }
    }

    pub(super) fn for_requests(&self) -> Result<reqwest::Proxy, reqwest::Error> {
        reqwest::Proxy::https(self.0.clone())
    }
}

/// Without user and password.
impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.0.host_str().unwrap_or_default();
        write!(f, "http://{host}:{}", self.0.port().unwrap_or(80))
    }
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What another parser does not read is no proxy: requests would go around it.
    #[test]
    fn what_the_http_library_would_not_understand_is_refused() {
        for text in [
            "http://${PROXY_HOST}:3128",
            "http://{{proxy}}:3128",
            "http://pro`xy:3128",
            "http://pro\"xy:3128",
            "http://:3128",
            "https://proxy.internal:3128",
            "socks5://proxy.internal:1080",
            "proxy.internal:3128",
            "http://proxy.internal:3128/path",
            "http://proxy.internal:3128?x",
        ] {
            assert_eq!(Proxy::parse(text).unwrap_err().code, "bad_proxy", "{text}");
        }
        for (text, shown) in [
            ("http://proxy.internal", "http://proxy.internal:80"),
            ("http://proxy.internal:80", "http://proxy.internal:80"),
            ("http://10.0.0.3:3128/", "http://10.0.0.3:3128"),
            ("http://[fd00::3]:3128", "http://[fd00::3]:3128"),
            (
                "http://u:p%40ss@proxy.internal:3128",
                "http://proxy.internal:3128",
            ),
        ] {
            let proxy = Proxy::parse(text).unwrap();
            assert_eq!(proxy.to_string(), shown);
            assert!(proxy.for_requests().is_ok());
        }
    }
}
