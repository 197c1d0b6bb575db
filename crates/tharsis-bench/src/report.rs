//! JSON for people who compare.

use std::{
    io::{self, Write},
    time::Duration,
};

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use crate::world::Plan;

/// The median; of an even number the lower one.
pub(crate) fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values
        .get(values.len().saturating_sub(1) / 2)
        .copied()
        .unwrap_or(f64::NAN)
}

/// Two decimals: more would be noise.
pub(crate) fn round(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

/// The median, the 99th percentile and the longest of these, in milliseconds.
pub(crate) fn quantiles(spans: Vec<Duration>) -> anyhow::Result<Value> {
    let mut micros = Histogram::<u64>::new(3)?;
    for span in spans {
        micros.record(u64::try_from(span.as_micros())?)?;
    }
    #[expect(
        clippy::cast_precision_loss,
        reason = "latencies are far below 2^52 microseconds"
    )]
    let millis = |quantile| round(micros.value_at_quantile(quantile) as f64 / 1_000.0);
    Ok(json!({ "p50": millis(0.5), "p99": millis(0.99), "max": millis(1.0) }))
}

/// What the scenario found, with the machine and the settings.
pub(crate) fn print(plan: &Plan, figures: &Value) -> anyhow::Result<()> {
    let report = json!({
        "machine": {
            "cores": std::thread::available_parallelism()?.get(),
            "system": std::env::consts::OS,
            "architecture": std::env::consts::ARCH,
        },
        "version": env!("CARGO_PKG_VERSION"),
        "settings": {
            "events": plan.events,
            "bytes": plan.bytes,
            "in_flight": plan.in_flight,
            "fan_out": plan.fan_out,
            "batch": plan.batch,
            "filter": plan.filter,
            "order": plan.order,
            "runs": plan.runs,
        },
        "figures": figures,
    });
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &report)?;
    writeln!(out)?;
    Ok(())
}
