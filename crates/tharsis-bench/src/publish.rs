//! What publishing costs, without delivery.

use serde_json::{Value, json};

use crate::{
    report::median,
    world::{self, Plan, World},
};

/// In batches of 1,000, and one event a commit (a tenth of them: each commit waits for the disk).
pub(crate) async fn measure(plan: &Plan) -> anyhow::Result<Value> {
    let (mut batched, mut single) = (Vec::new(), Vec::new());
    let few = Plan {
        events: (plan.events / 10).max(1),
        ..*plan
    };
    for _ in 0..plan.runs {
        let world = World::new(plan).await?;
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of events are far below 2^52"
        )]
        let rate = |plan: &Plan, took: std::time::Duration| plan.events as f64 / took.as_secs_f64();
        batched.push(rate(
            plan,
            world::publish(&world.emitter, plan, 1_000).await?,
        ));
        let world = World::new(plan).await?;
        single.push(rate(&few, world::publish(&world.emitter, &few, 1).await?));
    }
    Ok(json!({
        "scenario": "publish",
        "database": "sqlite",
        "median": { "batched_per_s": median(batched).round(), "single_per_s": median(single).round() },
    }))
}
