//! What publishing costs, without delivery.

use std::time::Instant;

use serde_json::{Value, json};
use tharsis::sqlx::{self, Connection};

use crate::{
    payload,
    report::{median, round},
    world::{self, Plan, World},
};

/// How many are published in one transaction of the caller's.
const IN_TRANSACTION: usize = 1_000;

/// In batches of 1,000, and one event a commit (a tenth of them: each commit waits for the disk). On PostgreSQL also in a
/// caller's open transaction, beside a bare round trip.
pub(crate) async fn measure(plan: &Plan) -> anyhow::Result<Value> {
    let (mut batched, mut single) = (Vec::new(), Vec::new());
    let (mut inside, mut trips) = (Vec::new(), Vec::new());
    let few = (plan.events / 10).max(1);
    for _ in 0..plan.runs {
        let world = World::new(plan).await?;
        let took = world::publish(&world.emitter, 0..plan.events, plan.bytes, 1_000).await?;
        batched.push(Plan::per_second(plan.events, took));
        let world = World::new(plan).await?;
        let took = world::publish(&world.emitter, 0..few, plan.bytes, 1).await?;
        single.push(Plan::per_second(few, took));
        if let Some((publish, trip)) = in_transaction(&world, plan).await? {
            inside.push(publish);
            trips.push(trip);
        }
    }
    let micros = |values: Vec<f64>| (!values.is_empty()).then(|| round(median(values)));
    Ok(json!({
        "scenario": "publish",
        "database": plan.database.name(),
        "median": {
            "batched_per_s": median(batched).round(),
            "single_per_s": median(single).round(),
            "in_transaction_us": micros(inside),
            "round_trip_us": micros(trips),
        },
    }))
}

/// Microseconds of a publish in an open transaction, and of a statement that does nothing.
async fn in_transaction(world: &World, plan: &Plan) -> anyhow::Result<Option<(f64, f64)>> {
    let Some(mut connection) = world.outside.outbox.connection().await? else {
        return Ok(None);
    };
    // Other events than those that are there already.
    let first = plan.events;
    let events = (first..first + IN_TRANSACTION)
        .map(|n| payload::event(n, plan.bytes))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut transaction = connection.begin().await?;
    let mut publishes = Vec::new();
    let mut trips = Vec::new();
    for event in &events {
        let began = Instant::now();
        world.emitter.publish_in(&mut transaction, event).await?;
        publishes.push(began.elapsed().as_secs_f64() * 1e6);
        let began = Instant::now();
        sqlx::query("SELECT 1").execute(&mut *transaction).await?;
        trips.push(began.elapsed().as_secs_f64() * 1e6);
    }
    transaction.rollback().await?;
    Ok(Some((median(publishes), median(trips))))
}
