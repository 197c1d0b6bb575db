//! Pausing, resuming, and calling off.

use axum::response::{IntoResponse, Redirect, Response};
use tharsis::{Registry, ReplayId};

use super::path;
use crate::{
    Problem,
    pages::visit::{Path, Visit},
};

/// Holds it.
pub(crate) async fn pause(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let desk = &visit.desk;
    let id = desk.replay(&id).await?.id;
    desk.registry().pause_replay(id, desk.by()).await?;
    let what = "It is paused: nothing more of it becomes due. What is due already goes out.";
    Ok(told(&visit, id, what))
}

/// Lets it go on.
pub(crate) async fn resume(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let desk = &visit.desk;
    let id = desk.replay(&id).await?.id;
    desk.registry().resume_replay(id, desk.by()).await?;
    Ok(told(&visit, id, "It goes on."))
}

/// Calls it off for ever.
pub(crate) async fn cancel(visit: Visit, Path(id): Path<String>) -> Result<Response, Problem> {
    let desk = &visit.desk;
    let id = desk.replay(&id).await?.id;
    desk.registry().cancel_replay(id, desk.by()).await?;
    let what = "It is called off. What is due already goes out.";
    Ok(told(&visit, id, what))
}

fn told(visit: &Visit, id: ReplayId, what: &str) -> Response {
    visit.tell(what);
    Redirect::to(&path(id)).into_response()
}
