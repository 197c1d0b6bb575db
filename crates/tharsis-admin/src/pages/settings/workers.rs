//! Workers: who delivers, and what is not finished.

use askama::Template;
use axum::{http::StatusCode, response::Response};
use tharsis::{
    Registry, Timestamp,
    store::{MOST_COUNTED, Survey, Unfinished, WorkerRecord},
};

use super::for_all_clients;
use crate::{
    Problem,
    documents::WorkerDocument,
    pages::{
        fields::Fact,
        figures::MOST_UNFINISHED,
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
    let registry = visit.desk.registry();
    let survey = registry.survey().await?;
    let unfinished = registry.unfinished(None, None, MOST_UNFINISHED).await?;
    let now = visit.now();
    let told = survey.workers.iter().map(|worker| Row::of(worker, now));
    let list = List {
        rows: told.collect(),
        facts: facts(&survey, unfinished),
        frame: visit.frame("Workers"),
    };
    layout::answer(StatusCode::OK, &list)
}

fn facts(survey: &Survey, unfinished: Unfinished) -> Vec<Fact> {
    let Unfinished {
        pending,
        retrying,
        held,
        more,
    } = unfinished;
    let told = [
        (
            "Not routed",
            survey.unrouted,
            survey.unrouted >= MOST_COUNTED,
        ),
        ("Pending", pending, more),
        ("Retrying", retrying, more),
        ("Held", held, more),
        ("Commands", survey.commands, false),
    ];
    told.map(|(name, number, more)| Fact::new(name, at_least(number, more)))
        .into()
}

fn at_least(number: u64, more: bool) -> String {
    let or_more = if more { " or more" } else { "" };
    format!("{}{or_more}", count(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_ended_early_says_so() {
        assert_eq!(at_least(100_000, true), "100,000 or more");
        assert_eq!(at_least(99_999, false), "99,999");
    }
}
