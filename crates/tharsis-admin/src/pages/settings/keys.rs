//! Keys: what secrets are sealed with. Of each there is its id alone.

use askama::Template;
use axum::{http::StatusCode, response::Response};
use tharsis::{Registry, Timestamp, store::KeyRecord};

use super::for_all_clients;
use crate::{
    Problem,
    pages::{
        layout::{self, Frame},
        markup::{Badge, Moment},
        visit::Visit,
    },
    text::count,
};

/// So many are shown, the latest.
const SHOWN: usize = 50;

#[derive(Template)]
#[template(path = "keys.html")]
struct List {
    frame: Frame,
    rows: Vec<Row>,
    /// Those that are missing here, though something is sealed with them.
    lost: Vec<String>,
}

struct Row {
    id: String,
    state: Badge,
    since: Option<Moment>,
    retired: Option<Moment>,
    /// Sealed with it.
    values: String,
    is_here: bool,
}

impl Row {
    fn of(key: &KeyRecord, now: Timestamp) -> Self {
        Self {
            id: key.id.clone(),
            state: Badge::of(key.state.as_str()),
            since: key.since.map(|at| Moment::of(at, now)),
            retired: key.retired_at.map(|at| Moment::of(at, now)),
            values: count(key.values),
            is_here: key.is_here,
        }
    }
}

/// The one that seals now first, then those whose place others took.
pub(crate) async fn list(visit: Visit) -> Result<Response, Problem> {
    for_all_clients(&visit)?;
    let keys = visit.desk.registry().keys().await?;
    let is_lost = |key: &&KeyRecord| key.values > 0 && !key.is_here;
    let lost = keys.iter().filter(is_lost).take(SHOWN);
    let rows = keys.iter().take(SHOWN);
    let list = List {
        rows: rows.map(|key| Row::of(key, visit.now())).collect(),
        lost: lost.map(|key| key.id.clone()).collect(),
        frame: visit.frame("Keys"),
    };
    layout::answer(StatusCode::OK, &list)
}
