//! Trying a filter on what was published last.

use askama::Template;
use axum::{http::StatusCode, response::Response};
use tharsis::{Registry, subscription::Settings, text::excerpt};
use tokio::task::yield_now;

use super::path;
use crate::{
    Problem,
    documents::JudgedDocument,
    pages::{
        PATIENCE,
        deliveries::abridged,
        fields::{Input, is_of},
        form::Form,
        layout::{self, Frame},
        visit::{Path, Visit},
    },
    text::counted,
    trying::{self, Looked},
};

/// It is tried on so many.
const LAST: u32 = 20;

/// So much of a reason is shown, in characters.
const REASON: usize = 200;

#[derive(Template)]
#[template(path = "filter.html")]
struct Page {
    frame: Frame,
    path: String,
    name: String,
    /// Where it is about no field.
    problem: Option<String>,
    inputs: Vec<Input>,
    /// How many match of how many; `None`: nothing was tried.
    found: Option<String>,
    rows: Vec<Row>,
}

struct Row {
    href: String,
    /// Abridged.
    event: String,
    event_type: String,
    matches: bool,
    /// Why it does not.
    reason: Option<String>,
}

impl From<JudgedDocument> for Row {
    fn from(judged: JudgedDocument) -> Self {
        let reason = judged.reason.as_deref();
        Self {
            href: format!("/events/{}", judged.event),
            event: abridged(&judged.event),
            event_type: judged.r#type,
            matches: judged.wanted,
            reason: reason.map(|reason| excerpt(reason.as_bytes(), REASON)),
        }
    }
}

/// Tells what a filter, its own unless another one is typed, does to the last events. Nothing is changed.
pub(crate) async fn filter(
    visit: Visit,
    Path(id): Path<String>,
    asked: Form,
) -> Result<Response, Problem> {
    let found = visit.desk.subscription(&id).await?;
    let settings = &found.settings;
    let is_typed = asked.text("filter").is_some();
    let typed = match &settings.filter {
        Some(own) if !is_typed => asked.with("filter", own.text()),
        _ => asked,
    };
    let tried = match typed.text("filter") {
        Some(text) => judged(&visit, settings, text).await.map(Some),
        None => Ok(None),
    };
    let (judged, problem) = match tried {
        Ok(judged) => (judged, None),
        Err(problem) if problem.status() == StatusCode::UNPROCESSABLE_ENTITY => {
            (None, Some(problem))
        }
        Err(problem) => return Err(problem),
    };
    let status = (problem.as_ref()).map_or(StatusCode::OK, Problem::status);
    let input = Input::new("filter", "Filter")
        .hint("an expression that is true of the events that it gets, such as event.channel == \"push\"")
        .long();
    let unplaced = (problem.as_ref()).filter(|problem| !is_of(problem, "filter"));
    let page = Page {
        frame: visit.frame("Try a filter"),
        path: path(found.id),
        name: settings.name.clone(),
        problem: unplaced.map(layout::sentence),
        inputs: vec![input.after(&typed, problem.as_ref())],
        found: judged.as_deref().map(told),
        rows: judged.into_iter().flatten().map(Row::from).collect(),
    };
    layout::answer(status, &page)
}

async fn judged(
    visit: &Visit,
    settings: &Settings,
    text: &str,
) -> Result<Vec<JudgedDocument>, Problem> {
    let registry = visit.desk.registry();
    let filter = trying::filter(Some(text), Some(settings))?;
    let mut judged = Vec::new();
    for id in trying::past(registry, settings, LAST, PATIENCE).await? {
        let event = Looked::from(registry.event(id).await?);
        judged.push(event.judge(&filter, Some(settings)));
        // A costly one keeps nobody waiting.
        yield_now().await;
    }
    Ok(judged)
}

fn told(judged: &[JudgedDocument]) -> String {
    let [matching, all] = [
        judged.iter().filter(|event| event.wanted).count(),
        judged.len(),
    ]
    .map(|number| u64::try_from(number).unwrap_or(u64::MAX));
    let events = counted(all, "event", "events");
    format!("{matching} of the last {events} of its client match.")
}
