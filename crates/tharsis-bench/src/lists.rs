//! How long lists and `why` take in a long history: a database that is filled in bulk with as many attempts as are asked
//! for, of several subscriptions of two clients over a week.

use std::time::{Duration, Instant};

use serde_json::{Map, Value, json};
use tharsis::{
    ClientId, EventId, Registry, SubscriptionId, Timestamp,
    delivery::End,
    store::{DeliveryFilter, DeliveryRow, Status},
    system_now,
};
use tharsis_store::{Store, StoreOptions};

use crate::{
    filling::{DAY, FAN_OUT, Filling, subscribe},
    payload,
    report::quantiles,
    world::Plan,
};

const DAYS: u32 = 7;

/// How often each question is asked.
const CALLS: usize = 50;

/// The rows of a page, as `tharsis delivery list` asks for them.
const PAGE: u32 = 50;

pub(crate) async fn measure(plan: &Plan, attempts: u64) -> anyhow::Result<Value> {
    let folder = tempfile::tempdir()?;
    let outbox = plan.database.outbox(folder.path()).await?;
    let options = StoreOptions {
        key_file: Some(outbox.key_file.clone()),
        ..StoreOptions::default()
    };
    let store = Store::open(&outbox.url, &options).await?;
    let subscriptions = subscribe(&store, 0..FAN_OUT).await?;
    let began = Instant::now();
    let now = system_now();
    let filling = Filling {
        // There are somewhat more attempts than deliveries.
        events: (attempts * 100 / (102 * FAN_OUT)).max(1),
        bytes: plan.bytes,
        until: now,
        days: DAYS,
        waiting: 2,
    };
    let filled = filling.fill(&outbox, &store).await?;
    let took = began.elapsed();

    let rows = sample(&store, now).await?;
    let mut lists = Map::new();
    for (name, filter) in filters(&subscriptions, rows[CALLS / 2].id.event, now)? {
        lists.insert(name, list(&store, &filter).await?);
    }
    let (mut why, mut events, mut deliveries) = (Vec::new(), Vec::new(), Vec::new());
    for row in &rows {
        why.push(timed(store.whereabouts(row.id.event)).await?.0);
        events.push(timed(store.event(row.id.event)).await?.0);
        deliveries.push(timed(store.delivery(row.id)).await?.0);
    }
    Ok(json!({
        "scenario": "lists",
        "database": plan.database.name(),
        "attempts": filled.attempts,
        "unfinished": filled.unfinished,
        "filled_in_s": took.as_secs(),
        "lists_ms": lists,
        "why_ms": quantiles(why)?,
        "event_ms": quantiles(events)?,
        "delivery_ms": quantiles(deliveries)?,
    }))
}

/// Calls that were made one after the other, each from where the one before ended, and the rows that they brought.
async fn list(store: &Store, filter: &DeliveryFilter) -> anyhow::Result<Value> {
    let (mut spans, mut rows, mut after) = (Vec::new(), 0, None::<String>);
    for _ in 0..CALLS {
        let (took, page) = timed(store.deliveries(filter, after.as_deref(), PAGE)).await?;
        spans.push(took);
        rows += page.items.len();
        after = page.next;
    }
    let mut said = quantiles(spans)?;
    said["rows"] = json!(rows);
    Ok(said)
}

async fn timed<T, E>(work: impl Future<Output = Result<T, E>>) -> Result<(Duration, T), E> {
    let began = Instant::now();
    let done = work.await?;
    Ok((began.elapsed(), done))
}

/// What people ask for, by a name each.
fn filters(
    subscriptions: &[SubscriptionId],
    event: EventId,
    now: Timestamp,
) -> anyhow::Result<Vec<(String, DeliveryFilter)>> {
    let mut filters = Vec::new();
    let mut add = |name: &str, change: &dyn Fn(&mut DeliveryFilter)| {
        let mut filter = DeliveryFilter::default();
        change(&mut filter);
        filters.push((name.to_owned(), filter));
    };
    add("all", &|_| {});
    let ended = Status::Ended;
    for (word, status) in [
        ("pending", Status::Pending),
        ("retrying", Status::Retrying),
        ("held", Status::Held),
        ("delivered", ended(End::Delivered)),
        ("dead", ended(End::Dead)),
        ("expired", ended(End::Expired)),
        ("refused", ended(End::Refused)),
        ("cancelled", ended(End::Cancelled)),
    ] {
        add(word, &|filter| filter.status = vec![status]);
    }
    let stranger: ClientId = payload::STRANGER.parse()?;
    let dead = ended(End::Dead);
    let absent = Some("none".to_owned());
    add("subscription", &|f| f.subscription = vec![subscriptions[5]]);
    add("client", &|f| f.client = Some(stranger));
    add("type", &|f| f.event_type = vec!["nudge".to_owned()]);
    add("rare_type", &|f| f.event_type = vec!["signal".to_owned()]);
    add("campaign", &|f| f.campaign = Some("7".to_owned()));
    add("rare_campaign", &|f| f.campaign = Some("rare".to_owned()));
    add("no_campaign", &|f| f.campaign.clone_from(&absent));
    add("dead_of_no_campaign", &|f| {
        f.status = vec![dead];
        f.campaign.clone_from(&absent);
    });
    add("held_of_client", &|f| {
        f.status = vec![Status::Held];
        f.client = Some(stranger);
    });
    add("event", &|f| f.event = Some(event));
    add("since_1h", &|f| f.since = Some(now - DAY / 24));
    add("since_5d_until_4d", &|f| {
        f.since = Some(now - DAY * 5);
        f.until = Some(now - DAY * 4);
    });
    add("until_6d_of_no_campaign", &|f| {
        f.until = Some(now - DAY * 6);
        f.campaign.clone_from(&absent);
    });
    add("failed_since_1h", &|f| {
        f.status = vec![dead];
        f.ended_since = Some(now - DAY / 24);
    });
    Ok(filters)
}

/// Deliveries of all the time, evenly.
async fn sample(store: &Store, now: Timestamp) -> anyhow::Result<Vec<DeliveryRow>> {
    let mut rows = Vec::new();
    for n in 0..CALLS {
        let mut filter = DeliveryFilter::default();
        filter.until = Some(now - DAY * DAYS * u32::try_from(n)? / u32::try_from(CALLS)?);
        let mut after = None::<String>;
        loop {
            let page = store.deliveries(&filter, after.as_deref(), 1).await?;
            rows.extend(page.items);
            after = page.next;
            if rows.len() > n || after.is_none() {
                break;
            }
        }
    }
    anyhow::ensure!(rows.len() == CALLS, "{} of {CALLS} were found", rows.len());
    Ok(rows)
}
