//! What a healthy subscription loses beside one whose receiver never says a word, with a backlog of a million.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tharsis::{Event, Registry, event::EventType, subscription::Credentials, system_now};
use tharsis_receiver::{Authority, Fault, FaultServer};

use crate::{
    payload,
    report::{median, round},
    world::{self, Plan, World},
};

/// The comparison is of small differences.
const FEWEST_PAIRS: usize = 7;

/// Two outboxes, one of them with the backlog. In each pair the same events are published into both, and delivered one
/// after the other, in turn which comes first.
pub(crate) async fn measure(plan: &Plan, backlog: usize) -> anyhow::Result<Value> {
    let pairs = plan.runs.max(FEWEST_PAIRS);
    let silent = FaultServer::bind(&Authority::generate()?, Fault::SilentHandshake).await?;
    let with = World::reaching(plan, &[silent.addr().port()]).await?;
    let without = World::new(plan).await?;
    let began = Instant::now();
    bury(&with, silent.addr().port(), backlog).await?;
    let burying = began.elapsed();

    let (mut runs, mut ratios) = (Vec::new(), Vec::new());
    for pair in 0..pairs {
        let numbers = pair * plan.events..(pair + 1) * plan.events;
        for world in [&with, &without] {
            world::publish(&world.emitter, numbers.clone(), plan.bytes, 1_000).await?;
        }
        let (beside, alone) = if pair % 2 == 0 {
            let beside = deliver(&with, plan).await?;
            (beside, deliver(&without, plan).await?)
        } else {
            let alone = deliver(&without, plan).await?;
            (deliver(&with, plan).await?, alone)
        };
        let rate = |took| Plan::per_second(plan.deliveries(), took);
        let ratio = alone.as_secs_f64() / beside.as_secs_f64();
        runs.push(json!({
            "with_per_s": rate(beside).round(),
            "without_per_s": rate(alone).round(),
            "ratio": round(ratio),
        }));
        ratios.push(ratio);
    }
    let left = with.emitter.remaining().await?;
    Ok(json!({
        "scenario": "dead",
        "database": plan.database.name(),
        "backlog": left.pending,
        "backlog_made_in_s": burying.as_secs(),
        "pairs": runs,
        "median": { "ratio": round(median(ratios)) },
    }))
}

/// Makes the backlog: published, routed, and never delivered.
async fn bury(world: &World, port: u16, backlog: usize) -> anyhow::Result<()> {
    let emitter = &world.emitter;
    let mut settings = world.outside.settings(payload::STRANGER, "dead", port, 8)?;
    settings.events = vec![EventType::new("ticket")?];
    emitter
        .registry()
        .add(&settings, &Credentials::default(), system_now())
        .await?;
    world::publish_all(emitter, 0..backlog, 1_000, small).await?;
    world::run_while(emitter, async {
        while emitter.remaining().await?.unrouted > 0 {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        Ok(())
    })
    .await
}

/// One of the backlog, as small as they come.
fn small(n: usize) -> anyhow::Result<Event> {
    let text = format!(
        r#"{{"type":"ticket","client":"{}","payload":{{"n":{n}}}}}"#,
        payload::STRANGER
    );
    Ok(Event::parse(text.as_bytes())?)
}

/// From the start of a run to the last healthy delivery. What its end waits for is the silent receiver's.
async fn deliver(world: &World, plan: &Plan) -> anyhow::Result<Duration> {
    let emitter = &world.emitter;
    let until = emitter.progress().delivered() + plan.deliveries() as u64;
    world::run_while(emitter, async {
        let began = Instant::now();
        world::delivered(emitter, until).await;
        Ok(began.elapsed())
    })
    .await
}
