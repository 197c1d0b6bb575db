use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use tharsis::{CheckMethod, subscription::Draft};

use super::registration::{Registration, missing};
use crate::{
    Problem,
    api::{etag, input::Input},
    desk::Desk,
    documents::MadeSubscriptionDocument,
    registering::{add, knows_secret},
};

/// Registers a URL, once it has proved that it is there.
///
/// A secret that is generated is shown this once.
#[utoipa::path(
    post,
    path = "/v1/subscriptions",
    operation_id = "createSubscription",
    tag = "subscriptions",
    request_body = Registration,
    responses((
        status = 201, description = "It is registered.", body = MadeSubscriptionDocument<'_>,
        headers(
            ("Location" = String, description = "Where it is."),
            ("ETag" = String, description = "Its version.")
        )
    )),
)]
pub(crate) async fn create(
    desk: Desk,
    Input(said): Input<Registration>,
) -> Result<Response, Problem> {
    let client = desk.client(said.client()?)?;
    let client = client.ok_or_else(|| missing("client"))?;
    let draft = said.over(Draft {
        client: client.to_string(),
        ..Draft::default()
    })?;
    let options = desk.options();
    let settings = draft.settings(&options.egress, &options.profiles)?;
    let method = CheckMethod::of(&settings.profile, said.check())?;
    let chosen = said.chosen(&settings.profile)?;
    knows_secret(method, chosen.generated)?;
    let headers = said.headers()?.unwrap_or_default();
    let added = add(
        desk.emitter(),
        &settings,
        &chosen,
        headers,
        Some(method),
        desk.by(),
    )
    .await?;
    let headers = [
        (header::LOCATION, format!("/v1/subscriptions/{}", added.id)),
        (header::ETAG, etag::tag(added.version)),
    ];
    let document = MadeSubscriptionDocument::of(&added, Some(&chosen));
    Ok((StatusCode::CREATED, headers, Json(document)).into_response())
}
