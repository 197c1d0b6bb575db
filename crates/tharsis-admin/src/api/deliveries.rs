//! `/v1/deliveries`: what became of events for subscriptions.

use axum::{
    Extension, Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tharsis::{
    DeliveryId, Invalid, Registry,
    store::{CommandAccepted, DeliveryDetail, DeliveryFilter, Status},
};

use super::query::Parameters;
use crate::{
    Problem,
    caller::Caller,
    documents::{AttemptDocument, DeliveryDocument},
    serve::House,
};

/// The most of one page.
const MOST: u32 = 1_000;

/// Newest event first. A page that ends early says until when it looked, and may still have a next one.
pub(crate) async fn list(
    State(house): State<House>,
    Extension(caller): Extension<Caller>,
    mut asked: Parameters,
) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Document<'a> {
        deliveries: Vec<DeliveryDocument<'a>>,
        /// Hand it over as `after`; null at the end.
        next: Option<String>,
        searched_until: Option<String>,
    }
    let mut filter = DeliveryFilter::default();
    filter.client = caller.client(asked.word("client")?)?;
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
    let (after, limit) = (asked.text("after")?, asked.limit(MOST)?);
    asked.end()?;
    let page = (house.registry())
        .deliveries(&filter, after.as_deref(), limit)
        .await?;
    let document = Document {
        deliveries: page.items.iter().map(DeliveryDocument::from).collect(),
        next: page.next,
        searched_until: page.searched_until.map(|at| at.to_string()),
    };
    Ok(Json(document).into_response())
}

/// One of them, with its attempts.
pub(crate) async fn show(
    State(house): State<House>,
    Extension(caller): Extension<Caller>,
    Path(pair): Path<(String, String)>,
) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Document<'a> {
        #[serde(flatten)]
        delivery: DeliveryDocument<'a>,
        history: Vec<AttemptDocument<'a>>,
    }
    let detail = own(&house, &caller, &pair).await?;
    let document = Document {
        delivery: DeliveryDocument::from(&detail.row),
        history: detail.attempts.iter().map(AttemptDocument::from).collect(),
    };
    Ok(Json(document).into_response())
}

/// Has it tried now.
pub(crate) async fn retry(
    State(house): State<House>,
    Extension(caller): Extension<Caller>,
    Path(pair): Path<(String, String)>,
) -> Result<Response, Problem> {
    let id = own(&house, &caller, &pair).await?.row.id;
    Ok(accepted(house.registry().retry(id, caller.by()).await?))
}

/// Gives it up.
pub(crate) async fn cancel(
    State(house): State<House>,
    Extension(caller): Extension<Caller>,
    Path(pair): Path<(String, String)>,
) -> Result<Response, Problem> {
    let id = own(&house, &caller, &pair).await?.row.id;
    Ok(accepted(house.registry().cancel(id, caller.by()).await?))
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

async fn own(
    house: &House,
    caller: &Caller,
    (event, subscription): &(String, String),
) -> Result<DeliveryDetail, Problem> {
    let text = format!("{event}/{subscription}");
    let unknown = || Problem::not_found("delivery");
    let id: DeliveryId = text.parse().map_err(|_| unknown())?;
    let detail = house.registry().delivery(id).await?;
    match caller.covers(detail.row.client) {
        true => Ok(detail),
        false => Err(unknown()),
    }
}
