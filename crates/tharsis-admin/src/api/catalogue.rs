//! `/v1/event-types` and `/v1/outcomes`: what is documented. It is everybody's.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tharsis::{delivery::codes, payload::CATALOGUE};
use utoipa::ToSchema;

use super::{input::Path, query::Parameters};
use crate::{
    Problem,
    documents::{DescribedDocument, EventTypeDocument, OutcomeDocument},
};

#[derive(Serialize, ToSchema)]
#[schema(as = EventTypeList)]
struct EventTypesDocument {
    event_types: Vec<EventTypeDocument>,
}

/// The types of events that are documented.
///
/// An event of any other type may hold whatever JSON object it likes.
#[utoipa::path(
    get,
    path = "/v1/event-types",
    operation_id = "listEventTypes",
    tag = "catalogue",
    responses((status = 200, description = "The types.", body = EventTypesDocument)),
)]
pub(crate) async fn event_types(asked: Parameters) -> Result<Response, Problem> {
    asked.end()?;
    let event_types = CATALOGUE.iter().copied().map(EventTypeDocument::from);
    let document = EventTypesDocument {
        event_types: event_types.collect(),
    };
    Ok(Json(document).into_response())
}

/// One documented type, with a sample and the JSON Schema of its payload.
#[utoipa::path(
    get,
    path = "/v1/event-types/{name}",
    operation_id = "getEventType",
    tag = "catalogue",
    params(("name" = String, Path, description = "The type: `nudge`.")),
    responses((status = 200, description = "The type.", body = DescribedDocument)),
)]
pub(crate) async fn event_type(Path(name): Path<String>) -> Result<Response, Problem> {
    let documented = (CATALOGUE.iter().copied()).find(|documented| documented.name == name);
    let documented = documented.ok_or_else(|| Problem::not_found("event type"))?;
    Ok(Json(DescribedDocument::from(documented)).into_response())
}

#[derive(Serialize, ToSchema)]
#[schema(as = OutcomeList)]
struct OutcomesDocument<'a> {
    outcomes: Vec<OutcomeDocument<'a>>,
}

/// What can come of a delivery, in the order of a request's life.
#[utoipa::path(
    get,
    path = "/v1/outcomes",
    operation_id = "listOutcomes",
    tag = "catalogue",
    responses((status = 200, description = "The outcomes.", body = OutcomesDocument<'_>)),
)]
pub(crate) async fn outcomes(asked: Parameters) -> Result<Response, Problem> {
    asked.end()?;
    let outcomes = (codes::ALL.iter()).map(|known| OutcomeDocument::of(known.code, known));
    let document = OutcomesDocument {
        outcomes: outcomes.collect(),
    };
    Ok(Json(document).into_response())
}
