//! `/v1/egress`: how requests go out, for whoever is to let them in.

use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::query::Parameters;
use crate::{Problem, serve::House};

/// What receivers are to let in, and what may be subscribed.
#[derive(Serialize, ToSchema)]
#[schema(as = Egress)]
struct EgressDocument<'a> {
    /// Addresses, and ranges of them, that requests come from: `203.0.113.7`, `198.51.100.0/24`. Empty: not known.
    seen_from: &'a [String],
    /// The ports that a subscription's URL may name, in order.
    ports: Vec<u16>,
}

/// Where requests come from, for the allow-lists of receivers.
#[utoipa::path(
    get,
    path = "/v1/egress",
    operation_id = "getEgress",
    tag = "catalogue",
    responses((status = 200, description = "The way out.", body = EgressDocument<'_>)),
)]
pub(crate) async fn show(
    State(house): State<House>,
    asked: Parameters,
) -> Result<Response, Problem> {
    asked.end()?;
    let mut ports = house.options.egress.allow_ports.clone();
    ports.sort_unstable();
    ports.dedup();
    let document = EgressDocument {
        seen_from: &house.options.seen_from,
        ports,
    };
    Ok(Json(document).into_response())
}
