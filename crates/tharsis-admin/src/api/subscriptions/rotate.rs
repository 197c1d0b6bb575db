use axum::response::Response;
use serde::Deserialize;
use tharsis::parse_duration;
use utoipa::ToSchema;

use super::{
    field::{Field, Unseen},
    made,
    registration::INSIST,
};
use crate::{
    Problem,
    api::{
        etag::IfMatch,
        input::{Input, Path},
    },
    desk::Desk,
    documents::MadeSubscriptionDocument,
    registering::{self, Chosen},
};

/// The secret that is to take the place of the present one.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rotation {
    /// Null: none. Where nothing is said, one is generated.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    secret: Field<Unseen<String>>,
    /// Takes one that is short, regular or well known.
    #[serde(default)]
    accept_weak_secret: bool,
    /// How long the former one signs beside it: a span of at most 30 days.
    #[schema(pattern = "^([0-9]+(d|h|m|s|ms))+$")]
    overlap: Option<String>,
}

/// Replaces the secret of a subscription. One that is generated is shown this once.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{id}/rotate",
    operation_id = "rotateSecret",
    tag = "subscriptions",
    params(("id" = String, Path, format = "uuid", description = "Its id."), IfMatch),
    request_body = Rotation,
    responses((
        status = 200, description = "It is replaced.", body = MadeSubscriptionDocument<'_>,
        headers(("ETag" = String, description = "Its version."))
    )),
)]
pub(crate) async fn rotate(
    desk: Desk,
    Path(id): Path<String>,
    version: IfMatch,
    Input(said): Input<Rotation>,
) -> Result<Response, Problem> {
    let present = desk.subscription(&id).await?;
    version.allow(present.version)?;
    let overlap = said.overlap.as_deref().map(parse_duration).transpose();
    let overlap = overlap.map_err(|e| e.at("overlap"))?;
    let chosen = Chosen::of(
        &present.settings.profile,
        said.secret.wanted(),
        said.accept_weak_secret,
        INSIST,
    )?;
    let registry = desk.registry();
    let rotated = registering::rotate(registry, &present, &chosen, overlap, desk.by()).await?;
    Ok(made(&rotated, Some(&chosen)))
}
