//! The one HTTP client: guarded on the way out, bounded on the way back.

mod answer;
mod failure;
mod phase;
mod resolver;
mod tls;

use std::{
    borrow::Cow,
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};
use tharsis_core::{
    delivery::{Outcome, codes},
    egress::{PayloadUrl, Policy},
    signer::{Method, Request},
};
use url::{Host, Url};

use self::{answer::Answer, failure::Failure, phase::Phase, resolver::VettedResolver};

/// For DNS, TCP and TLS together, below the 3 s that a request has as a whole. Where a name has several addresses they
/// share it, so that one that swallows packets leaves time for the next.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(2500);

/// Node closes an idle connection after 5 s, the shortest of the common servers; one that is taken out of the pool at
/// the moment when its server closes it costs an attempt.
const IDLE_TIMEOUT: Duration = Duration::from_secs(4);

/// Idle connections to one host. Only requests in flight open any, at most as many as there are, and each closes after
/// [`IDLE_TIMEOUT`]; a smaller number would close connections that the next requests need.
const MAX_IDLE_PER_HOST: usize = 256;

/// What the one HTTP client of a process is made with.
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    /// What may be reached.
    pub egress: Policy,
    /// Certificates in PEM, trusted beside the system's roots.
    pub ca_file: Option<PathBuf>,
}

/// Why the client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ClientError {
    /// Stable code: `ca_file_unreadable`, `ca_file_invalid`, `no_trusted_roots`, `resolver_unusable`, …
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// The guarded client: HTTPS only, vetted addresses only, no redirects, no proxies, a total deadline, a bounded body.
///
/// Cheap to clone; the clones share their connections.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    resolver: VettedResolver,
    egress: Arc<Policy>,
}

impl Client {
    /// Makes the client. One for the whole process: its connections are shared.
    ///
    /// # Errors
    /// When the CA file or the machine's resolver configuration cannot be used.
    pub fn new(options: &ClientOptions) -> Result<Self, ClientError> {
        let egress = Arc::new(options.egress.clone());
        let resolver = VettedResolver::of_this_machine(egress.clone())?;
        let tls = tls::config(options.ca_file.as_deref())?;
        let http = build(resolver.clone(), tls).map_err(|error| ClientError {
            code: "client_unusable",
            message: format!("the HTTP client cannot be made: {error}"),
            hint: "report it, with this message".to_owned(),
        })?;
        Ok(Self {
            http,
            resolver,
            egress,
        })
    }

    /// Sends one request and says what came of it; never fails, for a failure is an outcome.
    ///
    /// Everything from the look-up of the name to the last byte read ends with the request's deadline. Once a status
    /// has come it is the outcome, whatever happens to the body after it.
    pub async fn send(&self, request: Request) -> Outcome {
        let began = Instant::now();
        let deadline = request.deadline;
        let request = match self.admit(request) {
            Ok(request) => request,
            Err(failure) => return failure.outcome(began.elapsed()),
        };
        phase::tracked(async {
            let mut answer = None;
            let exchange = self.exchange(request, &mut answer);
            let failure = match tokio::time::timeout(deadline, exchange).await {
                Ok(Ok(())) => None,
                Ok(Err(failure)) => Some(failure),
                Err(_) => Some(Failure::timed_out(phase::current())),
            };
            match (answer, failure) {
                (Some(answer), _) => answer.outcome(began.elapsed()),
                (None, Some(failure)) => failure.outcome(began.elapsed()),
                (None, None) => Failure::internal("an exchange without an answer or a failure")
                    .outcome(began.elapsed()),
            }
        })
        .await
    }

    /// What would come of a request to this URL before anything is dialled, where it would come no further: its name leads
    /// nowhere, not in this time, or to where nothing may be sent. Nothing is sent.
    pub async fn look_up(&self, url: &PayloadUrl, deadline: Duration) -> Option<Outcome> {
        let began = Instant::now();
        let look_up = async {
            match url.canonical().host() {
                Some(Host::Domain(name)) => self.resolver.addresses(name).await.map(drop),
                _ => vet_literal(&self.egress, url.canonical()),
            }
        };
        let failure = match tokio::time::timeout(deadline, look_up).await {
            Ok(found) => found.err()?,
            Err(_) => Failure::timed_out(Phase::Dns),
        };
        Some(failure.outcome(began.elapsed()))
    }

    /// The client without what `send` adds to it. The benchmark measures the one against the other.
    #[doc(hidden)]
    pub fn bare(&self) -> reqwest::Client {
        self.http.clone()
    }

    /// `answer` is filled as soon as the head is there, so that it outlives a body that never ends.
    async fn exchange(
        &self,
        request: reqwest::Request,
        answer: &mut Option<Answer>,
    ) -> Result<(), Failure> {
        let mut response = (self.http.execute(request).await)
            .map_err(|error| Failure::of(&error, phase::current()))?;
        // Only vetted addresses are dialled, so this never refuses, unless something went around the resolver.
        if response
            .remote_addr()
            .is_none_or(|peer| self.egress.verdict(peer.ip()).is_err())
        {
            return Err(Failure::theirs(
                codes::ADDRESS_NOT_GLOBAL,
                "the answer came from an address that is not allowed",
            ));
        }
        answer
            .insert(Answer::of(&response))
            .read(&mut response)
            .await;
        Ok(())
    }

    /// Turns a request into one of the HTTP library, or says why it must not be sent.
    fn admit(&self, request: Request) -> Result<reqwest::Request, Failure> {
        let url = request.url.canonical();
        vet_literal(&self.egress, url)?;
        let method = match request.method {
            Method::Post => http::Method::POST,
            Method::Head => http::Method::HEAD,
        };
        let mut admitted = reqwest::Request::new(method, url.clone());
        let headers = admitted.headers_mut();
        headers.reserve(request.headers.len());
        for header in request.headers {
            let value = match header.value {
                Cow::Borrowed(text) => Bytes::from_static(text.as_bytes()),
                Cow::Owned(text) => Bytes::from(text),
            };
            let mut value = HeaderValue::from_maybe_shared(value)
                .map_err(|_| Failure::internal("a header's value is none"))?;
            value.set_sensitive(header.is_secret);
            headers.append(header_name(header.name)?, value);
        }
        if !request.body.is_empty() {
            *admitted.body_mut() = Some(request.body.into());
        }
        Ok(admitted)
    }
}

/// The connector asks no resolver about an address, so one in the URL is vetted here.
fn vet_literal(egress: &Policy, url: &Url) -> Result<(), Failure> {
    let literal = match url.host() {
        Some(Host::Domain(_)) => return Ok(()),
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address),
        None => return Err(Failure::internal("the URL has no host")),
    };
    resolver::vet(egress, vec![literal]).map(drop)
}

/// The name of a documented sender costs no allocation; anything else than a lower-case name is refused instead of
/// panicking.
fn header_name(name: Cow<'static, str>) -> Result<HeaderName, Failure> {
    let is_name = !name.is_empty()
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'));
    match name {
        Cow::Borrowed(name) if is_name => Ok(HeaderName::from_static(name)),
        Cow::Owned(name) if is_name => HeaderName::from_lowercase(name.as_bytes())
            .map_err(|_| Failure::internal("a header's name is none")),
        _ => Err(Failure::internal("a header's name is not in lower case")),
    }
}

/// HTTP/1.1 only: a connection carries one request at a time, so what a receiver does to it (a stall, a reset, a flood
/// of frames) concerns one delivery, and the attacks on HTTP/2's frames have nothing to aim at. With few requests in
/// flight per subscription, multiplexing would save little.
///
/// The head of an answer is bounded by hyper's own limits: 100 fields and about 400 KiB.
///
/// There is no switch here for certificates, redirects or proxies, and there must never be one.
#[expect(
    clippy::disallowed_methods,
    reason = "this is the one place that makes a client"
)]
fn build(
    resolver: VettedResolver,
    tls: rustls::ClientConfig,
) -> Result<reqwest::Client, reqwest::Error> {
    let mut headers = HeaderMap::new();
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    // Nothing here decompresses, and an excerpt is there to be read.
    headers.insert(
        header::ACCEPT_ENCODING,
        HeaderValue::from_static("identity"),
    );
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .https_only(true)
        .http1_only()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .retry(reqwest::retry::never())
        .dns_resolver(resolver)
        .connector_layer(phase::Connected)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .pool_max_idle_per_host(MAX_IDLE_PER_HOST)
        .default_headers(headers)
        .build()
}

impl Phase {
    /// The code of a request that was in this phase when its time was up.
    fn timeout_code(self) -> &'static str {
        match self {
            Self::Dns => codes::TIMEOUT_DNS,
            Self::Tcp => codes::TIMEOUT_CONNECT,
            Self::Tls => codes::TIMEOUT_TLS,
            Self::Http => codes::TIMEOUT_RESPONSE_HEADERS,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use tharsis_receiver::{Authority, Options, Receiver};

    use super::*;

    #[test]
    fn an_address_in_a_url_is_vetted_however_it_is_written() {
        for text in [
            "https://10.0.0.5/",
            "https://2130706433/",
            "https://0x7f.1/",
            "https://[::1]:8443/",
            "https://[::ffff:169.254.169.254]/",
        ] {
            let failure = vet_literal(&Policy::default(), &Url::parse(text).unwrap()).unwrap_err();
            assert_eq!(failure.code, codes::ADDRESS_NOT_GLOBAL, "{text}");
        }
        let name = Url::parse("https://hooks.example.com/").unwrap();
        assert!(vet_literal(&Policy::default(), &name).is_ok());
    }

    /// A client whose resolver was lied to: the address is allowed when it is dialled and not when the answer comes.
    #[tokio::test]
    async fn an_answer_from_an_address_that_is_not_allowed_is_not_read() {
        let authority = Authority::generate().unwrap();
        let receiver = Receiver::bind(Options::new(&authority)).await.unwrap();
        let mut ca_file = tempfile::NamedTempFile::new().unwrap();
        ca_file.write_all(authority.pem().as_bytes()).unwrap();
        let lied_to = Client::new(&ClientOptions {
            egress: Policy {
                allow_addresses: vec!["127.0.0.0/8".parse().unwrap()],
                ..Policy::default()
            },
            ca_file: Some(ca_file.path().to_owned()),
        })
        .unwrap();
        let client = Client {
            http: lied_to.http,
            resolver: lied_to.resolver,
            egress: Arc::new(Policy::default()),
        };
        let outcome = client
            .send(Request {
                method: Method::Post,
                url: PayloadUrl::stored(&receiver.url("/")).unwrap(),
                headers: Vec::new(),
                body: Bytes::from_static(b"{}"),
                deadline: Duration::from_secs(10),
            })
            .await;
        assert_eq!(outcome.code, codes::ADDRESS_NOT_GLOBAL);
        assert_eq!((outcome.status, outcome.excerpt.len()), (None, 0));
    }

    #[tokio::test]
    async fn a_host_is_looked_up_and_vetted_without_a_request() {
        let allowing = |ranges: &[&str]| {
            let ranges = ranges.iter().map(|range| range.parse().unwrap());
            let egress = Policy {
                allow_addresses: ranges.collect(),
                ..Policy::default()
            };
            let options = ClientOptions {
                egress,
                ca_file: None,
            };
            Client::new(&options).unwrap()
        };
        let url = PayloadUrl::stored("https://localhost:8443/in").unwrap();
        let deadline = Duration::from_secs(10);
        let refused = allowing(&[]).look_up(&url, deadline).await.unwrap();
        assert_eq!(refused.code, codes::ADDRESS_NOT_GLOBAL);
        let found = allowing(&["127.0.0.0/8"]).look_up(&url, deadline).await;
        assert_eq!(found, None);
    }

    #[test]
    fn what_is_no_header_name_is_refused_without_a_panic() {
        for name in ["", "X-Signature", "x y", "x\n"] {
            for name in [Cow::Borrowed(name), Cow::Owned(name.to_owned())] {
                assert_eq!(header_name(name).unwrap_err().code, codes::INTERNAL_ERROR);
            }
        }
        assert!(header_name("x-mars-signature".into()).is_ok());
        assert!(header_name("x_shop-1".to_owned().into()).is_ok());
    }
}
