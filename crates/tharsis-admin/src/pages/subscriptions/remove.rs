//! Removing a subscription, once it is meant.

use askama::Template;
use axum::{
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use tharsis::{
    Registry,
    store::{DeliveryFilter, Status},
};

use super::path;
use crate::{
    Problem,
    pages::{
        layout::{self, Frame},
        visit::{Path, Visit},
    },
    text::counted,
};

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
    let mut filter = DeliveryFilter::default();
    filter.client = Some(found.settings.client);
    filter.subscription = vec![found.id];
    filter.status = vec![Status::Pending, Status::Retrying, Status::Held];
    let unfinished = visit.desk.registry().count(&filter).await?;
    let page = Page {
        frame: visit.frame("Remove a subscription"),
        path: path(found.id),
        name: found.settings.name,
        unfinished: counted(unfinished, "unfinished delivery", "unfinished deliveries"),
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
