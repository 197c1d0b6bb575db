//! Publish in batches and deliver at once, beside the bare loop.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{
    beside,
    world::{self, Plan, World},
};

/// From the first publish to the last delivery.
pub(crate) async fn measure(plan: &Plan) -> anyhow::Result<Value> {
    let nothing = async |_: &World| Ok(None);
    let stream = async |world: &World| stream(world, plan).await;
    beside::measure(plan, "stream", nothing, stream).await
}

async fn stream(world: &World, plan: &Plan) -> anyhow::Result<Duration> {
    let emitter = &world.emitter;
    world::run_while(emitter, async {
        let began = Instant::now();
        world::publish(emitter, 0..plan.events, plan.bytes, 1_000).await?;
        world::delivered(emitter, plan.deliveries() as u64).await;
        Ok(began.elapsed())
    })
    .await
}
