//! How this process and its database do, for programs that look every few seconds: figures, and whether it is ready.

mod exposition;
mod figures;
mod readiness;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::{
    Json, Router,
    extract::State,
    http::{HeaderMap, StatusCode, header},
    middleware::map_response,
    response::{IntoResponse, Response},
    routing::get,
};
use tharsis::{Emitter, Registry as _, Timestamp};
use tokio::{net::TcpListener, sync::watch, time::timeout};

use self::{
    figures::Figures,
    readiness::{Database, Facts, Readiness, SILENT},
};
use crate::{
    Problem,
    desk::Desk,
    listen::{Bounds, listen},
    pages::Recent,
    serve::{House, harmless},
};

/// What is due for so long, and nothing holds it, is not as it should be, unless another bound is given.
pub const OVERDUE: Duration = Duration::from_secs(5 * 60);

/// So long figures of the database are waited for.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where they were not there by then, nobody asks for them for so long: the database has enough to do.
const REST: Duration = PATIENCE.saturating_mul(4);

/// Whoever asks here asks for little.
const BOUNDS: Bounds = Bounds {
    connections: 64,
    patience: Duration::from_secs(30),
    grace: Duration::from_secs(1),
};

/// Looks how it does. However many ask, the database is asked by one at a time, and for a fifth of the time at most.
pub(crate) struct Observer {
    emitter: Arc<Emitter>,
    /// So long something may be due.
    overdue: Duration,
    answers: Recent<()>,
    figures: Recent<Figures>,
    rests_until: Mutex<Option<Instant>>,
}

impl Observer {
    pub(crate) fn new(emitter: Arc<Emitter>, overdue: Duration) -> Self {
        Self {
            emitter,
            overdue,
            answers: Recent::default(),
            figures: Recent::default(),
            rests_until: Mutex::default(),
        }
    }

    /// All figures, as OpenMetrics has them. Where the database does not tell its own, they are not there.
    pub(crate) async fn metrics(&self) -> Response {
        let figures = self.figures().await.and_then(Result::ok);
        let text = exposition::exposition(&self.emitter, figures.as_deref());
        ([(header::CONTENT_TYPE, exposition::KIND)], text).into_response()
    }

    /// Whether it does what it is there for: in a line for each reason why not, or as JSON where that is asked for.
    pub(crate) async fn readiness(&self, headers: &HeaderMap) -> Response {
        let readiness = Readiness::of(&self.facts().await, self.overdue);
        let status = match readiness.ready {
            true => StatusCode::OK,
            false => StatusCode::SERVICE_UNAVAILABLE,
        };
        let accepts = headers.get(header::ACCEPT);
        let is_json = accepts
            .and_then(|accepts| accepts.to_str().ok())
            .is_some_and(|accepts| accepts.contains("application/json"));
        if is_json {
            (status, Json(readiness)).into_response()
        } else {
            (status, readiness.to_string()).into_response()
        }
    }

    async fn facts(&self) -> Facts {
        let database = self.database().await;
        let figures = match database {
            Database::Answers => self.figures().await,
            Database::Silent | Database::Failed(_) => None,
        };
        let (database, figures) = match figures {
            Some(Err(problem)) => (Database::Failed(problem.code().to_owned()), None),
            Some(Ok(figures)) => (database, Some(figures)),
            // It answers, and has much to count.
            None => (database, None),
        };
        let figures = figures.as_deref();
        Facts {
            database,
            is_leased: self.emitter.progress().is_leased(Instant::now()),
            overdue: figures.and_then(|figures| figures.gauges.overdue()),
            unsigned: figures.map_or(0, |figures| figures.unsigned),
            has_key: figures.is_none_or(|figures| figures.has_key),
        }
    }

    /// Whether it answers what is quickly answered, whatever that is.
    async fn database(&self) -> Database {
        let asked = self.answers.of(None, async {
            let registry = self.emitter.registry();
            registry.has_tokens(Timestamp::default()).await?;
            Ok(())
        });
        match timeout(SILENT, asked).await {
            Ok(Ok(_)) => Database::Answers,
            Ok(Err(problem)) => Database::Failed(problem.code().to_owned()),
            Err(_) => Database::Silent,
        }
    }

    /// None where it takes too long, or took too long a moment ago.
    async fn figures(&self) -> Option<Result<Arc<Figures>, Problem>> {
        if self.rests() {
            return None;
        }
        let gathered = Figures::gather(self.emitter.registry());
        let figures = (timeout(PATIENCE, self.figures.of(None, gathered)).await).ok();
        if figures.is_none() {
            self.rest();
        }
        figures
    }

    fn rests(&self) -> bool {
        let until = *(self.rests_until.lock()).unwrap_or_else(PoisonError::into_inner);
        until.is_some_and(|until| Instant::now() < until)
    }

    fn rest(&self) {
        let mut until = (self.rests_until.lock()).unwrap_or_else(PoisonError::into_inner);
        *until = Some(Instant::now() + REST);
    }
}

/// `/metrics` of the API, for whoever may see all clients.
pub(crate) async fn metrics(desk: Desk) -> Result<Response, Problem> {
    if desk.client(None)?.is_some() {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "not_allowed",
            "is not for a token of one client",
        )
        .hint("ask an admin for a token for all clients"));
    }
    Ok(desk.observer().metrics().await)
}

/// `/readyz` of the API, for everybody.
pub(crate) async fn readyz(State(house): State<House>, headers: HeaderMap) -> Response {
    house.observer.readiness(&headers).await
}

/// Answers `/metrics`, `/readyz` and `/healthz` to whoever reaches the listener, until `shutdown` resolves. It is not ready where
/// something has been due for longer than `overdue` and nothing holds it.
pub async fn observe(
    listener: TcpListener,
    emitter: Arc<Emitter>,
    overdue: Duration,
    shutdown: impl Future<Output = ()> + Send,
) {
    let router = Router::new()
        .route("/metrics", get(told))
        .route("/readyz", get(is_ready))
        .route("/healthz", get(async || "ok\n"))
        .layer(map_response(harmless))
        .with_state(Arc::new(Observer::new(emitter, overdue)));
    let (end, _) = watch::channel(());
    listen(listener, router, BOUNDS, end, shutdown).await;
}

async fn told(State(observer): State<Arc<Observer>>) -> Response {
    observer.metrics().await
}

async fn is_ready(State(observer): State<Arc<Observer>>, headers: HeaderMap) -> Response {
    observer.readiness(&headers).await
}
