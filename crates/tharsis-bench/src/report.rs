//! JSON for people who compare.

use std::io::{self, Write};

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
            "runs": plan.runs,
        },
        "figures": figures,
    });
    let mut out = io::stdout().lock();
    serde_json::to_writer_pretty(&mut out, &report)?;
    writeln!(out)?;
    Ok(())
}
