//! Deliver a published backlog, beside the bare loop.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    beside,
    world::{self, Plan, World},
};

/// Publishing the backlog is timed too, apart.
pub(crate) async fn measure(plan: &Plan) -> anyhow::Result<Value> {
    let publish = async |world: &World| {
        let took = world::publish(&world.emitter, 0..plan.events, plan.bytes, 1_000).await?;
        Ok(Some(took))
    };
    let drain = async |world: &World| drain(world, plan).await;
    beside::measure(plan, "drain", publish, drain).await
}

async fn drain(world: &World, plan: &Plan) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let summary = world.emitter.run_until_idle(std::future::pending()).await?;
    let took = began.elapsed();
    anyhow::ensure!(
        summary.delivered == plan.deliveries() as u64,
        "{} of {} were delivered: {summary:?}",
        summary.delivered,
        plan.deliveries()
    );
    Ok(took)
}
