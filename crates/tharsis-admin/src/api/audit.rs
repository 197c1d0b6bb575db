//! `/v1/audit`: who did what to what.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tharsis::Registry;

use super::query::Parameters;
use crate::{Problem, desk::Desk, documents::AuditDocument};

/// Newest first.
pub(crate) async fn list(desk: Desk, mut asked: Parameters) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Document<'a> {
        entries: Vec<AuditDocument<'a>>,
        /// Hand it over as `after`; null at the end.
        next: Option<String>,
    }
    let client = desk.client(asked.word("client")?)?;
    let (after, limit) = (asked.text("after")?, asked.limit(1_000)?);
    asked.end()?;
    let page = desk
        .registry()
        .audit(client, after.as_deref(), limit)
        .await?;
    let document = Document {
        entries: page.items.iter().map(AuditDocument::from).collect(),
        next: page.next,
    };
    Ok(Json(document).into_response())
}
