//! Removing a subscription, once it is meant.

use askama::Template;
use axum::{
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use tharsis::Registry;

use super::path;
use crate::{
    Problem,
    pages::{
        layout::{self, Frame},
        visit::{Path, Visit},
    },
    text::counted,
};

/// So many of what would end are counted; there may be more.
const MOST: u64 = 10_000;

#[derive(Template)]
#[template(path = "remove.html")]
struct Page {
    frame: Frame,
    path: String,
    name: String,
    /// Deliveries that would end.
    unfinished: String,
}

/// Asks whether it is meant.
pub(crate) async fn removal(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let found = visit.desk.subscription(&id).await?;
    let (client, registry) = (Some(found.settings.client), visit.desk.registry());
    let unfinished = registry.unfinished(client, Some(found.id), MOST).await?;
    let least = unfinished.pending + unfinished.retrying + unfinished.held;
    let least = counted(least, "unfinished delivery", "unfinished deliveries");
    let page = Page {
        frame: visit.frame("Remove a subscription"),
        path: path(found.id),
        name: found.settings.name,
        unfinished: match unfinished.more {
            true => format!("At least {least}"),
            false => least,
        },
    };
    layout::answer(StatusCode::OK, &page)
}

/// Removes it. What is not delivered ends cancelled.
pub(crate) async fn remove(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let desk = &visit.desk;
    let found = desk.subscription(&id).await?;
    let removed = desk.registry().remove(found.id, desk.by()).await?;
    let unfinished = counted(removed.unfinished, "delivery ends", "deliveries end");
    let name = &found.settings.name;
    visit.tell(format!("{name} was removed; {unfinished} as cancelled."));
    Ok(Redirect::to("/subscriptions").into_response())
}
