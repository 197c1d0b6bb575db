use std::borrow::Cow;

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tharsis::{Event, Invalid, Registry};
use tokio::task::yield_now;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        Ref, RefOr,
        schema::{ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, Type},
    },
};

use crate::{
    Problem,
    api::{
        events::NewEvent,
        input::{Input, Path},
    },
    desk::Desk,
    documents::{FilterTestDocument, TestDocument},
    trying::{self, Looked, Sent},
};

/// The most events of one request.
const MOST: usize = 100;

/// Sends a subscription the test event of its profile, once, and tells request and answer.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{id}/test",
    operation_id = "testSubscription",
    tag = "subscriptions",
    params(("id" = String, Path, format = "uuid", description = "Its id.")),
    responses((status = 200, description = "What came of it.", body = TestDocument<'_>)),
)]
pub(crate) async fn test(desk: Desk, Path(id): Path<String>) -> Result<Response, Problem> {
    let found = desk.subscription(&id).await?;
    let settings = &found.settings;
    // Under one that is not known here nothing is sent.
    let known = desk.options().profiles.named(&settings.profile.name);
    known.map_err(|e| e.at("profile"))?;
    let credentials = desk.registry().credentials(found.id).await?;
    let client = desk.emitter().client()?;
    let sent = Sent::test(client, settings, &credentials, found.id, desk.caller.at).await?;
    Ok(Json(TestDocument::from(&sent)).into_response())
}

/// What a filter is tried on: `events`, the `last` ones, or both.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = FilterTrial)]
pub(crate) struct Trial {
    /// In place of its own.
    #[schema(min_length = 1, max_length = 2048)]
    filter: Option<String>,
    /// Each as it would be published, or the id of a past one.
    #[serde(default)]
    #[schema(value_type = Vec<Tried>, max_items = 100)]
    events: Vec<Box<RawValue>>,
    /// So many of the last ones of its client, of the types that it wants, that went to anybody.
    #[schema(minimum = 1, maximum = 100)]
    last: Option<u32>,
}

/// An event that a filter is tried on, as it is described.
pub(crate) struct Tried;

impl PartialSchema for Tried {
    fn schema() -> RefOr<Schema> {
        let id = ObjectBuilder::new()
            .schema_type(Type::String)
            .format(Some(SchemaFormat::Custom("uuid".to_owned())));
        OneOfBuilder::new()
            .description(Some(
                "An event as it would be published, or the id of a past one.",
            ))
            .item(Ref::from_schema_name(NewEvent::name()))
            .item(id)
            .into()
    }
}

impl ToSchema for Tried {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("TriedEvent")
    }

    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        schemas.push((NewEvent::name().into_owned(), NewEvent::schema()));
    }
}

/// Tells what the filter of a subscription, or another one, does to events.
///
/// Nothing is sent and nothing is changed.
#[utoipa::path(
    post,
    path = "/v1/subscriptions/{id}/filter-test",
    operation_id = "testFilter",
    tag = "subscriptions",
    params(("id" = String, Path, format = "uuid", description = "Its id.")),
    request_body = Trial,
    responses((status = 200, description = "What it does to each.", body = FilterTestDocument<'_>)),
)]
pub(crate) async fn filter_test(
    desk: Desk,
    Path(id): Path<String>,
    Input(trial): Input<Trial>,
) -> Result<Response, Problem> {
    let settings = desk.subscription(&id).await?.settings;
    let filter = trying::filter(trial.filter.as_deref(), Some(&settings))?;
    let mut looked = Vec::new();
    for (i, event) in trial.events()?.iter().enumerate() {
        let place = format!("events[{i}]");
        looked.push(match serde_json::from_str::<String>(event.get()) {
            Ok(id) => Looked::from(desk.event(&id).await?),
            Err(_) => {
                let event = Event::parse(event.get().as_bytes());
                let event = event.map_err(|e| e.at(&place))?;
                Looked::given(place, &event)
            }
        });
    }
    if let Some(last) = trial.last {
        for id in trying::past(desk.registry(), &settings, last, trying::PATIENCE).await? {
            looked.push(Looked::from(desk.registry().event(id).await?));
        }
    }
    let mut judged = Vec::new();
    for event in looked {
        judged.push(event.judge(&filter, Some(&settings)));
        // A costly one keeps nobody waiting.
        yield_now().await;
    }
    Ok(Json(FilterTestDocument::of(&filter, judged)).into_response())
}

impl Trial {
    /// Those that are given, where there is something to look at.
    fn events(&self) -> Result<&[Box<RawValue>], Invalid> {
        let most = u32::try_from(MOST).unwrap_or(u32::MAX);
        if self.last.is_some_and(|last| !(1..=most).contains(&last)) {
            let out = Invalid::new("out_of_range", format!("is no number from 1 to {MOST}"));
            return Err(out.at("last"));
        }
        if self.events.len() > MOST {
            let many = Invalid::new("too_many_events", format!("are more than {MOST}"));
            return Err(many.at("events").hint("send them in several requests"));
        }
        if self.events.is_empty() && self.last.is_none() {
            return Err(Invalid::new("missing_field", "is missing")
                .at("events")
                .hint("give events as they are published, ids of past ones, or how many of the last ones to look at"));
        }
        Ok(&self.events)
    }
}
