//! Pausing, resuming, and sending a test.

use askama::Template;
use axum::{
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use tharsis::{Invalid, Registry, delivery::codes, subscription::Held, text::excerpt};

use super::path;
use crate::{
    Problem,
    pages::{
        form::Form,
        layout::{self, Frame},
        request::{self, Shown},
        visit::{Path, Visit},
    },
    text::measured,
    trying::Sent,
};

/// So much of an answer is shown, in characters.
const ANSWER: usize = 4_000;

/// Holds its deliveries.
pub(crate) async fn pause(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let desk = &visit.desk;
    let found = desk.subscription(&id).await?;
    desk.registry().pause(found.id, desk.by()).await?;
    visit.tell("It is paused: what is published for it from now on is held.");
    Ok(Redirect::to(&path(found.id)).into_response())
}

/// Lets them go again: of those that were held what was chosen.
pub(crate) async fn resume(
    visit: Visit,
    Path(id): Path<String>,
    chosen: Form,
) -> Result<Response, Problem> {
    let held = match chosen.text("held") {
        None => Held::default(),
        Some(word) => Held::parse(word).ok_or_else(|| {
            Invalid::new("bad_choice", "is none of all, latest and none").at("held")
        })?,
    };
    let desk = &visit.desk;
    let found = desk.subscription(&id).await?;
    desk.registry().resume(found.id, held, desk.by()).await?;
    visit.tell(match held {
        Held::All => "It goes on, with all that was held.",
        Held::Latest => "It goes on, with the latest for each recipient of what was held.",
        Held::None => "It goes on, without what was held.",
    });
    Ok(Redirect::to(&path(found.id)).into_response())
}

#[derive(Template)]
#[template(path = "tested.html")]
struct Tested {
    frame: Frame,
    /// Of the subscription.
    path: String,
    name: String,
    is_delivered: bool,
    code: String,
    status: Option<u16>,
    meaning: Option<&'static str>,
    advice: Option<&'static str>,
    took: String,
    detail: Option<String>,
    /// The beginning of what was answered.
    excerpt: Option<String>,
    request: Shown,
    /// What of it is signed.
    signed: Option<String>,
}

/// Sends it the test event of its profile, once, and shows request and answer.
pub(crate) async fn test(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let desk = &visit.desk;
    let found = desk.subscription(&id).await?;
    let settings = &found.settings;
    // Under one that is not known here nothing is sent.
    let known = desk.options().profiles.named(&settings.profile.name);
    known.map_err(|e| e.at("profile"))?;
    let credentials = desk.registry().credentials(found.id).await?;
    let client = desk.emitter().client()?;
    let sent = Sent::test(client, settings, &credentials, found.id, visit.now()).await?;
    let outcome = &sent.outcome;
    let known = codes::find(&outcome.code);
    let page = Tested {
        frame: visit.frame("Test"),
        path: path(found.id),
        name: settings.name.clone(),
        is_delivered: sent.delivered,
        code: outcome.code.to_string(),
        status: outcome.status,
        meaning: known.map(|known| known.meaning),
        advice: (known.map(|known| known.advice)).filter(|advice| *advice != "nothing"),
        took: measured(outcome.duration),
        detail: (outcome.detail.as_deref()).map(|detail| excerpt(detail.as_bytes(), ANSWER)),
        excerpt: (!outcome.excerpt.is_empty()).then(|| excerpt(&outcome.excerpt, ANSWER)),
        request: Shown::of(&sent.request),
        signed: request::signed(&found),
    };
    layout::answer(StatusCode::OK, &page)
}
