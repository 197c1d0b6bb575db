//! From the call of publish to the receipt, at 50 events a second, in one process and across two.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use serde_json::{Value, json};
use tharsis::Emitter;
use tharsis_receiver::{Authority, Options as ReceiverOptions, Receiver, Sink};

use crate::{
    payload,
    report::quantiles,
    work,
    world::{Outside, Plan},
};

/// At most 60 s of events, however many the plan has.
const MOST: usize = 3_000;
const EVERY: Duration = Duration::from_millis(20);

pub(crate) async fn measure(plan: &Plan) -> anyhow::Result<Value> {
    let count = plan.events.min(MOST);
    let inside = one_process(plan, count).await?;
    let across = two_processes(plan, count).await?;
    Ok(json!({
        "scenario": "latency",
        "database": plan.database.name(),
        "events": count,
        "publish_to_receipt_ms": quantiles(inside)?,
        "across_processes_ms": quantiles(across)?,
    }))
}

/// The worker runs where it is published.
async fn one_process(plan: &Plan, count: usize) -> anyhow::Result<Vec<Duration>> {
    let (outside, clock) = clocked(plan).await?;
    let (emitter, ..) = outside.subscribed(plan, &[]).await?;
    let publishing = emitter.clone();
    crate::world::run_while(&emitter, async {
        let published = publish(&publishing, plan, count).await?;
        clock.spans(&published).await
    })
    .await
}

/// The worker is another process, which has to notice by itself.
async fn two_processes(plan: &Plan, count: usize) -> anyhow::Result<Vec<Duration>> {
    let (outside, clock) = clocked(plan).await?;
    let (emitter, ..) = outside.subscribed(plan, &[]).await?;
    let worker = work::start(&outside, 256).await?;
    let published = publish(&emitter, plan, count).await?;
    let spans = clock.spans(&published).await?;
    worker.end().await?;
    Ok(spans)
}

/// What was published and when.
async fn publish(
    emitter: &Emitter,
    plan: &Plan,
    count: usize,
) -> anyhow::Result<Vec<(Bytes, Instant)>> {
    let mut published = Vec::with_capacity(count);
    let mut beat = tokio::time::interval(EVERY);
    for n in 0..count {
        beat.tick().await;
        let event = payload::event(n, plan.bytes)?;
        let (body, at) = (event.payload().clone(), Instant::now());
        emitter.publish(&event).await?;
        published.push((body, at));
    }
    Ok(published)
}

/// A receiver in this process, so that one clock tells both ends.
struct Clock {
    receiver: Receiver,
    arrived: Arc<Mutex<HashMap<Bytes, Instant>>>,
}

async fn clocked(plan: &Plan) -> anyhow::Result<(Outside, Clock)> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::generate()?;
    let ca_file = folder.path().join("ca.pem");
    std::fs::write(&ca_file, authority.pem())?;
    let arrived = Arc::new(Mutex::new(HashMap::new()));
    let arrivals = arrived.clone();
    let receiver = Receiver::bind(ReceiverOptions {
        sink: Sink::Call(Arc::new(move |received| {
            let now = Instant::now();
            arrivals
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .insert(received.body, now);
        })),
        ..ReceiverOptions::new(&authority)
    })
    .await?;
    let port = receiver.addr().port();
    let outside = Outside::new(&plan.database, folder, ca_file, port).await?;
    Ok((outside, Clock { receiver, arrived }))
}

impl Clock {
    /// Waits for all of them; how long each took.
    async fn spans(&self, published: &[(Bytes, Instant)]) -> anyhow::Result<Vec<Duration>> {
        let count = published.len() as u64;
        let receiver = &self.receiver;
        anyhow::ensure!(
            receiver.wait_until(count, Duration::from_secs(30)).await,
            "{} of {count} arrived",
            receiver.count()
        );
        let arrived = self.arrived.lock().unwrap_or_else(PoisonError::into_inner);
        published
            .iter()
            .map(|(body, at)| {
                let then = arrived.get(body);
                let then = then.ok_or_else(|| anyhow::anyhow!("an event did not arrive"))?;
                Ok(then.duration_since(*at))
            })
            .collect()
    }
}
