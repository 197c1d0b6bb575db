//! `/v1/event-types` and `/v1/outcomes`: what is documented. It is everybody's.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tharsis::{delivery::codes, payload::CATALOGUE};

use super::{input::Path, query::Parameters};
use crate::{
    Problem,
    documents::{DescribedDocument, EventTypeDocument, OutcomeDocument},
};

/// The types that are documented. An event of any other type may hold whatever JSON object it likes.
pub(crate) async fn event_types(asked: Parameters) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Document {
        event_types: Vec<EventTypeDocument>,
    }
    asked.end()?;
    let event_types = CATALOGUE.iter().copied().map(EventTypeDocument::from);
    let document = Document {
        event_types: event_types.collect(),
    };
    Ok(Json(document).into_response())
}

/// One of them, with a sample and the JSON Schema of its payload.
pub(crate) async fn event_type(Path(name): Path<String>) -> Result<Response, Problem> {
    let documented = (CATALOGUE.iter().copied()).find(|documented| documented.name == name);
    let documented = documented.ok_or_else(|| Problem::not_found("event type"))?;
    Ok(Json(DescribedDocument::from(documented)).into_response())
}

/// What can come of a delivery, in the order of a request's life.
pub(crate) async fn outcomes(asked: Parameters) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Document<'a> {
        outcomes: Vec<OutcomeDocument<'a>>,
    }
    asked.end()?;
    let outcomes = (codes::ALL.iter()).map(|known| OutcomeDocument::of(known.code, known));
    let document = Document {
        outcomes: outcomes.collect(),
    };
    Ok(Json(document).into_response())
}
