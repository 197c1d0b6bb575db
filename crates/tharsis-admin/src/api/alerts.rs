//! `/v1/alerts`: what people and subscriptions were told.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tharsis::Registry;

use super::query::Parameters;
use crate::{Problem, desk::Desk, documents::AlertDocument};

/// What is not told yet first, then the newest; at most 100 of 90 days.
pub(crate) async fn list(desk: Desk, mut asked: Parameters) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Document<'a> {
        alerts: Vec<AlertDocument<'a>>,
    }
    let client = desk.client(asked.word("client")?)?;
    asked.end()?;
    let alerts = desk.registry().alerts(client).await?;
    let document = Document {
        alerts: alerts.iter().map(AlertDocument::from).collect(),
    };
    Ok(Json(document).into_response())
}
