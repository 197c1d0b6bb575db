//! A proxy that the operator names: the one way out where a network has no other.

use std::fmt;

use tharsis_core::Invalid;
use url::Url;

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
        if url.host_str().is_none_or(str::is_empty) {
            return bad("names no host");
        }
        if url.port().is_none() {
            return bad("names no port");
        }
        if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
            return bad("has something after the port");
        }
        Ok(Self(url))
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
