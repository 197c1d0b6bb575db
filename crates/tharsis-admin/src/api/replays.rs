//! `/v1/replays`: past deliveries, made due again.

use std::{borrow::Cow, collections::BTreeSet};

use axum::{
    Json,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::{Deserialize, Serialize};
use tharsis::{
    ClientId, DeliveryId, Invalid, Registry, SubscriptionId,
    store::{DeliveryFilter, Replay, ReplayChoice, ReplayDraft, ReplayKey, StoreError},
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr,
        schema::{ObjectBuilder, Schema, SchemaFormat, Type},
    },
};

use super::{
    deliveries,
    input::{Input, Path, word},
    query::{OfClient, Parameters},
};
use crate::{
    Problem,
    desk::Desk,
    documents::{PreviewDocument, ReplayDocument, words},
    preview::{check, preview},
};

/// The most deliveries that are named in one request: each is looked at.
const MOST: usize = 100;

#[derive(Serialize, ToSchema)]
#[schema(as = ReplayList)]
struct ListDocument {
    replays: Vec<ReplayDocument>,
}

/// Replays, newest first, at most 100.
#[utoipa::path(
    get,
    path = "/v1/replays",
    operation_id = "listReplays",
    tag = "replays",
    params(OfClient),
    responses((status = 200, description = "The replays.", body = ListDocument)),
)]
pub(crate) async fn list(desk: Desk, mut asked: Parameters) -> Result<Response, Problem> {
    let client = desk.client(asked.word("client")?)?;
    asked.end()?;
    let replays = desk.registry().replays(client).await?;
    let document = ListDocument {
        replays: replays.iter().map(ReplayDocument::from).collect(),
    };
    Ok(Json(document).into_response())
}

/// What is to be sent again, and how. Of `deliveries`, `filter` and `missing` there is one.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = ReplayRequest)]
pub(crate) struct Wanted {
    /// Of this client alone.
    #[schema(format = "uuid")]
    pub(crate) client: Option<String>,
    /// These, each as `EVENT/SUBSCRIPTION`.
    #[schema(
        min_items = 1,
        max_items = 1000,
        pattern = "^[0-9A-Fa-f-]{36}/[0-9A-Fa-f-]{36}$"
    )]
    pub(crate) deliveries: Option<Vec<String>>,
    /// What matches and has ended.
    #[schema(value_type = Option<deliveries::Filter>)]
    pub(crate) filter: Option<Parameters>,
    /// What the `subscription` wants of the events that match, and was never delivered to it.
    #[schema(value_type = Option<Missed>)]
    pub(crate) missing: Option<Parameters>,
    /// The subscription that it goes to in place of their own; not of what was never delivered.
    #[schema(format = "uuid")]
    pub(crate) to: Option<String>,
    /// No faster than this: `10/s`, `300/m`, `5/h`; null: as fast as receivers take it.
    #[schema(pattern = "^[0-9]{1,5}/[smh]$")]
    pub(crate) rate: Option<String>,
    /// Null: `same`.
    #[schema(value_type = Option<words::ReplayKey>)]
    pub(crate) key: Option<String>,
    /// Nothing is sent; it is told what it would take.
    #[serde(default)]
    pub(crate) dry_run: bool,
}

/// A filter of what a subscription misses: of what was never delivered nothing ended, and there is no other subscription.
pub(crate) struct Missed;

impl PartialSchema for Missed {
    fn schema() -> RefOr<Schema> {
        let mut schema = deliveries::Filter::schema();
        if let RefOr::T(Schema::Object(object)) = &mut schema {
            object.description =
                Some("Which events: by the parameters of `GET /v1/deliveries`.".to_owned());
            for name in ["status", "ended_since"] {
                object.properties.remove(name);
            }
            let subscription = ObjectBuilder::new()
                .schema_type(Type::String)
                .format(Some(SchemaFormat::Custom("uuid".to_owned())))
                .description(Some("The one that misses them."));
            (object.properties).insert("subscription".to_owned(), subscription.into());
            object.required.push("subscription".to_owned());
        }
        schema
    }
}

impl ToSchema for Missed {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("MissedFilter")
    }
}

/// Asks for a replay, or says what it would take.
///
/// How many a filter finds is not counted unless it is a dry run, for that may take its time.
#[utoipa::path(
    post,
    path = "/v1/replays",
    operation_id = "createReplay",
    tag = "replays",
    request_body = Wanted,
    responses(
        (
            status = 201, description = "It is asked for.", body = ReplayDocument,
            headers(("Location" = String, description = "Where it is told how far it is."))
        ),
        (status = 200, description = "What it would take: it was a dry run.", body = PreviewDocument<'_>),
    ),
)]
pub(crate) async fn create(desk: Desk, Input(wanted): Input<Wanted>) -> Result<Response, Problem> {
    let is_dry_run = wanted.dry_run;
    let draft = draft(&desk, wanted).await?;
    if is_dry_run {
        let to = draft.to.map(|to| to.to_string());
        let preview = preview(desk.registry(), &draft, to.as_deref(), None).await?;
        return Ok(Json(PreviewDocument::from(&preview)).into_response());
    }
    let replay = desk.registry().replay(&draft, desk.by()).await?;
    let location = [(header::LOCATION, format!("/v1/replays/{}", replay.id))];
    let document = Json(ReplayDocument::from(&replay));
    Ok((StatusCode::CREATED, location, document).into_response())
}

/// How far a replay is.
#[utoipa::path(
    get,
    path = "/v1/replays/{id}",
    operation_id = "getReplay",
    tag = "replays",
    params(("id" = String, Path, format = "uuid", description = "Its id.")),
    responses((status = 200, description = "The replay.", body = ReplayDocument)),
)]
pub(crate) async fn show(desk: Desk, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(shown(&desk.replay(&id).await?))
}

/// Holds a replay: nothing more of it becomes due until it is resumed.
#[utoipa::path(
    post,
    path = "/v1/replays/{id}/pause",
    operation_id = "pauseReplay",
    tag = "replays",
    params(("id" = String, Path, format = "uuid", description = "Its id.")),
    responses((status = 200, description = "It is paused.", body = ReplayDocument)),
)]
pub(crate) async fn pause(desk: Desk, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = desk.replay(&id).await?.id;
    Ok(shown(&desk.registry().pause_replay(id, desk.by()).await?))
}

/// Lets a replay go on.
#[utoipa::path(
    post,
    path = "/v1/replays/{id}/resume",
    operation_id = "resumeReplay",
    tag = "replays",
    params(("id" = String, Path, format = "uuid", description = "Its id.")),
    responses((status = 200, description = "It goes on.", body = ReplayDocument)),
)]
pub(crate) async fn resume(desk: Desk, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = desk.replay(&id).await?.id;
    Ok(shown(&desk.registry().resume_replay(id, desk.by()).await?))
}

/// Calls a replay off for ever.
#[utoipa::path(
    post,
    path = "/v1/replays/{id}/cancel",
    operation_id = "cancelReplay",
    tag = "replays",
    params(("id" = String, Path, format = "uuid", description = "Its id.")),
    responses((status = 200, description = "It is called off.", body = ReplayDocument)),
)]
pub(crate) async fn cancel(desk: Desk, Path(id): Path<String>) -> Result<Response, Problem> {
    let id = desk.replay(&id).await?.id;
    Ok(shown(&desk.registry().cancel_replay(id, desk.by()).await?))
}

fn shown(replay: &Replay) -> Response {
    Json(ReplayDocument::from(replay)).into_response()
}

/// What is asked for, as far as the caller sees it.
pub(crate) async fn draft(desk: &Desk, wanted: Wanted) -> Result<ReplayDraft, Problem> {
    if wanted.to.is_some() && wanted.missing.is_some() {
        let message =
            "is not for what was never delivered: that goes to the subscription that misses it";
        return Err(Invalid::new("bad_choice", message).at("to").into());
    }
    let asked: Option<ClientId> = word("client", wanted.client.as_deref())?;
    let rate = word("rate", wanted.rate.as_deref())?;
    let key = key(wanted.key.as_deref())?;
    let choice = choice(wanted.deliveries, wanted.filter, wanted.missing)?;
    if asked.is_none() && choice == ReplayChoice::Filter(DeliveryFilter::default()) {
        return Err(nothing_chosen("filter").into());
    }
    let mut client = desk.client(asked)?;
    let to = match &wanted.to {
        Some(to) => Some(subscription(desk, to, &mut client).await?),
        None => None,
    };
    let mut expected = None;
    match &choice {
        ReplayChoice::Deliveries(ids) => {
            look_at(desk, ids, client, to.is_none()).await?;
            expected = u64::try_from(ids.len()).ok();
        }
        ReplayChoice::Missing(of, _) => {
            subscription(desk, &of.to_string(), &mut client).await?;
        }
        ReplayChoice::Filter(_) => {}
    }
    let mut draft = ReplayDraft::new(choice);
    draft.client = client;
    draft.key = key;
    draft.to = to;
    draft.rate = rate;
    draft.expected = expected;
    Ok(draft)
}

/// A subscription that a replay names: of its client, or else the replay is of the client of that.
async fn subscription(
    desk: &Desk,
    id: &str,
    client: &mut Option<ClientId>,
) -> Result<SubscriptionId, Problem> {
    let found = desk.subscription(id).await?;
    let its = found.settings.client;
    match *client.get_or_insert(its) == its {
        true => Ok(found.id),
        false => Err(Problem::not_found("subscription")),
    }
}

/// Says at once of what is named what cannot be sent again.
async fn look_at(
    desk: &Desk,
    ids: &[DeliveryId],
    client: Option<ClientId>,
    goes_to_its_own: bool,
) -> Result<(), Problem> {
    for id in ids {
        let (event, subscription) = (id.event.to_string(), id.subscription.to_string());
        let row = desk.delivery(&event, &subscription).await?.row;
        if client.is_some_and(|client| client != row.client) {
            return Err(Problem::not_found("delivery"));
        }
        match check(desk.registry(), &row, desk.caller.at, goes_to_its_own).await {
            Err(StoreError::Invalid(invalid)) => return Err(invalid.at("deliveries").into()),
            checked => checked?,
        }
    }
    Ok(())
}

fn key(word: Option<&str>) -> Result<ReplayKey, Invalid> {
    let Some(word) = word else {
        return Ok(ReplayKey::default());
    };
    [ReplayKey::Same, ReplayKey::Fresh]
        .into_iter()
        .find(|key| key.as_str() == word)
        .ok_or_else(|| Invalid::new("bad_choice", "is neither same nor fresh").at("key"))
}

fn choice(
    named: Option<Vec<String>>,
    matching: Option<Parameters>,
    missing: Option<Parameters>,
) -> Result<ReplayChoice, Problem> {
    match (named, matching, missing) {
        (Some(named), None, None) => Ok(ReplayChoice::Deliveries(ids(&named)?)),
        (None, Some(asked), None) => {
            let filter = filter(asked).map_err(|problem| problem.within("filter"))?;
            Ok(ReplayChoice::Filter(filter))
        }
        (None, None, Some(asked)) => {
            let (of, filter) = missed(asked).map_err(|problem| problem.within("missing"))?;
            Ok(ReplayChoice::Missing(of, filter))
        }
        _ => Err(Invalid::new(
            "bad_choice",
            "takes exactly one of deliveries, filter and missing",
        )
        .hint("name deliveries, or say which by a filter, or which subscription misses what")
        .into()),
    }
}

fn ids(named: &[String]) -> Result<Vec<DeliveryId>, Invalid> {
    if named.is_empty() {
        return Err(nothing_chosen("deliveries"));
    }
    if named.len() > MOST {
        return Err(Invalid::new(
            "too_many_deliveries",
            format!("names more than {MOST} deliveries"),
        )
        .at("deliveries")
        .hint("say which by a filter, or name them in several requests"));
    }
    let ids = (named.iter().enumerate()).map(|(n, id)| {
        let at = |e: Invalid| e.at(format!("deliveries[{n}]"));
        id.parse::<DeliveryId>().map_err(at)
    });
    let ids: BTreeSet<DeliveryId> = ids.collect::<Result<_, Invalid>>()?;
    Ok(ids.into_iter().collect())
}

fn filter(mut asked: Parameters) -> Result<DeliveryFilter, Problem> {
    let filter = deliveries::filter(&mut asked)?;
    asked.end()?;
    Ok(filter)
}

/// What a subscription misses. That the filter says nothing of states is for the store to see to.
fn missed(mut asked: Parameters) -> Result<(SubscriptionId, DeliveryFilter), Problem> {
    let of = asked.word("subscription")?;
    let of = of.ok_or_else(|| Invalid::new("missing_field", "is missing").at("subscription"))?;
    Ok((of, filter(asked)?))
}

fn nothing_chosen(at: &str) -> Invalid {
    Invalid::new("nothing_chosen", "says nothing of which deliveries")
        .at(at)
        .hint(r#"for example "filter": {"status": "dead", "since": "2026-01-31T12:30:00Z"}"#)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};
    use tharsis::{Timestamp, delivery::End, store::Status};

    use super::*;

    const EVENT: &str = "019b2f6e-5a40-7c1e-9d1f-0a8f5f6b2c11";
    const SHOP: &str = "019b2f70-91d2-7b35-8f06-3f1c5d0a7e42";

    fn chosen(body: Value) -> Result<ReplayChoice, Problem> {
        let wanted: Wanted = serde_json::from_value(body).expect("a body");
        choice(wanted.deliveries, wanted.filter, wanted.missing)
    }

    /// The problem, with its code and its place.
    fn refused(body: Value) -> String {
        format!("{:?}", chosen(body).expect_err("refused"))
    }

    #[test]
    fn deliveries_are_named_once_each() {
        let id = format!("{EVENT}/{SHOP}");
        let named = chosen(json!({ "deliveries": [id, id] })).expect("a choice");
        let id = id.parse().expect("an id");
        assert_eq!(named, ReplayChoice::Deliveries(vec![id]));
        let told = refused(json!({ "deliveries": [format!("{EVENT}/{SHOP}"), "x"] }));
        assert!(
            told.contains("bad_delivery_id") && told.contains("deliveries[1]"),
            "{told}"
        );
        assert!(refused(json!({ "deliveries": [] })).contains("nothing_chosen"));
        let many = vec![format!("{EVENT}/{SHOP}"); MOST + 1];
        assert!(refused(json!({ "deliveries": many })).contains("too_many_deliveries"));
    }

    #[test]
    fn a_filter_has_the_parameters_of_the_list() {
        let body = json!({ "filter": {
            "status": ["dead", "cancelled"],
            "subscription": SHOP,
            "type": "nudge",
            "campaign": null,
            "since": "1970-01-01T00:00:01Z",
        }});
        let mut filter = DeliveryFilter::default();
        filter.status = [End::Dead, End::Cancelled].map(Status::Ended).to_vec();
        filter.subscription = vec![SHOP.parse().expect("an id")];
        filter.event_type = vec!["nudge".to_owned()];
        filter.since = Some(Timestamp::from_millis(1_000));
        assert_eq!(chosen(body), Ok(ReplayChoice::Filter(filter)));
        let told = refused(json!({ "filter": { "status": "lost" } }));
        assert!(
            told.contains("bad_status") && told.contains("filter.status"),
            "{told}"
        );
        let told = refused(json!({ "filter": { "client": EVENT } }));
        assert!(
            told.contains("unknown_parameter") && told.contains("filter.client"),
            "{told}"
        );
    }

    #[test]
    fn one_subscription_misses_something() {
        let body = json!({ "missing": { "subscription": SHOP, "campaign": "spring" } });
        let mut filter = DeliveryFilter::default();
        filter.campaign = Some("spring".to_owned());
        let of = SHOP.parse().expect("an id");
        assert_eq!(chosen(body), Ok(ReplayChoice::Missing(of, filter)));
        let told = refused(json!({ "missing": { "campaign": "spring" } }));
        assert!(told.contains("missing.subscription"), "{told}");
        let told = refused(json!({ "missing": { "subscription": [SHOP, EVENT] } }));
        assert!(told.contains("given_twice"), "{told}");
    }

    #[test]
    fn it_is_chosen_in_one_way() {
        for body in [json!({}), json!({ "filter": {}, "deliveries": [] })] {
            assert!(refused(body).contains("bad_choice"));
        }
        assert_eq!(key(None), Ok(ReplayKey::Same));
        assert_eq!(key(Some("fresh")), Ok(ReplayKey::Fresh));
        assert!(key(Some("new")).is_err());
    }
}
