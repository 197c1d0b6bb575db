//! What eight processes wait for a publish while a backlog is delivered beside them.

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Args;
use serde_json::{Value, json};
use tharsis::{Emitter, Options};

use crate::{
    payload,
    report::{median, quantiles, round},
    role::{Role, asked, say},
    world::{self, Plan, World},
};

/// How many processes publish.
const NEIGHBOURS: usize = 8;

/// What a neighbour pauses between two publishes.
const PAUSE: Duration = Duration::from_millis(5);

/// What a neighbour publishes into, and as whom.
#[derive(Debug, Args)]
pub(crate) struct Neighbour {
    #[arg(long)]
    database: String,
    #[arg(long)]
    key_file: PathBuf,
    #[arg(long)]
    number: usize,
    #[arg(long)]
    bytes: usize,
}

/// Publishes one event after the other, each in a commit of its own, until standard input ends. Says when it begins and,
/// at last, how many microseconds each took.
pub(crate) async fn run(neighbour: Neighbour) -> anyhow::Result<()> {
    let options = Options {
        key_file: Some(neighbour.key_file),
        ..Options::default()
    };
    let emitter = Emitter::open(&neighbour.database, options).await?;
    say("publishes")?;
    let ended = async { while matches!(asked().await, Ok(Some(()))) {} };
    let mut ended = std::pin::pin!(ended);
    let mut micros = Vec::new();
    for n in 0.. {
        tokio::select! {
            () = &mut ended => break,
            () = tokio::time::sleep(PAUSE) => {}
        }
        // Of a client without a subscription: what is delivered beside it stays the same.
        let number = n * NEIGHBOURS + neighbour.number;
        let event = payload::event_of(payload::STRANGER, number, neighbour.bytes)?;
        let began = Instant::now();
        emitter.publish(&event).await?;
        micros.push(u64::try_from(began.elapsed().as_micros())?);
    }
    say(serde_json::to_string(&micros)?)
}

/// A backlog is delivered while the neighbours publish, and for comparison without them.
pub(crate) async fn measure(plan: &Plan) -> anyhow::Result<Value> {
    let (mut runs, mut ratios) = (Vec::new(), Vec::new());
    let mut all = Vec::new();
    for run in 0..plan.runs {
        let alone = async || anyhow::Ok(drain(plan, 0).await?.0);
        let (quiet, (beside, spans)) = if run % 2 == 0 {
            let quiet = alone().await?;
            (quiet, drain(plan, NEIGHBOURS).await?)
        } else {
            let beside = drain(plan, NEIGHBOURS).await?;
            (alone().await?, beside)
        };
        let rate = |took| Plan::per_second(plan.deliveries(), took);
        let ratio = quiet.as_secs_f64() / beside.as_secs_f64();
        runs.push(json!({
            "alone_per_s": rate(quiet).round(),
            "beside_per_s": rate(beside).round(),
            "ratio": round(ratio),
            "publishes": spans.len(),
            "publish_ms": quantiles(spans.clone())?,
        }));
        ratios.push(ratio);
        all.extend(spans);
    }
    Ok(json!({
        "scenario": "neighbours",
        "database": plan.database.name(),
        "processes": NEIGHBOURS,
        "runs": runs,
        "median": { "ratio": round(median(ratios)) },
        "publish_ms": quantiles(all)?,
    }))
}

/// How long the backlog took beside so many neighbours, and how long each of their publishes.
async fn drain(plan: &Plan, neighbours: usize) -> anyhow::Result<(Duration, Vec<Duration>)> {
    let world = World::new(plan).await?;
    let emitter = &world.emitter;
    world::publish(emitter, 0..plan.events, plan.bytes, 1_000).await?;
    let mut roles = Vec::new();
    for number in 0..neighbours {
        let mut role = start(&world, plan, number)?;
        role.hear().await?;
        roles.push(role);
    }
    let took = world::run_while(emitter, async {
        let began = Instant::now();
        world::delivered(emitter, plan.deliveries() as u64).await;
        Ok(began.elapsed())
    })
    .await?;
    let mut spans = Vec::new();
    for role in roles {
        let micros: Vec<u64> = serde_json::from_str(&role.end().await?)?;
        spans.extend(micros.into_iter().map(Duration::from_micros));
    }
    Ok((took, spans))
}

fn start(world: &World, plan: &Plan, number: usize) -> anyhow::Result<Role> {
    let outbox = &world.outside.outbox;
    Role::start([
        "publish-beside".into(),
        "--database".into(),
        outbox.url.clone().into(),
        "--key-file".into(),
        outbox.key_file.clone().into(),
        "--number".into(),
        number.to_string().into(),
        "--bytes".into(),
        plan.bytes.to_string().into(),
    ])
}
