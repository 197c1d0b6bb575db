//! Receivers that take 50 ms to answer, 64 requests under way in each worker: what three workers do, to what one does.

use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::{Value, json};
use tharsis::{Emitter, Registry, store::WorkerRecord, subscription::Credentials, system_now};

use crate::{
    database::Database,
    payload,
    report::{median, round},
    work,
    world::{self, Plan},
};

const DELAY: Duration = Duration::from_millis(50);
const MANY: usize = 3;

/// Clients with a subscription each: enough that each worker has more lanes than requests under way.
const CLIENTS: usize = 256;

/// How long the rate is taken over, once the work is shared evenly.
const WINDOW: Duration = Duration::from_secs(5);

/// When it gives up waiting for that.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) async fn measure(plan: &Plan) -> anyhow::Result<Value> {
    anyhow::ensure!(
        matches!(plan.database, Database::Postgres(_)),
        "one process delivers from an SQLite file: give --database postgres://…"
    );
    let (mut runs, mut ratios) = (Vec::new(), Vec::new());
    let (mut ones, mut threes) = (Vec::new(), Vec::new());
    for run in 0..plan.runs {
        let (one, three) = if run % 2 == 0 {
            let one = rate(plan, 1).await?;
            (one, rate(plan, MANY).await?)
        } else {
            let three = rate(plan, MANY).await?;
            (rate(plan, 1).await?, three)
        };
        runs.push(json!({
            "one_per_s": one.round(),
            "three_per_s": three.round(),
            "ratio": round(three / one),
        }));
        ratios.push(three / one);
        ones.push(one);
        threes.push(three);
    }
    Ok(json!({
        "scenario": "workers",
        "database": plan.database.name(),
        "receiver_ms": DELAY.as_millis(),
        "subscriptions": CLIENTS,
        "runs": runs,
        "median": {
            "one_per_s": median(ones).round(),
            "three_per_s": median(threes).round(),
            "ratio": round(median(ratios)),
        },
    }))
}

/// Deliveries a second of so many workers, while all have enough to do.
async fn rate(plan: &Plan, workers: usize) -> anyhow::Result<f64> {
    let (outside, mut receiver) = world::received(plan, DELAY).await?;
    let emitter = outside.emitter(&[]).await?;
    for n in 0..CLIENTS {
        let settings = outside.settings(&payload::client(n), "bench", outside.port, 64)?;
        emitter
            .registry()
            .add(&settings, &Credentials::default(), system_now())
            .await?;
    }
    world::publish_all(&emitter, 0..plan.events, 1_000, |n| {
        payload::event_of(&payload::client(n % CLIENTS), n, plan.bytes)
    })
    .await?;
    let mut roles = Vec::new();
    for _ in 0..workers {
        roles.push(work::start(&outside, plan.in_flight as usize).await?);
    }
    shared_evenly(&emitter, workers).await?;
    let (before, began) = (receiver.count().await?, Instant::now());
    tokio::time::sleep(WINDOW).await;
    let (after, took) = (receiver.count().await?, began.elapsed());
    anyhow::ensure!(
        after + (plan.in_flight as usize * workers) as u64 <= plan.events as u64,
        "the backlog was delivered before the time was up: give more --events"
    );
    // What is left is nobody's concern.
    drop(roles);
    Ok(Plan::per_second(usize::try_from(after - before)?, took))
}

/// Waits until each of so many workers has its share.
async fn shared_evenly(emitter: &Emitter, workers: usize) -> anyhow::Result<()> {
    let even = async {
        loop {
            let listed = emitter.workers().await?;
            if is_even(&listed, workers) {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, even)
        .await
        .context("the workers do not share the shards evenly")?
}

fn is_even(listed: &[WorkerRecord], workers: usize) -> bool {
    let shards = || listed.iter().map(|worker| worker.shards);
    listed.len() == workers
        && shards().sum::<u32>() == u32::from(tharsis::store::SHARDS)
        && shards().max() <= shards().min().map(|least| least + 1)
}
