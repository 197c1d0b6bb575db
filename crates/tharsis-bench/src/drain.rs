//! Deliver a published backlog to one subscription, beside the bare loop.

use std::time::Instant;

use serde_json::{Value, json};

use crate::{
    bare,
    report::{median, round},
    world::{self, Plan, World},
};

/// Each run publishes a fresh backlog, then measures the bare loop and the drain one after the other, in turn which
/// comes first, so that a drift of the machine falls on both.
pub(crate) async fn measure(plan: &Plan) -> anyhow::Result<Value> {
    let (mut runs, mut ratios) = (Vec::new(), Vec::new());
    let (mut bares, mut drains, mut publishes) = (Vec::new(), Vec::new(), Vec::new());
    #[expect(
        clippy::cast_precision_loss,
        reason = "counts of events are far below 2^52"
    )]
    let per_second = |took: std::time::Duration| plan.events as f64 / took.as_secs_f64();
    for run in 0..plan.runs {
        let world = World::new(plan).await?;
        let publish = per_second(world::publish(&world.emitter, plan, 1_000).await?);
        let (bare, drain) = if run % 2 == 0 {
            let bare = bare::posts(&world, plan).await?;
            (bare, drain(&world, plan).await?)
        } else {
            let drain = drain(&world, plan).await?;
            (bare::posts(&world, plan).await?, drain)
        };
        let (bare, drain) = (per_second(bare), per_second(drain));
        runs.push(json!({ "bare_per_s": bare.round(), "drain_per_s": drain.round(), "ratio": round(drain / bare) }));
        ratios.push(drain / bare);
        bares.push(bare);
        drains.push(drain);
        publishes.push(publish);
    }
    Ok(json!({
        "scenario": "drain",
        "database": "sqlite",
        "runs": runs,
        "median": {
            "bare_per_s": median(bares).round(),
            "drain_per_s": median(drains).round(),
            "publish_per_s": median(publishes).round(),
            "ratio": round(median(ratios)),
        },
    }))
}

async fn drain(world: &World, plan: &Plan) -> anyhow::Result<std::time::Duration> {
    let began = Instant::now();
    let summary = world.emitter.run_until_idle(std::future::pending()).await?;
    let took = began.elapsed();
    anyhow::ensure!(
        summary.delivered == plan.events as u64,
        "{} of {} were delivered: {summary:?}",
        summary.delivered,
        plan.events
    );
    Ok(took)
}
