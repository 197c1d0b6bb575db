//! A scenario beside its yardstick.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    bare,
    database::Costs,
    report::{median, round},
    world::{Plan, World},
};

/// Each run prepares a fresh world, then measures the bare loop and the work one after the other, in turn which comes
/// first, so that a drift of the machine falls on both. `prepare` may say how long something of its own took.
pub(crate) async fn measure(
    plan: &Plan,
    scenario: &str,
    prepare: impl AsyncFn(&World) -> anyhow::Result<Option<Duration>>,
    work: impl AsyncFn(&World) -> anyhow::Result<Duration>,
) -> anyhow::Result<Value> {
    let (mut runs, mut ratios) = (Vec::new(), Vec::new());
    let (mut bares, mut works, mut publishes) = (Vec::new(), Vec::new(), Vec::new());
    let mut costs = Costs::default();
    let rate = |took| Plan::per_second(plan.deliveries(), took);
    let per_s = format!("{scenario}_per_s");
    for run in 0..plan.runs {
        let world = World::new(plan).await?;
        if let Some(took) = prepare(&world).await? {
            publishes.push(Plan::per_second(plan.events, took));
        }
        let mut counted = async || {
            let before = plan.database.counted().await?;
            let took = work(&world).await?;
            let after = plan.database.counted().await?;
            costs.add(before, after, plan.deliveries());
            anyhow::Ok(took)
        };
        let (bare, took) = if run % 2 == 0 {
            let bare = bare::posts(&world, plan).await?;
            (bare, counted().await?)
        } else {
            let took = counted().await?;
            (bare::posts(&world, plan).await?, took)
        };
        let (bare, work) = (rate(bare), rate(took));
        runs.push(json!({
            "bare_per_s": bare.round(),
            &per_s: work.round(),
            "ratio": round(work / bare),
        }));
        ratios.push(work / bare);
        bares.push(bare);
        works.push(work);
    }
    let mut medians = json!({
        "bare_per_s": median(bares).round(),
        &per_s: median(works).round(),
        "ratio": round(median(ratios)),
    });
    if !publishes.is_empty() {
        medians["publish_per_s"] = median(publishes).round().into();
    }
    Ok(json!({
        "scenario": scenario,
        "database": plan.database.name(),
        "runs": runs,
        "median": medians,
        "per_delivery": costs.json(),
    }))
}
