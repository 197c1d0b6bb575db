//! A way out of this machine: an address to send from, and the HTTP library's client with its connections.

use std::{
    net::{IpAddr, UdpSocket},
    sync::{PoisonError, RwLock},
    time::{Duration, Instant},
};

use http::{HeaderMap, HeaderValue, header};
use rustls::ClientConfig;

use super::{ClientError, phase, proxy::Proxy, resolver::VettedResolver};

/// For DNS, TCP and TLS together, below the 3 s that a request has as a whole. Where a name has several addresses they
/// share it, so that one that swallows packets leaves time for the next.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(2500);

/// Node closes an idle connection after 5 s, the shortest of the common servers; one that is taken out of the pool at
/// the moment when its server closes it costs an attempt.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Idle connections to one host. Only requests in flight open any, at most as many as there are, and each closes after
/// [`IDLE_TIMEOUT`]; a smaller number would close connections that the next requests need.
const MAX_IDLE_PER_HOST: usize = 256;

/// A connection that is in use all the time never asks again where its name leads. With the client that made it, it goes
/// after so long.
pub(super) const MAX_AGE: Duration = Duration::from_secs(300);

/// What all connections of an exit are made with.
#[derive(Debug)]
pub(super) struct Making {
    pub(super) resolver: VettedResolver,
    pub(super) tls: ClientConfig,
    pub(super) proxy: Option<Proxy>,
    pub(super) source: Option<IpAddr>,
}

/// One address to send from, or whichever the system takes.
#[derive(Debug)]
pub(super) struct Exit {
    making: Making,
    max_age: Duration,
    current: RwLock<Current>,
}

#[derive(Debug)]
struct Current {
    http: reqwest::Client,
    since: Instant,
}

impl Exit {
    pub(super) fn new(making: Making, max_age: Duration) -> Result<Self, ClientError> {
        if let Some(source) = making.source {
            UdpSocket::bind((source, 0)).map_err(|error| ClientError {
                code: "source_address_unusable",
                message: format!("the source address {source} cannot be sent from: {error}"),
                hint: "name addresses that this machine has: [egress] source_addresses".to_owned(),
            })?;
        }
        let http = making.client().map_err(|error| ClientError {
            code: "client_unusable",
            message: format!("the HTTP client cannot be made: {error}"),
            hint: "report it, with this message".to_owned(),
        })?;
        Ok(Self {
            making,
            max_age,
            current: RwLock::new(Current {
                http,
                since: Instant::now(),
            }),
        })
    }

    pub(super) fn resolver(&self) -> &VettedResolver {
        &self.making.resolver
    }

    /// The client to send with now. One that is too old is replaced; its idle connections close with it, and those in use
    /// when their requests end.
    pub(super) fn http(&self, now: Instant) -> reqwest::Client {
        let is_old = |current: &Current| now.duration_since(current.since) >= self.max_age;
        {
            let current = self.current.read().unwrap_or_else(PoisonError::into_inner);
            if !is_old(&current) {
                return current.http.clone();
            }
        }
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        // Whoever waited for the lock finds what the first has made.
        if is_old(&current) {
            self.replace(&mut current, now);
        }
        current.http.clone()
    }

    /// No connection that was made before is used again.
    pub(super) fn renew(&self, now: Instant) {
        let mut current = self.current.write().unwrap_or_else(PoisonError::into_inner);
        self.replace(&mut current, now);
    }

    fn replace(&self, current: &mut Current, now: Instant) {
        match self.making.client() {
            Ok(http) => *current = Current { http, since: now },
            // It was made of the same before.
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "The HTTP client was not replaced");
                current.since = now;
            }
        }
    }
}

impl Making {
    /// HTTP/1.1 only: a connection carries one request at a time, so what a receiver does to it (a stall, a reset, a flood
    /// of frames) concerns one delivery, and the attacks on HTTP/2's frames have nothing to aim at. With few requests in
    /// flight per subscription, multiplexing would save little.
    ///
    /// The head of an answer is bounded by hyper's own limits: 100 fields and about 400 KiB; so are the extensions of
    /// chunks and the trailers, 16 KiB each.
    ///
    /// There is no switch here for certificates, redirects or proxies of the environment, and there must never be one.
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the one place that makes a client"
    )]
    fn client(&self) -> Result<reqwest::Client, reqwest::Error> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
        // Nothing here decompresses, and an excerpt is there to be read.
        headers.insert(
            header::ACCEPT_ENCODING,
            HeaderValue::from_static("identity"),
        );
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(self.tls.clone())
            .https_only(true)
            .http1_only()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .referer(false)
            .retry(reqwest::retry::never())
            .dns_resolver(self.resolver.clone())
            .local_address(self.source)
            .connector_layer(phase::Connected)
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
            .default_headers(headers);
        if let Some(proxy) = &self.proxy {
            builder = builder.proxy(proxy.for_requests()?);
        }
        builder.build()
    }
}
