//! `/v1/deliveries`: what became of events for subscriptions.

use std::borrow::Cow;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tharsis::{
    Invalid, Registry,
    store::{CommandAccepted, DeliveryFilter, Status},
};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr,
        path::Parameter,
        schema::{AdditionalProperties, ArrayItems, ObjectBuilder, OneOfBuilder, Schema, Type},
    },
};

use super::{
    input::Path,
    query::{OfClient, Parameters},
};
use crate::{
    Problem,
    desk::Desk,
    documents::{AttemptDocument, DeliveryDocument, words},
};

/// The most of one page.
const MOST: u32 = 1_000;

#[derive(Serialize, ToSchema)]
#[schema(as = DeliveryPage)]
struct PageDocument<'a> {
    deliveries: Vec<DeliveryDocument<'a>>,
    /// Hand it over as `after`; null at the end.
    next: Option<String>,
    /// Where little matches, it was looked back until then; null: far enough.
    #[schema(format = DateTime)]
    searched_until: Option<String>,
}

/// What became of events for subscriptions, newest event first.
///
/// A page that ends early says until when it looked, and may still have a next one.
#[utoipa::path(
    get,
    path = "/v1/deliveries",
    operation_id = "listDeliveries",
    tag = "deliveries",
    params(
        OfClient,
        ("status" = Option<Vec<words::DeliveryStatus>>, Query, description = "In one of these."),
        ("subscription" = Option<Vec<String>>, Query, format = "uuid", description = "For one of these."),
        ("type" = Option<Vec<String>>, Query, description = "Of events of one of these types."),
        ("campaign" = Option<String>, Query, description = "Of this campaign."),
        ("event" = Option<String>, Query, format = "uuid", description = "Of this event."),
        ("since" = Option<String>, Query, format = DateTime, description = "Of events published then or later."),
        ("until" = Option<String>, Query, format = DateTime, description = "Of events published before."),
        ("ended_since" = Option<String>, Query, format = DateTime, description = "That ended then or later."),
        ("after" = Option<String>, Query, description = "The `next` of the page before."),
        (
            "limit" = Option<u32>, Query, minimum = 1, maximum = 1000,
            description = "The most deliveries of the page; 50 unless it is said."
        ),
    ),
    responses((status = 200, description = "A page of deliveries.", body = PageDocument<'_>)),
)]
pub(crate) async fn list(desk: Desk, mut asked: Parameters) -> Result<Response, Problem> {
    let client = desk.client(asked.word("client")?)?;
    let mut filter = filter(&mut asked)?;
    filter.client = client;
    let (after, limit) = (asked.text("after")?, asked.limit(MOST)?);
    asked.end()?;
    let page = (desk.registry())
        .deliveries(&filter, after.as_deref(), limit)
        .await?;
    let document = PageDocument {
        deliveries: page.items.iter().map(DeliveryDocument::from).collect(),
        next: page.next,
        searched_until: page.searched_until.map(|at| at.to_string()),
    };
    Ok(Json(document).into_response())
}

/// Which of them is asked for. Whose they are is for the desk to say.
pub(super) fn filter(asked: &mut Parameters) -> Result<DeliveryFilter, Problem> {
    let mut filter = DeliveryFilter::default();
    filter.status = asked.all("status", |word| {
        Status::parse(word).ok_or_else(|| Invalid::new("bad_status", "is no status of a delivery"))
    })?;
    filter.subscription = asked.all("subscription", str::parse)?;
    filter.event_type = asked.all("type", |text| Ok(text.to_owned()))?;
    filter.campaign = asked.text("campaign")?;
    filter.event = asked.word("event")?;
    filter.since = asked.instant("since")?;
    filter.until = asked.instant("until")?;
    filter.ended_since = asked.instant("ended_since")?;
    Ok(filter)
}

/// What a list may ask for beside which deliveries.
const BESIDE: [&str; 3] = ["client", "after", "limit"];

/// The parameters of the list that say which, as a body has them: as an object.
pub(super) struct Filter;

impl PartialSchema for Filter {
    fn schema() -> RefOr<Schema> {
        let listed = <__path_list as utoipa::Path>::operation();
        let mut object = ObjectBuilder::new()
            .description(Some(
                "Which deliveries: by the parameters of `GET /v1/deliveries`.",
            ))
            .additional_properties(Some(AdditionalProperties::FreeForm(false)));
        for parameter in listed.parameters.into_iter().flatten() {
            let RefOr::T(Parameter {
                name,
                description,
                schema: Some(schema),
                ..
            }) = parameter
            else {
                continue;
            };
            if BESIDE.contains(&&*name) {
                continue;
            }
            let nothing = ObjectBuilder::new().schema_type(Type::Null);
            let mut any = OneOfBuilder::new().description(description).item(nothing);
            // One of several may stand there without its list.
            if let RefOr::T(Schema::Array(list)) = &schema
                && let ArrayItems::RefOrSchema(one) = &list.items
            {
                any = any.item(RefOr::clone(one));
            }
            object = object.property(name, any.item(schema));
        }
        object.into()
    }
}

impl ToSchema for Filter {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("DeliveryFilter")
    }
}

#[derive(Serialize, ToSchema)]
#[schema(as = DeliveryDetail)]
struct DetailDocument<'a> {
    #[serde(flatten)]
    delivery: DeliveryDocument<'a>,
    /// Its attempts, oldest first.
    history: Vec<AttemptDocument<'a>>,
}

/// One delivery, with its attempts.
#[utoipa::path(
    get,
    path = "/v1/deliveries/{event}/{subscription}",
    operation_id = "getDelivery",
    tag = "deliveries",
    params(
        ("event" = String, Path, format = "uuid", description = "The id of its event."),
        ("subscription" = String, Path, format = "uuid", description = "The id of its subscription."),
    ),
    responses((status = 200, description = "The delivery.", body = DetailDocument<'_>)),
)]
pub(crate) async fn show(
    desk: Desk,
    Path((event, subscription)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let detail = desk.delivery(&event, &subscription).await?;
    let document = DetailDocument {
        delivery: DeliveryDocument::from(&detail.row),
        history: detail.attempts.iter().map(AttemptDocument::from).collect(),
    };
    Ok(Json(document).into_response())
}

/// Has a delivery tried now.
#[utoipa::path(
    post,
    path = "/v1/deliveries/{event}/{subscription}/retry",
    operation_id = "retryDelivery",
    tag = "deliveries",
    params(
        ("event" = String, Path, format = "uuid", description = "The id of its event."),
        ("subscription" = String, Path, format = "uuid", description = "The id of its subscription."),
    ),
    responses((status = 202, description = "It will be.", body = AcceptedDocument)),
)]
pub(crate) async fn retry(
    desk: Desk,
    Path((event, subscription)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let id = desk.delivery(&event, &subscription).await?.row.id;
    Ok(accepted(desk.registry().retry(id, desk.by()).await?))
}

/// Gives a delivery up.
#[utoipa::path(
    post,
    path = "/v1/deliveries/{event}/{subscription}/cancel",
    operation_id = "cancelDelivery",
    tag = "deliveries",
    params(
        ("event" = String, Path, format = "uuid", description = "The id of its event."),
        ("subscription" = String, Path, format = "uuid", description = "The id of its subscription."),
    ),
    responses((status = 202, description = "It will be.", body = AcceptedDocument)),
)]
pub(crate) async fn cancel(
    desk: Desk,
    Path((event, subscription)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let id = desk.delivery(&event, &subscription).await?.row.id;
    Ok(accepted(desk.registry().cancel(id, desk.by()).await?))
}

/// That something will be done.
#[derive(Serialize, ToSchema)]
#[schema(as = Accepted)]
struct AcceptedDocument {
    /// Whether a worker is there to carry it out now.
    owned: bool,
}

/// The owner carries it out.
fn accepted(accepted: CommandAccepted) -> Response {
    let document = AcceptedDocument {
        owned: accepted.owned,
    };
    (axum::http::StatusCode::ACCEPTED, Json(document)).into_response()
}
