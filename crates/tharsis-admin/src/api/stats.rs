//! `/v1/stats`: how it goes.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    response::{IntoResponse, Response},
};
use serde::Serialize;
use tharsis::{
    Registry,
    delivery::End,
    store::{DeliveryFilter, Status},
};
use utoipa::ToSchema;

use super::query::{OfClient, Parameters};
use crate::{
    Problem,
    desk::Desk,
    documents::{RemainingDocument, WorkerDocument},
};

/// So far it looks back unless it is said.
const BACK: Duration = Duration::from_secs(24 * 60 * 60);

const ENDED: [End; 5] = [
    End::Delivered,
    End::Dead,
    End::Expired,
    End::Refused,
    End::Cancelled,
];

const UNFINISHED: [Status; 3] = [Status::Pending, Status::Retrying, Status::Held];

/// So many in each status.
type Counts = BTreeMap<&'static str, u64>;

/// How it goes.
#[derive(Serialize, ToSchema)]
#[schema(as = Stats)]
struct StatsDocument<'a> {
    /// Null: all of them.
    #[schema(format = "uuid")]
    client: Option<String>,
    #[schema(format = DateTime)]
    since: String,
    #[schema(format = DateTime)]
    until: String,
    /// Of the events that were published since then: how their deliveries ended.
    #[schema(value_type = BTreeMap<String, u64>)]
    ended: Counts,
    /// Whenever their events were published: deliveries that have not ended.
    #[schema(value_type = BTreeMap<String, u64>)]
    unfinished: Counts,
    /// Of what ended `delivered`, `dead` or `expired`, the part that was delivered; null where nothing did.
    success_rate: Option<f64>,
    /// All that is not finished; null for one client.
    remaining: Option<RemainingDocument>,
    /// Who delivers; null for one client.
    workers: Option<Vec<WorkerDocument<'a>>>,
}

/// Counts deliveries, of one client or of all.
///
/// Nothing is kept for it: each status is counted by itself. What ended is looked for among the events that were published
/// since then, so that a short time costs little however much is kept; what is unfinished, among all that is. For one client
/// that costs as much as for all of them, and a day of millions takes seconds.
#[utoipa::path(
    get,
    path = "/v1/stats",
    operation_id = "getStats",
    tag = "stats",
    params(
        OfClient,
        (
            "since" = Option<String>, Query, format = DateTime,
            description = "Of events published then or later; a day ago unless it is said."
        ),
    ),
    responses((status = 200, description = "The counts.", body = StatsDocument<'_>)),
)]
pub(crate) async fn show(desk: Desk, mut asked: Parameters) -> Result<Response, Problem> {
    let client = desk.client(asked.word("client")?)?;
    let since = asked.instant("since")?;
    asked.end()?;
    let until = desk.caller.at;
    let since = since.unwrap_or(until - BACK);
    let mut all = DeliveryFilter::default();
    all.client = client;
    let unfinished = counts(&desk, &all, &UNFINISHED).await?;
    all.since = Some(since);
    let ended = counts(&desk, &all, &ENDED.map(Status::Ended)).await?;
    let (remaining, workers) = match client {
        Some(_) => (None, None),
        None => {
            let emitter = desk.emitter();
            (
                Some(emitter.remaining().await?),
                Some(emitter.workers().await?),
            )
        }
    };
    let document = StatsDocument {
        client: client.map(|client| client.to_string()),
        since: since.to_string(),
        until: until.to_string(),
        success_rate: success_rate(&ended),
        ended,
        unfinished,
        remaining: remaining.map(RemainingDocument::from),
        workers: (workers.as_ref())
            .map(|workers| workers.iter().map(WorkerDocument::from).collect()),
    };
    Ok(Json(document).into_response())
}

async fn counts(desk: &Desk, all: &DeliveryFilter, statuses: &[Status]) -> Result<Counts, Problem> {
    let mut counts = Counts::new();
    for status in statuses {
        let mut filter = all.clone();
        filter.status = vec![*status];
        let count = desk.registry().count(&filter).await?;
        counts.insert(status.as_str(), count);
    }
    Ok(counts)
}

/// What an admin ended, or could never be sent, says nothing of how well it goes.
fn success_rate(ended: &Counts) -> Option<f64> {
    let of = |end: End| ended.get(end.as_str()).copied().unwrap_or_default();
    let delivered = of(End::Delivered);
    let all = delivered + of(End::Dead) + of(End::Expired);
    (all > 0).then(|| delivered as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_of_success_is_of_what_was_tried() {
        let rate = |counts: &[(&'static str, u64)]| success_rate(&counts.iter().copied().collect());
        assert_eq!(rate(&[]), None);
        assert_eq!(rate(&[("cancelled", 3), ("refused", 2)]), None);
        assert_eq!(rate(&[("delivered", 7), ("cancelled", 3)]), Some(1.0));
        assert_eq!(
            rate(&[("delivered", 6), ("dead", 1), ("expired", 1)]),
            Some(0.75)
        );
        assert_eq!(rate(&[("dead", 2)]), Some(0.0));
    }
}
