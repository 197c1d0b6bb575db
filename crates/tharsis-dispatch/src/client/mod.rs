//! The one HTTP client: guarded on the way out, bounded on the way back.

mod answer;
mod certificate;
mod exit;
mod failure;
mod phase;
mod proxy;
mod resolver;
mod tls;

use std::{
    borrow::Cow,
    net::IpAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::{HeaderName, HeaderValue};
use tharsis_core::{
    delivery::{Outcome, codes},
    egress::{PayloadUrl, Policy},
    signer::{Method, Request},
};
use url::{Host, Url};

pub(crate) use self::phase::Phase;
pub use self::proxy::Proxy;
use self::{
    answer::Answer,
    exit::{Exit, MAX_AGE, Making},
    failure::Failure,
    resolver::{AsksFor, VettedResolver},
};
use crate::Metrics;

/// What the one HTTP client of a process is made with.
#[derive(Debug, Clone, Default)]
pub struct ClientOptions {
    /// What may be reached.
    pub egress: Policy,
    /// Certificates in PEM, trusted beside the system's roots.
    pub ca_file: Option<PathBuf>,
    /// Addresses of this machine that requests go out from, in turn; with none the system takes one. They are of one
    /// family, and receivers that have addresses of the other alone are not reached.
    pub source_addresses: Vec<IpAddr>,
    /// What requests go through. It judges the addresses then.
    pub proxy: Option<Proxy>,
    /// Counts what becomes of requests.
    pub metrics: Arc<Metrics>,
}

/// Why the client could not be made.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct ClientError {
    /// Stable code: `ca_file_unreadable`, `ca_file_invalid`, `no_trusted_roots`, `resolver_unusable`,
    /// `source_addresses_mixed`, `source_address_unusable`, …
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// What to do.
    pub hint: String,
}

/// The guarded client: HTTPS only, vetted addresses only, no redirects, no proxy but one that is named, a total deadline,
/// a bounded body, no connection older than five minutes.
///
/// Cheap to clone; the clones share their connections.
#[derive(Debug, Clone)]
pub struct Client(Arc<Parts>);

#[derive(Debug)]
struct Parts {
    /// At least one.
    exits: Vec<Exit>,
    /// Counts requests, which take the exits in turn.
    turn: AtomicUsize,
    egress: Arc<Policy>,
    proxy: Option<Proxy>,
    metrics: Arc<Metrics>,
}

impl Client {
    /// Makes the client. One for the whole process: its connections are shared.
    ///
    /// # Errors
    /// When the CA file, the machine's resolver configuration or a source address cannot be used.
    pub fn new(options: &ClientOptions) -> Result<Self, ClientError> {
        Self::with_age(options, MAX_AGE)
    }

    /// `max_age` is that of a connection.
    fn with_age(options: &ClientOptions, max_age: Duration) -> Result<Self, ClientError> {
        let egress = Arc::new(options.egress.clone());
        let resolver = VettedResolver::of_this_machine(match &options.proxy {
            None => AsksFor::Receivers {
                egress: egress.clone(),
                source: None,
            },
            Some(proxy) => AsksFor::Proxy {
                host: proxy.host().to_owned(),
                source: None,
            },
        })?;
        let tls = tls::config(options.ca_file.as_deref())?;
        tell(options);
        let literal = options.proxy.as_ref().and_then(Proxy::address);
        let exits = sources(&options.source_addresses, literal)?
            .into_iter()
            .map(|source| {
                let making = Making {
                    resolver: resolver.sending_from(source),
                    tls: tls.clone(),
                    proxy: options.proxy.clone(),
                    source,
                };
                Exit::new(making, max_age)
            });
        Ok(Self(Arc::new(Parts {
            exits: exits.collect::<Result<_, _>>()?,
            turn: AtomicUsize::new(0),
            egress,
            proxy: options.proxy.clone(),
            metrics: Arc::clone(&options.metrics),
        })))
    }

    /// Sends one request and says what came of it; never fails, for a failure is an outcome.
    ///
    /// Everything from the look-up of the name to the last byte read ends with the request's deadline. Once a status
    /// has come it is the outcome, whatever happens to the body after it.
    pub async fn send(&self, request: Request) -> Outcome {
        let outcome = self.came_of(request).await;
        if is_blocked(&outcome) {
            self.0.metrics.blocked();
        }
        outcome
    }

    async fn came_of(&self, request: Request) -> Outcome {
        let began = Instant::now();
        let deadline = request.deadline;
        let request = match self.admit(request) {
            Ok(request) => request,
            Err(failure) => return failure.outcome(began.elapsed()),
        };
        phase::tracked(Arc::clone(&self.0.metrics), began, async {
            let mut answer = None;
            let exchange = self.exchange(request, began, &mut answer);
            let failure = match tokio::time::timeout(deadline, exchange).await {
                Ok(Ok(())) => None,
                Ok(Err(failure)) => Some(failure),
                Err(_) => Some(self.timed_out(phase::current())),
            };
            let outcome = match (answer, failure) {
                (Some(answer), _) => {
                    phase::answered();
                    answer.outcome(began.elapsed())
                }
                (None, Some(failure)) => failure.outcome(began.elapsed()),
                (None, None) => Failure::internal("an exchange without an answer or a failure")
                    .outcome(began.elapsed()),
            };
            Outcome {
                certificate: phase::certificate(),
                ..outcome
            }
        })
        .await
    }

    /// What would come of a request to this URL before anything is dialled, where it would come no further: its name leads
    /// nowhere, not in this time, or to where nothing may be sent. Nothing is sent, and where a proxy looks names up nothing
    /// is asked.
    pub async fn look_up(&self, url: &PayloadUrl, deadline: Duration) -> Option<Outcome> {
        let began = Instant::now();
        let look_up = async {
            match url.canonical().host() {
                Some(Host::Domain(_)) if self.0.proxy.is_some() => Ok(()),
                Some(Host::Domain(name)) => self.exit().resolver().addresses(name).await.map(drop),
                _ => vet_literal(&self.0.egress, url.canonical()),
            }
        };
        let failure = match tokio::time::timeout(deadline, look_up).await {
            Ok(found) => found.err()?,
            Err(_) => Failure::timed_out(Phase::Dns),
        };
        Some(failure.outcome(began.elapsed()))
    }

    /// Names are looked up by the proxy: ours alone is looked up here.
    fn timed_out(&self, phase: Phase) -> Failure {
        match (&self.0.proxy, phase) {
            (Some(_), Phase::Dns) => Failure::no_proxy("its name was not found in time"),
            _ => Failure::timed_out(phase),
        }
    }

    /// The client without what `send` adds to it. The benchmark measures the one against the other.
    #[doc(hidden)]
    pub fn bare(&self) -> reqwest::Client {
        self.exit().http(Instant::now())
    }

    /// Whose turn it is.
    fn exit(&self) -> &Exit {
        let turn = self.0.turn.fetch_add(1, Ordering::Relaxed);
        &self.0.exits[turn % self.0.exits.len()]
    }

    /// `answer` is filled as soon as the head is there, so that it outlives a body that never ends.
    async fn exchange(
        &self,
        request: reqwest::Request,
        now: Instant,
        answer: &mut Option<Answer>,
    ) -> Result<(), Failure> {
        let exit = self.exit();
        let mut response = (exit.http(now).execute(request).await).map_err(|error| {
            let failure = Failure::of(&error, phase::current());
            match self.0.proxy {
                Some(_) => failure.through_proxy(&error, phase::current()),
                None => failure,
            }
        })?;
        let peer = response.remote_addr().map(|peer| peer.ip());
        let is_vetted = peer.is_some_and(|peer| self.0.egress.verdict(peer).is_ok());
        // Only vetted addresses are dialled, so this never happens, unless something went around the resolver.
        if !is_vetted && self.0.proxy.is_none() {
            tracing::error!(
                ?peer,
                "An answer came from an address that was never vetted"
            );
            self.0.exits.iter().for_each(|exit| exit.renew(now));
            return Err(Failure::theirs(
                codes::ADDRESS_UNVETTED,
                "the answer was not read, and all connections were given up",
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
        vet_literal(&self.0.egress, url)?;
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

/// Whether it ended for the sake of its address.
fn is_blocked(outcome: &Outcome) -> bool {
    matches!(
        &*outcome.code,
        codes::ADDRESS_NOT_GLOBAL | codes::ADDRESS_IS_SELF | codes::ADDRESS_UNVETTED
    )
}

/// The connector asks no resolver about an address, so one in the URL is vetted here.
fn vet_literal(egress: &Policy, url: &Url) -> Result<(), Failure> {
    let literal = match url.host() {
        Some(Host::Domain(_)) => return Ok(()),
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address),
        None => return Err(Failure::internal("the URL has no host")),
    };
    resolver::vet(egress, None, vec![literal]).map(drop)
}

/// Whoever reads the log sees what was opened by name.
fn tell(options: &ClientOptions) {
    let Policy {
        allow_addresses,
        allow_hosts,
        allow_ports,
    } = &options.egress;
    let allow_addresses: Vec<String> = allow_addresses.iter().map(ToString::to_string).collect();
    tracing::info!(
        egress.allow_addresses = ?allow_addresses,
        egress.allow_hosts = ?allow_hosts,
        egress.allow_ports = ?allow_ports,
        egress.source_addresses = ?options.source_addresses,
        egress.proxy = ?options.proxy,
        egress.ca_file = ?options.ca_file,
        "Requests go to public addresses, and to what is opened by name"
    );
}

/// One for each exit.
fn sources(
    addresses: &[IpAddr],
    proxy: Option<IpAddr>,
) -> Result<Vec<Option<IpAddr>>, ClientError> {
    let Some(first) = addresses.first() else {
        return Ok(vec![None]);
    };
    let mut all = addresses.iter().copied().chain(proxy);
    if all.any(|address| address.is_ipv4() != first.is_ipv4()) {
        return Err(ClientError {
            code: "source_addresses_mixed",
            message:
                "the source addresses, or they and the proxy, are of both families, IPv4 and IPv6"
                    .to_owned(),
            hint: "name addresses of one family: [egress] source_addresses".to_owned(),
        });
    }
    Ok(addresses.iter().copied().map(Some).collect())
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
            ..ClientOptions::default()
        })
        .unwrap();
        let parts = Arc::into_inner(lied_to.0).unwrap();
        let client = Client(Arc::new(Parts {
            egress: Arc::new(Policy::default()),
            ..parts
        }));
        for connections in [1, 2] {
            let outcome = client.send(post(&receiver)).await;
            assert_eq!(outcome.code, codes::ADDRESS_UNVETTED);
            assert_eq!((outcome.status, outcome.excerpt.len()), (None, 0));
            assert_eq!(receiver.connections(), connections, "none is used again");
            let blocked = client.0.metrics.figure("tharsis_addresses_blocked_total");
            assert_eq!(blocked, connections.to_string());
        }
    }

    fn post(receiver: &Receiver) -> Request {
        Request {
            method: Method::Post,
            url: PayloadUrl::stored(&receiver.url("/")).unwrap(),
            headers: Vec::new(),
            body: Bytes::from_static(b"{}"),
            deadline: Duration::from_secs(10),
        }
    }

    /// F214 of the corpus: a connection that is always in use would never ask again where its name leads.
    #[tokio::test]
    async fn no_connection_is_older_than_its_client_may_be() {
        let authority = Authority::generate().unwrap();
        let mut ca_file = tempfile::NamedTempFile::new().unwrap();
        ca_file.write_all(authority.pem().as_bytes()).unwrap();
        let options = ClientOptions {
            egress: Policy {
                allow_addresses: vec!["127.0.0.0/8".parse().unwrap()],
                ..Policy::default()
            },
            ca_file: Some(ca_file.path().to_owned()),
            ..ClientOptions::default()
        };
        for (max_age, connections) in [(Duration::ZERO, 5), (MAX_AGE, 1)] {
            let receiver = Receiver::bind(Options::new(&authority)).await.unwrap();
            let options = ClientOptions {
                metrics: Arc::default(),
                ..options.clone()
            };
            let client = Client::with_age(&options, max_age).unwrap();
            for _ in 0..5 {
                assert_eq!(client.send(post(&receiver)).await.code, "http_200");
            }
            assert_eq!(receiver.connections(), connections, "{max_age:?}");
            for (phase, times) in [("tcp", connections), ("tls", connections), ("http", 5)] {
                let series = format!(r#"tharsis_attempt_phase_seconds_count{{phase="{phase}"}}"#);
                assert_eq!(
                    options.metrics.figure(&series),
                    times.to_string(),
                    "{phase}"
                );
            }
        }
        assert!(MAX_AGE <= Duration::from_secs(300));
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
                ..ClientOptions::default()
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
