use axum::response::Response;
use serde::Deserialize;
use tharsis::parse_duration;

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
    registering::{self, Chosen},
};

/// The secret that is to take the place of the present one.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rotation {
    /// Null: none.
    secret: Field<Unseen<String>>,
    accept_weak_secret: bool,
    /// How long the former one signs beside it.
    overlap: Option<String>,
}

/// Replaces its secret. One that is generated is shown this once.
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
