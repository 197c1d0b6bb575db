//! `/v1/audit`: who did what to what.

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tharsis::Registry;
use utoipa::ToSchema;

use super::query::{OfClient, Parameters};
use crate::{Problem, desk::Desk, documents::AuditDocument};

#[derive(Serialize, ToSchema)]
#[schema(as = AuditPage)]
struct PageDocument<'a> {
    entries: Vec<AuditDocument<'a>>,
    /// Hand it over as `after`; null at the end.
    next: Option<String>,
}

/// Who did what to what, newest first.
#[utoipa::path(
    get,
    path = "/v1/audit",
    operation_id = "listAudit",
    tag = "audit",
    params(
        OfClient,
        ("after" = Option<String>, Query, description = "The `next` of the page before."),
        (
            "limit" = Option<u32>, Query, minimum = 1, maximum = 1000,
            description = "The most entries of the page; 50 unless it is said."
        ),
    ),
    responses((status = 200, description = "A page of the audit.", body = PageDocument<'_>)),
)]
pub(crate) async fn list(desk: Desk, mut asked: Parameters) -> Result<Response, Problem> {
    let client = desk.client(asked.word("client")?)?;
    let (after, limit) = (asked.text("after")?, asked.limit(1_000)?);
    asked.end()?;
    let page = desk
        .registry()
        .audit(client, after.as_deref(), limit)
        .await?;
    let document = PageDocument {
        entries: page.items.iter().map(AuditDocument::from).collect(),
        next: page.next,
    };
    Ok(Json(document).into_response())
}
