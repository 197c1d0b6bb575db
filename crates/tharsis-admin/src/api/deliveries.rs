//! `/v1/deliveries`: what became of events for subscriptions.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tharsis::{
    Invalid, Registry,
    store::{CommandAccepted, DeliveryFilter, Status},
};

use super::{input::Path, query::Parameters};
use crate::{
    Problem,
    desk::Desk,
    documents::{AttemptDocument, DeliveryDocument},
};

/// The most of one page.
const MOST: u32 = 1_000;

/// Newest event first. A page that ends early says until when it looked, and may still have a next one.
pub(crate) async fn list(desk: Desk, mut asked: Parameters) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Document<'a> {
        deliveries: Vec<DeliveryDocument<'a>>,
        /// Hand it over as `after`; null at the end.
        next: Option<String>,
        searched_until: Option<String>,
    }
    let client = desk.client(asked.word("client")?)?;
    let mut filter = filter(&mut asked)?;
    filter.client = client;
    let (after, limit) = (asked.text("after")?, asked.limit(MOST)?);
    asked.end()?;
    let page = (desk.registry())
        .deliveries(&filter, after.as_deref(), limit)
        .await?;
    let document = Document {
        deliveries: page.items.iter().map(DeliveryDocument::from).collect(),
        next: page.next,
        searched_until: page.searched_until.map(|at| at.to_string()),
    };
    Ok(Json(document).into_response())
}

/// Which of them is asked for. Whose they are is for the desk to say.
pub(super) fn filter(asked: &mut Parameters) -> Result<DeliveryFilter, Problem> {
    let mut filter = DeliveryFilter::default();
    filter.status = asked.all("status", |word| {
        Status::parse(word).ok_or_else(|| Invalid::new("bad_status", "is no status of a delivery"))
    })?;
    filter.subscription = asked.all("subscription", str::parse)?;
    filter.event_type = asked.all("type", |text| Ok(text.to_owned()))?;
    filter.campaign = asked.text("campaign")?;
    filter.event = asked.word("event")?;
    filter.since = asked.instant("since")?;
    filter.until = asked.instant("until")?;
    filter.ended_since = asked.instant("ended_since")?;
    Ok(filter)
}

/// One of them, with its attempts.
pub(crate) async fn show(
    desk: Desk,
    Path((event, subscription)): Path<(String, String)>,
) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Document<'a> {
        #[serde(flatten)]
        delivery: DeliveryDocument<'a>,
        history: Vec<AttemptDocument<'a>>,
    }
    let detail = desk.delivery(&event, &subscription).await?;
    let document = Document {
        delivery: DeliveryDocument::from(&detail.row),
        history: detail.attempts.iter().map(AttemptDocument::from).collect(),
    };
    Ok(Json(document).into_response())
}

/// Has it tried now.
pub(crate) async fn retry(
    desk: Desk,
    Path((event, subscription)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let id = desk.delivery(&event, &subscription).await?.row.id;
    Ok(accepted(desk.registry().retry(id, desk.by()).await?))
}

/// Gives it up.
pub(crate) async fn cancel(
    desk: Desk,
    Path((event, subscription)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let id = desk.delivery(&event, &subscription).await?.row.id;
    Ok(accepted(desk.registry().cancel(id, desk.by()).await?))
}

/// The owner carries it out.
fn accepted(accepted: CommandAccepted) -> Response {
    #[derive(Serialize)]
    struct Document {
        /// Whether a worker is there to carry it out now.
        owned: bool,
    }
    let document = Document {
        owned: accepted.owned,
    };
    (axum::http::StatusCode::ACCEPTED, Json(document)).into_response()
}
