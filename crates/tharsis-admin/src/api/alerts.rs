//! `/v1/alerts`: what people and subscriptions were told.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tharsis::Registry;
use utoipa::ToSchema;

use super::query::{OfClient, Parameters};
use crate::{Problem, desk::Desk, documents::AlertDocument};

#[derive(Serialize, ToSchema)]
#[schema(as = AlertList)]
struct ListDocument<'a> {
    alerts: Vec<AlertDocument<'a>>,
}

/// What people and subscriptions were told.
///
/// What is not told yet first, then the newest; at most 100 of 90 days.
#[utoipa::path(
    get,
    path = "/v1/alerts",
    operation_id = "listAlerts",
    tag = "alerts",
    params(OfClient),
    responses((status = 200, description = "The alerts.", body = ListDocument<'_>)),
)]
pub(crate) async fn list(desk: Desk, mut asked: Parameters) -> Result<Response, Problem> {
    let client = desk.client(asked.word("client")?)?;
    asked.end()?;
    let alerts = desk.registry().alerts(client).await?;
    let document = ListDocument {
        alerts: alerts.iter().map(AlertDocument::from).collect(),
    };
    Ok(Json(document).into_response())
}
