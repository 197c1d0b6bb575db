//! From the call of publish to the receipt, at 50 events a second, in one process.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use serde_json::{Value, json};
use tharsis_receiver::{Authority, Options as ReceiverOptions, Receiver, Sink};

use crate::{
    payload,
    report::round,
    world::{self, Plan},
};

/// At most 60 s of events, however many the plan has.
const MOST: usize = 3_000;
const EVERY: Duration = Duration::from_millis(20);

pub(crate) async fn measure(plan: &Plan) -> anyhow::Result<Value> {
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
    let (emitter, _settings, _secret) =
        world::subscribed(folder.path(), &ca_file, receiver.addr().port(), plan).await?;
    let running = emitter.clone();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let worker = tokio::spawn(async move { running.run(async { drop(stopped.await) }).await });
    let count = plan.events.min(MOST);
    let mut published = Vec::with_capacity(count);
    let mut beat = tokio::time::interval(EVERY);
    for n in 0..count {
        beat.tick().await;
        let event = payload::event(n, plan.bytes)?;
        let (body, at) = (event.payload().clone(), Instant::now());
        emitter.publish(&event).await?;
        published.push((body, at));
    }
    anyhow::ensure!(
        receiver
            .wait_until(count as u64, Duration::from_secs(30))
            .await,
        "{} of {count} arrived",
        receiver.count()
    );
    drop(stop);
    worker.await??;
    let arrived = arrived.lock().unwrap_or_else(PoisonError::into_inner);
    let mut micros = Histogram::<u64>::new(3)?;
    for (body, at) in &published {
        let then = arrived
            .get(body)
            .ok_or_else(|| anyhow::anyhow!("an event did not arrive"))?;
        micros.record(u64::try_from(then.duration_since(*at).as_micros())?)?;
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "latencies are far below 2^52 microseconds"
    )]
    let millis = |quantile| round(micros.value_at_quantile(quantile) as f64 / 1_000.0);
    Ok(json!({
        "scenario": "latency",
        "database": "sqlite",
        "events": count,
        "publish_to_receipt_ms": { "p50": millis(0.5), "p99": millis(0.99), "max": millis(1.0) },
    }))
}
