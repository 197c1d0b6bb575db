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

use super::{
    etag::{self, IfMatch},
    input::{Input, Path},
    query::Parameters,
};
use crate::{
    Problem,
    desk::Desk,
    documents::{
        MadeSubscriptionDocument, ReceiverDocument, RemovedDocument, SubscriptionDocument,
    },
    registering::Chosen,
};

pub(crate) use change::change;
pub(crate) use create::create;
pub(crate) use rotate::rotate;
pub(crate) use trying::{filter_test, test};

/// All of them, oldest first.
pub(crate) async fn list(desk: Desk, mut asked: Parameters) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Document<'a> {
        subscriptions: Vec<SubscriptionDocument<'a>>,
    }
    let client = desk.client(asked.word("client")?)?;
    asked.end()?;
    let subscriptions = desk.registry().list(client).await?;
    let document = Document {
        subscriptions: subscriptions
            .iter()
            .map(SubscriptionDocument::from)
            .collect(),
    };
    Ok(Json(document).into_response())
}

/// One of them.
pub(crate) async fn show(desk: Desk, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(made(&desk.subscription(&id).await?, None))
}

/// How its receiver does, and what it has been through.
pub(crate) async fn health(desk: Desk, Path(id): Path<String>) -> Result<Response, Problem> {
    let found = desk.subscription(&id).await?;
    let transitions = desk.registry().transitions(found.id).await?;
    Ok(Json(ReceiverDocument::of(&found, &transitions)).into_response())
}

/// Holds its deliveries.
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

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Resume {
    held: Option<String>,
}

/// Lets them go again: all of those that were held, unless it is said which.
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

/// Removes it. What is not delivered ends cancelled.
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
