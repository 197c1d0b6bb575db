//! The server: who comes in, how many at once, and for how long.

use std::{fmt, future::Future, net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::{ConnectInfo, DefaultBodyLimit, MatchedPath, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::{Next, from_fn_with_state},
    response::{IntoResponse, Response},
    routing::get,
};
use tharsis::{Emitter, Registry, Timestamp};
use tokio::{net::TcpListener, sync::Semaphore, time::timeout};

use crate::{Problem, Route, caller::Caller, routes::served};

/// What the server allows.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Options {
    /// Requests at once; more are answered 503.
    pub at_once: usize,
    /// How long a request may take.
    pub deadline: Duration,
    /// The largest body, in bytes.
    pub body_limit: usize,
    /// What time it is.
    pub clock: fn() -> Timestamp,
}

impl Options {
    /// 512 requests at once, 30 s, 8 MiB.
    pub const fn new(clock: fn() -> Timestamp) -> Self {
        Self {
            at_once: 512,
            deadline: Duration::from_secs(30),
            body_limit: 8 * 1024 * 1024,
            clock,
        }
    }
}

/// What every answer is made with.
#[derive(Clone)]
pub(crate) struct House {
    pub(crate) emitter: Arc<Emitter>,
    doors: Arc<[Route]>,
    places: Arc<Semaphore>,
    options: Options,
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
}

/// Serves the API until `shutdown` resolves, and the requests that came before are answered.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    emitter: Arc<Emitter>,
    options: Options,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let service = router(emitter, options).into_make_service_with_connect_info::<SocketAddr>();
    axum::serve(listener, service)
        .with_graceful_shutdown(shutdown)
        .await
}

fn router(emitter: Arc<Emitter>, options: Options) -> Router {
    let served = served();
    let house = House {
        emitter,
        doors: served.iter().map(|(route, _)| route.clone()).collect(),
        places: Arc::new(Semaphore::new(options.at_once)),
        options,
    };
    let mut router = Router::new();
    for (route, answers) in served {
        router = router.route(route.path, answers);
    }
    router
        .route_layer(from_fn_with_state(house.clone(), admit))
        .route("/healthz", get(async || "ok\n"))
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
        .layer(axum::middleware::map_response(harmless))
        .with_state(house)
}

/// Lets in whoever may: a place is free, the token counts, and its role allows it.
async fn admit(
    State(house): State<House>,
    ConnectInfo(from): ConnectInfo<SocketAddr>,
    path: MatchedPath,
    mut request: Request,
    next: Next,
) -> Response {
    let Ok(_place) = house.places.try_acquire() else {
        return Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "overloaded",
            "more requests are under way than this process takes",
        )
        .retry_after(1)
        .into_response();
    };
    let answer = async {
        // What is not in the table is nobody's.
        let is_asked =
            |door: &&Route| (&door.method, door.path) == (request.method(), path.as_str());
        let door = house.doors.iter().find(is_asked);
        let door = door.ok_or_else(|| Problem::not_found("path", path.as_str()))?;
        let at = (house.options.clock)();
        let caller = Caller::of(request.headers(), from, house.registry(), at).await?;
        caller.check(door.permission)?;
        request.extensions_mut().insert(caller);
        Ok::<_, Problem>(next.run(request).await)
    };
    match timeout(house.options.deadline, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(problem)) => problem.into_response(),
        Err(_) => Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "too_slow",
            "it took too long; it may have been done all the same",
        )
        .retry_after(1)
        .into_response(),
    }
}

/// Whatever it is, a browser is to make nothing of it, and nobody is to keep it.
async fn harmless(mut response: Response) -> Response {
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
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}
