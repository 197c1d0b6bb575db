//! The server: who comes in, how many at once, and for how long.

use std::{fmt, future::Future, net::SocketAddr, num::NonZeroU32, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderValue, Method, StatusCode, header},
    middleware::{Next, from_fn, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::{MethodRouter, get},
};
use bytes::Bytes;
use tharsis::{Emitter, Registry, Timestamp, egress::Policy, profile::Profiles, token::Permission};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
    time::timeout,
};

use crate::{
    Problem, Route,
    caller::Caller,
    docs,
    heavy::{self, Heavy},
    host,
    known::Known,
    limit::Limits,
    listen::{Bounds, listen},
    observe::{self, OVERDUE, Observer},
    openapi::{document, openapi},
    pages::{self, Sessions, Shared, Streams},
    routes::served,
};

/// What the server allows.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Connections at once; more wait until one is closed.
    pub connections: usize,
    /// Requests at once; more are answered 503.
    pub at_once: usize,
    /// Requests a second of one token, but for those that publish; more are answered 429.
    pub rate: NonZeroU32,
    /// How long the other side of a connection may take for the head of its next request, or take nothing of an answer.
    pub patience: Duration,
    /// How long a request may take.
    pub deadline: Duration,
    /// The largest body, in bytes.
    pub body_limit: usize,
    /// How long the last requests may take once it ends.
    pub grace: Duration,
    /// What time it is.
    pub clock: fn() -> Timestamp,
    /// The names that it is asked under, as [`host_name`](crate::host_name) reads them; under another one it is not.
    pub hosts: Vec<String>,
    /// Which URLs may be registered.
    pub egress: Policy,
    /// The addresses, and ranges of them, that requests come from and receivers are to let in; empty where they are not known.
    pub seen_from: Vec<String>,
    /// The profiles that subscriptions may be of.
    pub profiles: Profiles,
    /// What is due for longer, and nothing holds it, makes `/readyz` say so.
    pub overdue: Duration,
}

impl Options {
    /// 1,024 connections, 512 requests at once, 100 a second, 30 s for a head and 30 s for an answer, 8 MiB, 10 s; no name, which
    /// answers nobody; the public internet, and the profiles that come with the program; 5 minutes.
    pub fn new(clock: fn() -> Timestamp) -> Self {
        Self {
            connections: 1_024,
            at_once: 512,
            rate: NonZeroU32::new(100).expect("is not nought"),
            patience: Duration::from_secs(30),
            deadline: Duration::from_secs(30),
            body_limit: 8 * 1024 * 1024,
            grace: Duration::from_secs(10),
            clock,
            hosts: Vec::new(),
            egress: Policy::default(),
            seen_from: Vec::new(),
            profiles: Profiles::default(),
            overdue: OVERDUE,
        }
    }
}

/// So many send something at once of whom it is not known who they are.
const STRANGERS: usize = 64;

/// What every answer is made with.
#[derive(Clone)]
pub(crate) struct House {
    pub(crate) emitter: Arc<Emitter>,
    doors: Arc<[Route]>,
    places: Arc<Semaphore>,
    pub(crate) heavy: Arc<Heavy>,
    /// Places for whoever sends something before it is known who they are.
    pub(crate) strangers: Arc<Semaphore>,
    pub(crate) known: Arc<Known>,
    pub(crate) limits: Arc<Limits>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) streams: Arc<Streams>,
    pub(crate) observer: Arc<Observer>,
    /// Closed once it ends.
    pub(crate) ended: watch::Receiver<()>,
    pub(crate) options: Arc<Options>,
}

impl fmt::Debug for House {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("House").finish_non_exhaustive()
    }
}

impl House {
    pub(crate) fn registry(&self) -> &impl Registry {
        self.emitter.registry()
    }

    /// What the table has for this. What is not in it is nobody's.
    pub(crate) fn door(&self, method: &Method, path: &str) -> Result<&Route, Problem> {
        // A HEAD is a GET of which the body is not wanted.
        let method = match method {
            &Method::HEAD => &Method::GET,
            method => method,
        };
        let is_asked = |door: &&Route| (&door.method, door.path) == (method, path);
        let door = self.doors.iter().find(is_asked);
        door.ok_or_else(|| Problem::not_found("path"))
    }

    /// What is answered behind a door that somebody may go through, and waits so long for its turn where it is a heavy one.
    ///
    /// What goes through all there is, is answered to its end though nobody waits any more: the database would go on with it in
    /// any case, and the next one is to wait until it is through.
    pub(crate) async fn answered(
        &self,
        door: &Route,
        wait: Duration,
        answer: impl Future<Output = Response> + Send + 'static,
    ) -> Result<Response, Problem> {
        if !door.is_heavy {
            return Ok(answer.await);
        }
        let place = self.heavy.place(wait).await.ok_or_else(overloaded)?;
        let answer = tokio::spawn(async move {
            let answer = answer.await;
            drop(place);
            answer
        });
        answer.await.map_err(|_| {
            let message = "it came to an end before it was answered";
            Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "not_answered", message)
        })
    }

    /// Has a request answered, where a place is free, and before its time is over.
    pub(crate) async fn turn<T>(
        &self,
        answer: impl Future<Output = Result<T, Problem>>,
    ) -> Result<T, Problem> {
        let Ok(_place) = self.places.try_acquire() else {
            return Err(overloaded());
        };
        timeout(self.options.deadline, answer)
            .await
            .unwrap_or_else(|_| {
                Err(Problem::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "too_slow",
                    "it took too long; it may have been done all the same",
                )
                .retry_after(1))
            })
    }
}

pub(crate) fn overloaded() -> Problem {
    Problem::new(
        StatusCode::SERVICE_UNAVAILABLE,
        "overloaded",
        "more requests are under way than this process takes",
    )
    .retry_after(1)
}

/// Serves the API and the dashboard until `shutdown` resolves, and the requests that came before are answered; nobody is waited
/// for longer than [`Options::grace`].
pub async fn serve(
    listener: TcpListener,
    emitter: Arc<Emitter>,
    options: Options,
    shutdown: impl Future<Output = ()> + Send,
) {
    let bounds = Bounds {
        connections: options.connections,
        patience: options.patience,
        grace: options.grace,
    };
    let (end, ended) = watch::channel(());
    let router = router(emitter, options, ended);
    listen(listener, router, bounds, end, shutdown).await;
}

fn router(emitter: Arc<Emitter>, options: Options, ended: watch::Receiver<()>) -> Router {
    let (served, shown) = (served(), pages::served());
    let doors = served.iter().chain(&shown);
    let house = House {
        observer: Arc::new(Observer::new(Arc::clone(&emitter), options.overdue)),
        emitter,
        doors: doors.map(|(route, _)| route.clone()).collect(),
        places: Arc::new(Semaphore::new(options.at_once)),
        heavy: Arc::default(),
        strangers: Arc::new(Semaphore::new(STRANGERS)),
        known: Arc::default(),
        limits: Arc::new(Limits::new(options.rate, options.clock)),
        sessions: Arc::default(),
        shared: Arc::default(),
        streams: Arc::default(),
        ended,
        options: Arc::new(options),
    };
    let mut router = Router::new();
    for (route, answers) in served {
        router = router.route(route.path, answers);
    }
    router
        .route_layer(from_fn_with_state(house.clone(), admit))
        .merge(pages::router(shown, &house))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(observe::readyz))
        .route("/openapi.json", page("application/json", openapi()))
        .route(
            "/docs",
            page("text/html; charset=utf-8", docs::page(&document())),
        )
        .route(
            "/docs.css",
            page("text/css; charset=utf-8", docs::SHEET.to_owned()),
        )
        .fallback(async || {
            Problem::new(
                StatusCode::NOT_FOUND,
                "not_found",
                "there is nothing at this path",
            )
        })
        .method_not_allowed_fallback(async || {
            Problem::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method_not_allowed",
                "this path takes another method",
            )
        })
        .layer(DefaultBodyLimit::max(house.options.body_limit))
        .layer(from_fn_with_state(house.clone(), known))
        .layer(from_fn(pages::for_people))
        .layer(axum::middleware::map_response(harmless))
        .with_state(house)
}

/// What is the same for everybody, whoever they are.
fn page(kind: &'static str, text: String) -> MethodRouter<House> {
    let text = Bytes::from(text);
    let headers = [
        (header::CONTENT_TYPE, kind),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
        ),
    ];
    get(move || async move { (headers, text) })
}

/// Lets in whoever may: a place is free, the token counts, and its role allows it.
async fn admit(
    State(house): State<House>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    path: MatchedPath,
    mut request: Request,
    next: Next,
) -> Response {
    let answer = async {
        let door = house.door(request.method(), path.as_str())?;
        let at = (house.options.clock)();
        let caller = Caller::of(request.headers(), from, house.registry(), &house.known, at).await;
        let caller = caller.or_else(|problem| {
            if problem.is_guess() {
                house.limits.failed(from.ip())?;
            }
            Err(problem)
        })?;
        // Publishing is what it is there for.
        if door.permission != Permission::Publish {
            house.limits.asked(caller.token())?;
        }
        caller.check(door.permission)?;
        fits(&request, door, house.options.body_limit)?;
        request.extensions_mut().insert(caller);
        let answer = next.run(request);
        house.answered(door, heavy::WAIT, answer).await
    };
    house.turn(answer).await.into_response()
}

/// Answers only what is asked under a name of its own; whether it is well, and ready, it tells everybody.
async fn known(State(house): State<House>, request: Request, next: Next) -> Response {
    let is_free = ["/healthz", "/readyz"].contains(&request.uri().path());
    if is_free || host::is_known(&house.options.hosts, request.headers(), request.uri()) {
        return next.run(request).await;
    }
    Problem::new(
        StatusCode::MISDIRECTED_REQUEST,
        "host_unknown",
        "is asked under a name that is not known to be its own",
    )
    .at("host")
    .hint("if the name is meant to lead here, name it: tharsis serve --host NAME")
    .into_response()
}

/// What no route has to see to.
fn fits(request: &Request, door: &Route, body_limit: usize) -> Result<(), Problem> {
    // Lists take parameters; so does a campaign, whose name says not whose it is.
    let is_list = !door.path.contains('{') || door.path.starts_with("/v1/campaigns/");
    let takes_parameters = door.method == Method::GET && is_list;
    if !takes_parameters && request.uri().query().is_some_and(|query| !query.is_empty()) {
        return Err(Problem::new(
            StatusCode::BAD_REQUEST,
            "unknown_parameter",
            "takes nothing behind a question mark",
        ));
    }
    let length = request.headers().get(header::CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    if length.is_some_and(|length| length > body_limit) {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("is larger than {body_limit} bytes"),
        ));
    }
    Ok(())
}

/// Whatever it is, a browser is to make nothing of it but what it says itself, and nobody is to keep it.
pub(crate) async fn harmless(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
        (header::REFERRER_POLICY, "no-referrer"),
    ] {
        (headers.entry(name)).or_insert(HeaderValue::from_static(value));
    }
    response
}
