//! `/v1/subscriptions`: who wants which events, and where.

use axum::{
    Extension, Json,
    extract::{Path, State},
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tharsis::{
    Invalid, Registry, SubscriptionId,
    subscription::{Held, Subscription},
};

use super::query::Parameters;
use crate::{Problem, caller::Caller, documents::SubscriptionDocument, serve::House};

/// All of them, oldest first.
pub(crate) async fn list(
    State(house): State<House>,
    Extension(caller): Extension<Caller>,
    mut asked: Parameters,
) -> Result<Response, Problem> {
    #[derive(Serialize)]
    struct Document<'a> {
        subscriptions: Vec<SubscriptionDocument<'a>>,
    }
    let client = caller.client(asked.word("client")?)?;
    asked.end()?;
    let subscriptions = house.registry().list(client).await?;
    let document = Document {
        subscriptions: subscriptions
            .iter()
            .map(SubscriptionDocument::from)
            .collect(),
    };
    Ok(Json(document).into_response())
}

/// One of them.
pub(crate) async fn show(
    State(house): State<House>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    Ok(shown(&own(&house, &caller, &id).await?))
}

/// Holds its deliveries.
pub(crate) async fn pause(
    State(house): State<House>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let id = own(&house, &caller, &id).await?.id;
    Ok(shown(&house.registry().pause(id, caller.by()).await?))
}

/// Lets them go again: all of those that were held, unless it is said which.
pub(crate) async fn resume(
    State(house): State<House>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> Result<Response, Problem> {
    #[derive(Default, Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Wanted {
        held: Option<String>,
    }
    let wanted: Wanted = match body.trim_ascii() {
        [] => Wanted::default(),
        text => serde_json::from_slice(text).map_err(|error| {
            Invalid::new("bad_json", format!("is not what is taken here: {error}"))
                .hint(r#"send nothing, or {"held": "all"}, "latest" or "none""#)
        })?,
    };
    let held = match wanted.held.as_deref() {
        None => Held::default(),
        Some(word) => Held::parse(word).ok_or_else(|| {
            Invalid::new("bad_choice", "is none of all, latest and none").at("held")
        })?,
    };
    let id = own(&house, &caller, &id).await?.id;
    Ok(shown(
        &house.registry().resume(id, held, caller.by()).await?,
    ))
}

fn shown(subscription: &Subscription) -> Response {
    Json(SubscriptionDocument::from(subscription)).into_response()
}

/// One that the caller may know of.
pub(super) async fn own(house: &House, caller: &Caller, id: &str) -> Result<Subscription, Problem> {
    let unknown = || Problem::not_found("subscription");
    let parsed: SubscriptionId = id.parse().map_err(|_| unknown())?;
    let subscription = house.registry().find(parsed).await?;
    match caller.covers(subscription.settings.client) {
        true => Ok(subscription),
        false => Err(unknown()),
    }
}
