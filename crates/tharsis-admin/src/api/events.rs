//! `/v1/events`: publishing, and looking at what was published.

use axum::{
    Json,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tharsis::{Event, Invalid, event::IdempotencyKey, store::Published};

use super::input::{Body, Path};
use crate::{
    Problem,
    desk::Desk,
    documents::{EventDocument, Fault, WhyDocument},
    why::judge,
};

/// The most events of one request.
const MOST: usize = 1_000;

#[derive(Serialize)]
struct PublishedDocument {
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

/// One event, as JSON; or many, a line each, as newline-delimited JSON. What is answered is durable.
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
    Ok((status, Json(PublishedDocument::from(published))).into_response())
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
    #[derive(Serialize)]
    struct Line {
        /// From 1 on, as the lines of the body.
        line: usize,
        #[serde(flatten)]
        published: Option<PublishedDocument>,
        error: Option<Fault>,
    }
    #[derive(Serialize)]
    struct Document {
        published: usize,
        duplicates: usize,
        refused: usize,
        lines: Vec<Line>,
    }

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
    let refused = |line, invalid: Invalid| Line {
        line,
        published: None,
        error: Some(invalid.into()),
    };
    for (number, line) in lines {
        match readable(desk, line) {
            Ok(event) => {
                numbers.push(number);
                events.push(event);
            }
            Err(invalid) => answers.push(refused(number, invalid)),
        }
    }
    let published = desk.emitter().publish_all(&events).await?;
    for (number, outcome) in numbers.into_iter().zip(published) {
        answers.push(match outcome {
            Ok(published) => Line {
                line: number,
                published: Some(published.into()),
                error: None,
            },
            Err(invalid) => refused(number, invalid),
        });
    }
    answers.sort_by_key(|answer| answer.line);
    let is_duplicate = |line: &&Line| line.published.as_ref().is_some_and(|one| one.duplicate);
    let refused = answers.iter().filter(|line| line.error.is_some()).count();
    let duplicates = answers.iter().filter(is_duplicate).count();
    Ok(Json(Document {
        published: answers.len() - refused - duplicates,
        duplicates,
        refused,
        lines: answers,
    })
    .into_response())
}

/// One event with the state of each of its deliveries.
pub(crate) async fn show(desk: Desk, Path(id): Path<String>) -> Result<Response, Problem> {
    let event = desk.event(&id).await?;
    Ok(Json(EventDocument::from(&event)).into_response())
}

/// To whom it went, to whom not, and what its deliveries wait for.
pub(crate) async fn why(desk: Desk, Path(id): Path<String>) -> Result<Response, Problem> {
    let whereabouts = desk.whereabouts(&id).await?;
    let answer = judge(&whereabouts);
    Ok(Json(WhyDocument::of(&whereabouts, &answer)).into_response())
}
