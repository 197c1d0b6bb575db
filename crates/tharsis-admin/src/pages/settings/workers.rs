//! Workers: who delivers, and what is not finished.

use askama::Template;
use axum::{http::StatusCode, response::Response};
use tharsis::{Remaining, Timestamp, store::WorkerRecord};

use super::for_all_clients;
use crate::{
    Problem,
    documents::WorkerDocument,
    pages::{
        fields::Fact,
        layout::{self, Frame},
        markup::Moment,
        visit::Visit,
    },
    text::{age, count},
};

#[derive(Template)]
#[template(path = "workers.html")]
struct List {
    frame: Frame,
    rows: Vec<Row>,
    /// What is not finished.
    facts: Vec<Fact>,
}

/// What a worker did not say of itself is a dash.
struct Row {
    id: String,
    host: Option<String>,
    pid: Option<u32>,
    version: Option<String>,
    shards: u32,
    since: Moment,
    /// How long ago it was last heard of.
    lease_age: Option<String>,
}

impl Row {
    fn of(worker: &WorkerRecord, now: Timestamp) -> Self {
        let told = WorkerDocument::from(worker);
        Self {
            id: worker.id.to_string(),
            host: told.host.map(str::to_owned),
            pid: told.pid,
            version: told.version.map(str::to_owned),
            shards: worker.shards,
            since: Moment::of(worker.since, now),
            lease_age: worker.lease_age.map(age),
        }
    }
}

/// Oldest first.
pub(crate) async fn list(visit: Visit) -> Result<Response, Problem> {
    for_all_clients(&visit)?;
    let emitter = visit.desk.emitter();
    let workers = emitter.workers().await?;
    let remaining = emitter.remaining().await?;
    let now = visit.now();
    let list = List {
        rows: workers.iter().map(|worker| Row::of(worker, now)).collect(),
        facts: facts(remaining),
        frame: visit.frame("Workers"),
    };
    layout::answer(StatusCode::OK, &list)
}

fn facts(remaining: Remaining) -> Vec<Fact> {
    let Remaining {
        unrouted,
        pending,
        held,
        scheduled,
        commands,
    } = remaining;
    let told = [
        ("Not routed", unrouted),
        ("Pending", pending),
        ("Held", held),
        ("Scheduled", scheduled),
        ("Commands", commands),
    ];
    told.map(|(name, number)| Fact::new(name, count(number)))
        .into()
}
