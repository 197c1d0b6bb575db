//! `/v1/subscriptions`: who wants which events, and where.

mod change;
mod create;
mod field;
mod registration;
mod rotate;
mod trying;

use axum::{
    Json,
    http::header,
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use tharsis::{
    Invalid, Registry,
    subscription::{Held, Subscription},
};
use utoipa::ToSchema;

use super::{
    etag::{self, IfMatch},
    input::{Input, Path},
    query::{OfClient, Parameters},
};
use crate::{
    Problem,
    desk::Desk,
    documents::{
        MadeSubscriptionDocument, ReceiverDocument, RemovedDocument, SubscriptionDocument, words,
    },
    registering::Chosen,
};

// With each handler what it says of itself, which stands beside it under this name.
pub(crate) use change::{__path_change, change};
pub(crate) use create::{__path_create, create};
pub(crate) use rotate::{__path_rotate, rotate};
pub(crate) use trying::{__path_filter_test, __path_test, filter_test, test};

#[derive(Serialize, ToSchema)]
#[schema(as = SubscriptionList)]
struct ListDocument<'a> {
    subscriptions: Vec<SubscriptionDocument<'a>>,
}

/// All subscriptions, oldest first.
#[utoipa::path(
    get,
    path = "/v1/subscriptions",
    operation_id = "listSubscriptions",
    tag = "subscriptions",
    params(OfClient),
    responses((status = 200, description = "The subscriptions.", body = ListDocument<'_>)),
)]
pub(crate) async fn list(desk: Desk, mut asked: Parameters) -> Result<Response, Problem> {
    let client = desk.client(asked.word("client")?)?;
    asked.end()?;
    let subscriptions = desk.registry().list(client).await?;
    let document = ListDocument {
        subscriptions: subscriptions
            .iter()
            .map(SubscriptionDocument::from)
            .collect(),
    };
    Ok(Json(document).into_response())
}

/// One subscription.
#[utoipa::path(
    get,
    path = "/v1/subscriptions/{id}",
    operation_id = "getSubscription",
    tag = "subscriptions",
    params(("id" = String, Path, format = "uuid", description = "Its id.")),
    responses((
        status = 200, description = "The subscription.", body = SubscriptionDocument<'_>,
        headers(("ETag" = String, description = "Its version."))
    )),
)]
pub(crate) async fn show(desk: Desk, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(made(&desk.subscription(&id).await?, None))
}

/// How the receiver of a subscription does, and what it has been through.
#[utoipa::path(
    get,
    path = "/v1/subscriptions/{id}/health",
    operation_id = "getSubscriptionHealth",
    tag = "subscriptions",
    params(("id" = String, Path, format = "uuid", description = "Its id.")),
    responses((status = 200, description = "Its health.", body = ReceiverDocument<'_>)),
)]
pub(crate) async fn health(desk: Desk, Path(id): Path<String>) -> Result<Response, Problem> {
    let found = desk.subscription(&id).await?;
    let transitions = desk.registry().transitions(found.id).await?;
    Ok(Json(ReceiverDocument::of(&found, &transitions)).into_response())
}

/// Holds the deliveries of a subscription.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{id}/pause",
    operation_id = "pauseSubscription",
    tag = "subscriptions",
    params(("id" = String, Path, format = "uuid", description = "Its id."), IfMatch),
    responses((
        status = 200, description = "It is paused.", body = SubscriptionDocument<'_>,
        headers(("ETag" = String, description = "Its version."))
    )),
)]
pub(crate) async fn pause(
    desk: Desk,
    Path(id): Path<String>,
    version: IfMatch,
) -> Result<Response, Problem> {
    let found = desk.subscription(&id).await?;
    version.allow(found.version)?;
    let paused = desk.registry().pause(found.id, desk.by()).await?;
    Ok(made(&paused, None))
}

/// What is to become of the deliveries that were held.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct Resume {
    /// Which go out; null: all.
    #[schema(value_type = Option<words::Held>)]
    held: Option<String>,
}

/// Lets the deliveries of a subscription go again: all of those that were held, unless it is said which.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{id}/resume",
    operation_id = "resumeSubscription",
    tag = "subscriptions",
    params(("id" = String, Path, format = "uuid", description = "Its id."), IfMatch),
    request_body = Resume,
    responses((
        status = 200, description = "It is delivered to.", body = SubscriptionDocument<'_>,
        headers(("ETag" = String, description = "Its version."))
    )),
)]
pub(crate) async fn resume(
    desk: Desk,
    Path(id): Path<String>,
    version: IfMatch,
    Input(wanted): Input<Resume>,
) -> Result<Response, Problem> {
    let held = match wanted.held.as_deref() {
        None => Held::default(),
        Some(word) => Held::parse(word).ok_or_else(|| {
            Invalid::new("bad_choice", "is none of all, latest and none").at("held")
        })?,
    };
    let found = desk.subscription(&id).await?;
    version.allow(found.version)?;
    let resumed = desk.registry().resume(found.id, held, desk.by()).await?;
    Ok(made(&resumed, None))
}

/// Removes a subscription. What is not delivered ends cancelled.
#[utoipa::path(
    delete,
    path = "/v1/subscriptions/{id}",
    operation_id = "removeSubscription",
    tag = "subscriptions",
    params(("id" = String, Path, format = "uuid", description = "Its id."), IfMatch),
    responses((status = 200, description = "It is removed.", body = RemovedDocument)),
)]
pub(crate) async fn remove(
    desk: Desk,
    Path(id): Path<String>,
    version: IfMatch,
) -> Result<Response, Problem> {
    let found = desk.subscription(&id).await?;
    version.allow(found.version)?;
    let removed = desk.registry().remove(found.id, desk.by()).await?;
    Ok(Json(RemovedDocument::of(found.id, removed)).into_response())
}

/// A subscription as it is now, with the secret that was chosen for it, where that was generated.
fn made(subscription: &Subscription, chosen: Option<&Chosen>) -> Response {
    let headers = [(header::ETAG, etag::tag(subscription.version))];
    let document = MadeSubscriptionDocument::of(subscription, chosen);
    (headers, Json(document)).into_response()
}
