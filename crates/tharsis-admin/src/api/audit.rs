//! `/v1/audit`: who did what to what.

use axum::{
    Extension, Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tharsis::Registry;

use super::query::Parameters;
use crate::{Problem, caller::Caller, documents::AuditDocument, serve::House};

/// Newest first.
pub(crate) async fn list(
    State(house): State<House>,
    Extension(caller): Extension<Caller>,
    mut asked: Parameters,
) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Document<'a> {
        entries: Vec<AuditDocument<'a>>,
        /// Hand it over as `after`; null at the end.
        next: Option<String>,
    }
    let client = caller.client(asked.word("client")?)?;
    let (after, limit) = (asked.text("after")?, asked.limit(1_000)?);
    asked.end()?;
    let page = house
        .registry()
        .audit(client, after.as_deref(), limit)
        .await?;
    let document = Document {
        entries: page.items.iter().map(AuditDocument::from).collect(),
        next: page.next,
    };
    Ok(Json(document).into_response())
}
