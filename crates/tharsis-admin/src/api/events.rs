//! `/v1/events`: publishing, and looking at what was published.

use std::borrow::Cow;

use axum::{
    Json,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::json;
use tharsis::{Event, Invalid, event::IdempotencyKey, store::Published};
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        RefOr,
        schema::{AdditionalProperties, KnownFormat, ObjectBuilder, Schema, SchemaFormat, Type},
    },
};

use super::input::{Body, Path};
use crate::{
    Problem,
    desk::Desk,
    documents::{EventDocument, Fault, WhyDocument},
    why::judge,
};

/// The most events of one request.
const MOST: usize = 1_000;

/// An event that is to be published, as its fields are described: [`Event::parse`] reads it.
pub(crate) struct NewEvent;

impl PartialSchema for NewEvent {
    fn schema() -> RefOr<Schema> {
        let text = || ObjectBuilder::new().schema_type(Type::String);
        let label = || text().min_length(Some(1)).max_length(Some(255));
        let instant = || text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)));
        ObjectBuilder::new()
            .description(Some(
                "An event that is to be published: what it is in an envelope that never goes out. An event of a documented type that names its type and its client itself, as those of Mars do, is taken as it is, without an envelope.",
            ))
            .property(
                "type",
                text()
                    .pattern(Some("^[A-Za-z0-9._-]{1,128}$"))
                    .description(Some("What happened.")),
            )
            .required("type")
            .property(
                "client",
                text()
                    .format(Some(SchemaFormat::Custom("uuid".to_owned())))
                    .description(Some("The tenant on whose behalf it is published.")),
            )
            .property(
                "payload",
                ObjectBuilder::new().description(Some(
                    "What goes out: at most 262,144 bytes. One of a documented type has to be as its schema says.",
                )),
            )
            .property(
                "key",
                text().pattern(Some("^[!-~]{1,255}$")).description(Some(
                    "Its idempotency key within its client. Without one it is known by type and payload.",
                )),
            )
            .property(
                "campaign",
                label().description(Some("The campaign that it belongs to.")),
            )
            .property("recipient", label().description(Some("Whom it is about.")))
            .property(
                "not_before",
                instant().description(Some("No attempt goes out before.")),
            )
            .property(
                "expires_at",
                instant().description(Some("No attempt goes out then or later.")),
            )
            .additional_properties(Some(AdditionalProperties::FreeForm(true)))
            .examples([json!({
                "type": "order",
                "client": "36011017-0e00-4e29-a054-7a1fbb8b60a2",
                "payload": { "total": 0.95 },
            })])
            .into()
    }
}

impl ToSchema for NewEvent {
    fn name() -> Cow<'static, str> {
        Cow::Borrowed("NewEvent")
    }
}

/// An event that was published.
#[derive(Serialize, ToSchema)]
#[schema(as = Published)]
struct PublishedDocument {
    #[schema(format = "uuid")]
    id: String,
    /// It was published before; nothing was written.
    duplicate: bool,
}

impl From<Published> for PublishedDocument {
    fn from(published: Published) -> Self {
        Self {
            id: published.id.to_string(),
            duplicate: published.duplicate,
        }
    }
}

/// What became of a line of many.
#[derive(Serialize, ToSchema)]
#[schema(as = PublishedLine)]
struct LineDocument {
    /// From 1 on, as the lines of the body.
    line: usize,
    /// Of the event, where it was taken.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(format = "uuid", nullable = false)]
    id: Option<String>,
    /// It was published before; nothing was written.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    duplicate: Option<bool>,
    /// Why it was refused.
    error: Option<Fault>,
}

impl LineDocument {
    fn published(line: usize, published: Published) -> Self {
        let PublishedDocument { id, duplicate } = PublishedDocument::from(published);
        Self {
            line,
            id: Some(id),
            duplicate: Some(duplicate),
            error: None,
        }
    }

    fn refused(line: usize, invalid: Invalid) -> Self {
        Self {
            line,
            id: None,
            duplicate: None,
            error: Some(invalid.into()),
        }
    }
}

/// What became of many events.
#[derive(Serialize, ToSchema)]
#[schema(as = PublishedMany)]
struct ManyDocument {
    published: usize,
    duplicates: usize,
    refused: usize,
    /// In their order; of an empty line nothing is told.
    lines: Vec<LineDocument>,
}

/// What is answered: of one event, or of many.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = PublishedOneOrMany)]
enum AnswerDocument {
    One(PublishedDocument),
    Many(ManyDocument),
}

/// Publishes one event, as JSON; or many, a line each, as newline-delimited JSON.
///
/// What is answered is durable. The same event again is recognised, and is not published twice.
#[utoipa::path(
    post,
    path = "/v1/events",
    operation_id = "publishEvents",
    tag = "events",
    params((
        "Idempotency-Key" = Option<String>, Header, nullable = false, pattern = "^[!-~]{1,255}$",
        description = "The key of the event, in place of one in its envelope; only where there is one event."
    )),
    request_body(
        description = "One event; or up to 1,000, a line each.",
        content((NewEvent = "application/json"), (String = "application/x-ndjson"))
    ),
    responses(
        (status = 201, description = "It is published.", body = PublishedDocument),
        (status = 200, description = "It had been published before; or, of many, what became of each.", body = AnswerDocument),
    ),
)]
pub(crate) async fn publish(
    desk: Desk,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, Problem> {
    // One that is no text is none that is known.
    let kind = (headers.get(header::CONTENT_TYPE))
        .map(|kind| kind.to_str().unwrap_or("?").to_ascii_lowercase());
    let kind = (kind.as_deref()).map(|kind| kind.split(';').next().unwrap_or_default().trim());
    match kind {
        None | Some("application/json") => one(&desk, &headers, &body).await,
        Some("application/x-ndjson" | "application/ndjson") => {
            if headers.contains_key("idempotency-key") {
                let twice = Invalid::new("key_of_many", "is of one event, and here are many");
                return Err(twice
                    .at("idempotency-key")
                    .hint("give each event its own key")
                    .into());
            }
            many(&desk, &body).await
        }
        Some(_) => Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content_type",
            "is neither application/json nor application/x-ndjson",
        )
        .at("content-type")),
    }
}

async fn one(desk: &Desk, headers: &HeaderMap, body: &[u8]) -> Result<Response, Problem> {
    let mut event = readable(desk, body)?;
    if let Some(key) = headers.get("idempotency-key") {
        let bad = |invalid: Invalid| Problem::from(invalid.at("idempotency-key"));
        let key = key.to_str().unwrap_or_default();
        let key = IdempotencyKey::new(key).map_err(bad)?;
        if event.key().is_some_and(|own| *own != key) {
            return Err(bad(Invalid::new(
                "key_twice",
                "is another one than the event's own key",
            )));
        }
        event = event.with_key(key);
    }
    let published = desk.emitter().publish(&event).await?;
    let status = match published.duplicate {
        false => StatusCode::CREATED,
        true => StatusCode::OK,
    };
    let document = AnswerDocument::One(published.into());
    Ok((status, Json(document)).into_response())
}

/// An event that this caller may publish.
fn readable(desk: &Desk, text: &[u8]) -> Result<Event, Invalid> {
    let event = Event::parse(text)?;
    if !desk.caller.covers(event.client()) {
        return Err(
            Invalid::new("client_not_allowed", "is not the client of this token").at("client"),
        );
    }
    Ok(event)
}

async fn many(desk: &Desk, body: &[u8]) -> Result<Response, Problem> {
    let lines = body.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let lines: Vec<(usize, &[u8])> = ((1..).zip(lines))
        .filter(|(_, line)| !line.is_empty())
        .collect();
    if lines.len() > MOST {
        return Err(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_many_events",
            format!("holds more than {MOST} events"),
        )
        .hint("send them in several requests"));
    }
    let (mut numbers, mut events, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    for (number, line) in lines {
        match readable(desk, line) {
            Ok(event) => {
                numbers.push(number);
                events.push(event);
            }
            Err(invalid) => answers.push(LineDocument::refused(number, invalid)),
        }
    }
    let published = desk.emitter().publish_all(&events).await?;
    for (number, outcome) in numbers.into_iter().zip(published) {
        answers.push(match outcome {
            Ok(published) => LineDocument::published(number, published),
            Err(invalid) => LineDocument::refused(number, invalid),
        });
    }
    answers.sort_by_key(|answer| answer.line);
    let is_duplicate = |line: &&LineDocument| line.duplicate == Some(true);
    let refused = answers.iter().filter(|line| line.error.is_some()).count();
    let duplicates = answers.iter().filter(is_duplicate).count();
    let document = AnswerDocument::Many(ManyDocument {
        published: answers.len() - refused - duplicates,
        duplicates,
        refused,
        lines: answers,
    });
    Ok(Json(document).into_response())
}

/// One event, with what became of each of its deliveries.
#[utoipa::path(
    get,
    path = "/v1/events/{id}",
    operation_id = "getEvent",
    tag = "events",
    params(("id" = String, Path, format = "uuid", description = "Its id.")),
    responses((status = 200, description = "The event.", body = EventDocument<'_>)),
)]
pub(crate) async fn show(desk: Desk, Path(id): Path<String>) -> Result<Response, Problem> {
    let event = desk.event(&id).await?;
    Ok(Json(EventDocument::from(&event)).into_response())
}

/// To whom an event went, to whom not, and what its deliveries wait for.
#[utoipa::path(
    get,
    path = "/v1/events/{id}/why",
    operation_id = "explainEvent",
    tag = "events",
    params(("id" = String, Path, format = "uuid", description = "Its id.")),
    responses((status = 200, description = "What is known of it.", body = WhyDocument<'_>)),
)]
pub(crate) async fn why(desk: Desk, Path(id): Path<String>) -> Result<Response, Problem> {
    let whereabouts = desk.whereabouts(&id).await?;
    let answer = judge(&whereabouts);
    Ok(Json(WhyDocument::of(&whereabouts, &answer)).into_response())
}
